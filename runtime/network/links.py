"""The rtnetlink messages that Setpoint sends and reads: links, addresses, routes. Pure.

Each function gives a `Request` for `netlink.Netlink`, or reads an `Answer`. Numbers are those of
linux/rtnetlink.h, if_link.h and if_addr.h. Addresses are strings, as people write them; one with a colon is
IPv6's.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from runtime.model import InterfaceStats
from runtime.network.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    Answer,
    Request,
    attribute,
    attributes,
    nested,
    number,
    text,
)

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, _RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26

IFF_UP = 1
LOOPBACK_INDEX = 1  # include/net/net_namespace.h, LOOPBACK_IFINDEX: the same in every namespace

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER = 1, 3, 4, 10
_IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_STATS64, _IFLA_GROUP = 18, 20, 23, 27
_IFLA_NET_NS_FD, _IFLA_EXT_MASK, _IFLA_NUM_TX_QUEUES, _IFLA_NUM_RX_QUEUES = 28, 29, 31, 32
_IFLA_LINK_NETNSID = 37
_IFLA_OPERSTATE = 16
_IF_OPER_UNKNOWN, _IF_OPER_UP = 0, 6  # linux/if.h
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _IFLA_INFO_SLAVE_KIND, _IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
_IFLA_BRPORT_MODE, _IFLA_BRPORT_ISOLATED = 4, 33
_VETH_INFO_PEER = 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFA_F_NODAD = 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_TABLE = 1, 4, 5, 15
_RT_TABLE_MAIN = 254
_RTPROT_BOOT = 3
_RTN_UNICAST = 1
_RTEXT_FILTER_SKIP_STATS = 1 << 3

_IFINFO = struct.Struct("=BxHiII")  # family, type, index, flags, change
_IFADDR = struct.Struct("=BBBBI")  # family, prefix, flags, scope, index
_RTMSG = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
_ANY_LINK = _IFINFO.pack(0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Link:
    """A network link as the kernel shows it. nsid: of the other end's namespace, -1 when none."""

    index: int
    name: str
    is_up: bool
    master: int
    mac: str
    mtu: int
    alias: str
    kind: str
    nsid: int
    is_isolated: bool
    is_hairpin: bool


@dataclass(frozen=True, slots=True)
class Address:
    index: int
    address: str
    prefix: int


@dataclass(frozen=True, slots=True)
class Route:
    """destination "" is the default route; gateway "" is a route to neighbours."""

    destination: str
    prefix: int
    gateway: str
    index: int
    table: int


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


# --- requests ---------------------------------------------------------------------------------


def add_bridge(name: str, mac: str, mtu: int | None) -> Request:
    """A bridge that is up. Its MAC is fixed, else it would change with each port."""
    parts = [
        _IFINFO.pack(0, 0, 0, IFF_UP, IFF_UP),
        text(_IFLA_IFNAME, name),
        attribute(_IFLA_ADDRESS, mac_bytes(mac)),
        nested(_IFLA_LINKINFO, text(_IFLA_INFO_KIND, "bridge")),
    ]
    if mtu is not None:
        parts.append(number(_IFLA_MTU, mtu))
    return Request(RTM_NEWLINK, b"".join(parts), f"add bridge {name}", NLM_F_CREATE | NLM_F_EXCL)


def add_veth(
    name: str, master: int, inside: str, mac: str, netns: int, *, mtu: int | None, host_mac: str
) -> Request:
    """A veth pair in one message: the host's end on the bridge `master` and up, the other in the network
    namespace that the descriptor `netns` names, called `inside`, and down. One queue each: kernels from
    5.18 on give a veth one for every processor, which costs memory and time that a container rarely
    needs.
    """
    queues = number(_IFLA_NUM_TX_QUEUES, 1) + number(_IFLA_NUM_RX_QUEUES, 1)
    size = number(_IFLA_MTU, mtu) if mtu is not None else b""
    up = _IFINFO.pack(0, 0, 0, IFF_UP, IFF_UP)
    peer = (
        _ANY_LINK,  # not up: veth_open() refuses until both ends know each other
        text(_IFLA_IFNAME, inside),
        attribute(_IFLA_ADDRESS, mac_bytes(mac)),
        number(_IFLA_NET_NS_FD, netns),
        queues,
        size,
    )
    info = nested(
        _IFLA_LINKINFO, text(_IFLA_INFO_KIND, "veth"), nested(_IFLA_INFO_DATA, nested(_VETH_INFO_PEER, *peer))
    )
    parts = (
        up,
        text(_IFLA_IFNAME, name),
        attribute(_IFLA_ADDRESS, mac_bytes(host_mac)),
        number(_IFLA_MASTER, master),
        queues,
        size,
        info,
    )
    return Request(RTM_NEWLINK, b"".join(parts), f"add link {name}", NLM_F_CREATE | NLM_F_EXCL)


def set_port(name: str, alias: str, *, isolated: bool, hairpin: bool) -> Request:
    """Name a bridge's port for people, and say whether it may talk to other isolated ports (kernel 4.18),
    and whether a frame may leave by it that came by it."""
    flags = attribute(_IFLA_BRPORT_MODE, bytes([hairpin])) + attribute(
        _IFLA_BRPORT_ISOLATED, bytes([isolated])
    )
    parts = (
        _ANY_LINK,
        text(_IFLA_IFNAME, name),
        attribute(_IFLA_IFALIAS, alias.encode()[:255]),
        nested(_IFLA_LINKINFO, text(_IFLA_INFO_SLAVE_KIND, "bridge"), nested(_IFLA_INFO_SLAVE_DATA, flags)),
    )
    return Request(RTM_NEWLINK, b"".join(parts), f"set link {name}")


def set_link(
    index: int, *, up: bool = True, master: int | None = None, mtu: int | None = None, mac: str | None = None
) -> Request:
    """Bring a link up (or down), and give it a bridge (0: none), a size or an address."""
    body = _IFINFO.pack(0, 0, index, IFF_UP if up else 0, IFF_UP)
    if master is not None:
        body += number(_IFLA_MASTER, master)
    if mtu is not None:
        body += number(_IFLA_MTU, mtu)
    if mac is not None:
        body += attribute(_IFLA_ADDRESS, mac_bytes(mac))
    return Request(RTM_NEWLINK, body, f"set link {index}")


def set_alias(name: str, alias: str) -> Request:
    body = _ANY_LINK + text(_IFLA_IFNAME, name) + attribute(_IFLA_IFALIAS, alias.encode()[:255])
    return Request(RTM_NEWLINK, body, f"set alias of {name}")


def set_group(index: int, group: int) -> Request:
    return Request(
        RTM_NEWLINK, _IFINFO.pack(0, 0, index, 0, 0) + number(_IFLA_GROUP, group), f"set group {index}"
    )


def set_group_of(name: str, group: int) -> Request:
    """RTM_SETLINK: RTM_NEWLINK takes a group without a link for all that is in the group."""
    return Request(
        _RTM_SETLINK,
        _ANY_LINK + text(_IFLA_IFNAME, name) + number(_IFLA_GROUP, group),
        f"set group of {name}",
    )


def delete_group(group: int) -> Request:
    """Delete all links of a group at once: one wait of the kernel for all of them."""
    return Request(RTM_DELLINK, _ANY_LINK + number(_IFLA_GROUP, group), f"delete link group {group}")


def delete_link(name: str) -> Request:
    return Request(RTM_DELLINK, _ANY_LINK + text(_IFLA_IFNAME, name), f"delete link {name}")


def get_link(name: str, *, statistics: bool = False) -> Request:
    mask = b"" if statistics else number(_IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS)
    return Request(RTM_GETLINK, _ANY_LINK + text(_IFLA_IFNAME, name) + mask, f"get link {name}")


def get_links(*, statistics: bool = False) -> Request:
    mask = b"" if statistics else number(_IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS)
    return Request(RTM_GETLINK, _ANY_LINK + mask, "list links")


def add_address(index: int, address: str, prefix: int) -> Request:
    """One of IPv6 is there at once: who gives it out knows that nobody else has it, and to ask the
    neighbours first (duplicate address detection, RFC 4862) would take a second."""
    family, packed = _packed(address)
    flags = _IFA_F_NODAD if family == socket.AF_INET6 else 0
    parts = (
        _IFADDR.pack(family, prefix, flags, 0, index),
        attribute(_IFA_LOCAL, packed),
        attribute(_IFA_ADDRESS, packed),
    )
    what = f"add address {address}/{prefix}"
    return Request(RTM_NEWADDR, b"".join(parts), what, NLM_F_CREATE | NLM_F_EXCL)


def delete_address(index: int, address: str, prefix: int) -> Request:
    request = add_address(index, address, prefix)
    return Request(RTM_DELADDR, request.body, f"delete address {address}/{prefix}")


def _packed(address: str) -> tuple[int, bytes]:
    if ":" in address:
        return socket.AF_INET6, socket.inet_pton(socket.AF_INET6, address)
    return socket.AF_INET, socket.inet_aton(address)


def get_addresses(family: int = socket.AF_INET) -> Request:
    return Request(RTM_GETADDR, _IFADDR.pack(family, 0, 0, 0, 0), "list addresses")


def add_default_route(gateway: str, index: int) -> Request:
    family, packed = _packed(gateway)
    parts = (
        _RTMSG.pack(family, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_BOOT, 0, _RTN_UNICAST, 0),
        attribute(_RTA_GATEWAY, packed),
        number(_RTA_OIF, index),
    )
    return Request(RTM_NEWROUTE, b"".join(parts), f"add route by {gateway}", NLM_F_CREATE | NLM_F_EXCL)


def delete_default_route(gateway: str, index: int) -> Request:
    request = add_default_route(gateway, index)
    return Request(RTM_DELROUTE, request.body, f"delete route by {gateway}")


def get_routes(family: int = socket.AF_INET) -> Request:
    return Request(RTM_GETROUTE, _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0), "list routes")


# --- answers ----------------------------------------------------------------------------------


def _u32(value: bytes | None, default: int = 0) -> int:
    return int.from_bytes(value[:4], "little" if struct.pack("=H", 1)[0] else "big") if value else default


def _string(value: bytes | None) -> str:
    return value.rstrip(b"\0").decode(errors="replace") if value else ""


def name_of(body: bytes) -> str:
    """The name in a message about a link, without reading the rest: the kernel puts it first."""
    length, kind = struct.unpack_from("=HH", body, _IFINFO.size)
    if kind == _IFLA_IFNAME:
        return _string(body[_IFINFO.size + 4 : _IFINFO.size + length])
    return _string(attributes(body, _IFINFO.size).get(_IFLA_IFNAME))


def is_operating(answer: Answer) -> bool:
    """Whether a link may send: its carrier has been seen (RFC 2863: up, or a kind that has no carrier)."""
    state = attributes(answer.body, _IFINFO.size).get(_IFLA_OPERSTATE, b"\0")[0]
    return state in (_IF_OPER_UNKNOWN, _IF_OPER_UP)


def read_link(answer: Answer) -> Link:
    _family, _type, index, flags, _change = _IFINFO.unpack_from(answer.body)
    found = attributes(answer.body, _IFINFO.size)
    info = attributes(found.get(_IFLA_LINKINFO, b""))
    port = attributes(info.get(_IFLA_INFO_SLAVE_DATA, b""))
    return Link(
        index=index,
        name=_string(found.get(_IFLA_IFNAME)),
        is_up=bool(flags & IFF_UP),
        master=_u32(found.get(_IFLA_MASTER)),
        mac=found.get(_IFLA_ADDRESS, b"").hex(":"),
        mtu=_u32(found.get(_IFLA_MTU)),
        alias=_string(found.get(_IFLA_IFALIAS)),
        kind=_string(info.get(_IFLA_INFO_KIND)),
        nsid=_u32(found.get(_IFLA_LINK_NETNSID), -1),
        is_isolated=port.get(_IFLA_BRPORT_ISOLATED, b"\0") == b"\1",
        is_hairpin=port.get(_IFLA_BRPORT_MODE, b"\0") == b"\1",
    )


def read_statistics(answer: Answer) -> tuple[str, int, int, int, int]:
    """(name, rx_packets, tx_packets, rx_bytes, tx_bytes), struct rtnl_link_stats64."""
    found = attributes(answer.body, _IFINFO.size)
    counters = struct.unpack_from("=4Q", found.get(_IFLA_STATS64, bytes(32)))
    return (_string(found.get(_IFLA_IFNAME)), *counters)


def read_peer_statistics(answer: Answer) -> InterfaceStats:
    """All counters, of the other end of a veth pair: what this one receives, that one sends."""
    found = attributes(answer.body, _IFINFO.size).get(_IFLA_STATS64, bytes(64))
    received, sent, rx_bytes, tx_bytes, rx_errors, tx_errors, rx_dropped, tx_dropped = struct.unpack_from(
        "=8Q", found
    )
    return InterfaceStats(tx_bytes, sent, tx_errors, tx_dropped, rx_bytes, received, rx_errors, rx_dropped)


def read_address(answer: Answer) -> Address:
    _family, prefix, _flags, _scope, index = _IFADDR.unpack_from(answer.body)
    found = attributes(answer.body, _IFADDR.size)
    packed = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS, bytes(4))
    return Address(index, _address_text(packed), prefix)


def _address_text(packed: bytes | None) -> str:
    if not packed:
        return ""
    return socket.inet_ntoa(packed) if len(packed) == 4 else socket.inet_ntop(socket.AF_INET6, packed)


def read_route(answer: Answer) -> Route:
    fields = _RTMSG.unpack_from(answer.body)
    found = attributes(answer.body, _RTMSG.size)
    return Route(
        destination=_address_text(found.get(_RTA_DST)),
        prefix=fields[1],
        gateway=_address_text(found.get(_RTA_GATEWAY)),
        index=_u32(found.get(_RTA_OIF)),
        table=_u32(found.get(_RTA_TABLE), fields[4]),
    )
