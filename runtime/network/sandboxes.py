"""A sandbox in the kernel: its network namespace and its interfaces, as its record says.

Called by `networks` and its repairs. Applies; what a sandbox is to have was decided before. A sandbox
with one interface costs one unshare(2), one mount(2), and two sends on netlink sockets.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from runtime.layout import Layout
from runtime.network import links, namespaces
from runtime.network.addresses import host_mac_of, text_of
from runtime.network.bridges import alias_of
from runtime.network.namespaces import Home, Made
from runtime.network.netlink import Netlink, Request
from runtime.network.records import Endpoint, NetworkRecord, SandboxRecord

# As Docker has them: ping and ports below 1024 without a privilege, in a network of its own.
DEFAULT_SYSCTLS = {
    "net.ipv4.ping_group_range": "0 2147483647",
    "net.ipv4.ip_unprivileged_port_start": "0",
}
_NO_IPV6 = {"net.ipv6.conf.default.disable_ipv6": "1"}  # interfaces to come; lo keeps ::1
HAS_IPV6 = os.path.exists("/proc/sys/net/ipv6")  # noqa: PTH110
SYSCTLS = {**DEFAULT_SYSCTLS, **_NO_IPV6} if HAS_IPV6 else DEFAULT_SYSCTLS
_SIOCGIFINDEX = 0x8933
_IFREQ = struct.Struct("=16si20x")
_CARRIER_LOOKS, _CARRIER_SECONDS = 20, 0.0005


@dataclass(frozen=True, slots=True)
class Wire:
    """An endpoint with what its network tells: all that is needed to make its interface."""

    endpoint: Endpoint
    network: NetworkRecord
    bridge: int  # the bridge's index
    is_default: bool  # the way out goes by it
    is_default6: bool  # that of IPv6
    # A container calls itself by a port that it publishes. Where br_netfilter is on, such a frame is turned
    # around within the bridge. Not for others: a network nested in a container would see its own frames.
    is_hairpin: bool


def wires_of(
    record: SandboxRecord, networks: Mapping[str, NetworkRecord], bridges: Mapping[str, int]
) -> tuple[Wire, ...]:
    """A sandbox's endpoints with their networks. The way out is by the first network that has one."""
    default, default6 = default_of(record.endpoints, networks), default6_of(record.endpoints, networks)
    return tuple(
        Wire(
            endpoint,
            networks[endpoint.network],
            bridges[endpoint.network],
            is_default=endpoint is default,
            is_default6=endpoint is default6,
            is_hairpin=(endpoint is default or endpoint is default6) and bool(record.ports),
        )
        for endpoint in record.endpoints
    )


def default_of(endpoints: Iterable[Endpoint], networks: Mapping[str, NetworkRecord]) -> Endpoint | None:
    """The endpoint by which a sandbox reaches the outside, and is published; None when none leads out."""
    return next((each for each in endpoints if not networks[each.network].config.internal), None)


def default6_of(endpoints: Iterable[Endpoint], networks: Mapping[str, NetworkRecord]) -> Endpoint | None:
    """The same of IPv6: networks without it are passed over."""
    return default_of((each for each in endpoints if each.ipv6), networks)


def create(home: Home, ids: int = 0) -> Made:
    """A namespace with nothing but its sysctls, and no name yet."""
    return home.make_owned(SYSCTLS, ids) if ids else home.make(SYSCTLS)


def attach(
    host: Netlink, inside: Netlink, home: Home, layout: Layout, record: SandboxRecord, wires: Sequence[Wire],
    netns: int,
) -> None:  # fmt: skip
    """Make the interfaces `wires` of a sandbox, with addresses and the way out; lo comes up too.

    A link of that name is a left-over of the same sandbox (names are hashes), so it is replaced.
    """
    requests: list[Request] = []
    for wire in wires:
        requests += _pair(layout, record, wire, netns)
    refused = host.send(requests)
    if refused and all(error.errno == errno.EEXIST for error in refused):
        host.send([links.delete_link(wire.endpoint.link) for wire in wires])
        refused = host.send(requests)
    if refused:
        raise refused[0]
    _switch_ipv6_on(home, netns, wires)
    inside.request(*_settle(inside, wires))
    settle_carrier(host, wires)


def _switch_ipv6_on(home: Home, netns: int, wires: Iterable[Wire]) -> None:
    """On the interfaces that have it, before they are up: no router is believed, and no address is held back
    until the neighbours were asked (DAD, a second): the guard lets nobody have another's."""
    names = [wire.endpoint.interface for wire in wires if wire.endpoint.ipv6]
    if names:
        with home.inside(netns):
            for name in names:
                settings = {"accept_ra": "0", "accept_dad": "0", "disable_ipv6": "0"}
                namespaces.write_sysctls({f"net.ipv6.conf.{name}.{key}": settings[key] for key in settings})


def settle_carrier(host: Netlink, wires: Sequence[Wire]) -> None:
    """Have the host's ends send from now on, and their bridges, which have a carrier since their first port.

    A link that got its carrier sends nothing until the kernel's link watch has run, which may be after the
    first ARP request, and that is repeated a second later only. To ask for the link runs it from kernel 6.8
    on; before, it has run by the next time we ask, or soon.
    """
    for wire in wires:
        for name in (wire.endpoint.link, wire.network.bridge):
            for _ in range(_CARRIER_LOOKS):
                if links.is_operating(host.get(links.get_link(name))):
                    break
                time.sleep(_CARRIER_SECONDS)


def _pair(layout: Layout, record: SandboxRecord, wire: Wire, netns: int) -> list[Request]:
    endpoint, config = wire.endpoint, wire.network.config
    pair = links.add_veth(
        endpoint.link, wire.bridge, endpoint.interface, endpoint.mac, netns,
        mtu=config.mtu, host_mac=host_mac_of(endpoint.link),
    )  # fmt: skip
    return [pair, set_port(layout, record, wire)]


def set_port(layout: Layout, record: SandboxRecord, wire: Wire) -> Request:
    """What the host's end is as a port of its bridge, and its name for people."""
    config = wire.network.config
    alias = alias_of(layout, config.name, record.id)
    return links.set_port(wire.endpoint.link, alias, isolated=config.isolated, hairpin=wire.is_hairpin)


def _settle(inside: Netlink, wires: Sequence[Wire]) -> list[Request]:
    requests = [links.set_link(links.LOOPBACK_INDEX)]
    for wire in wires:
        index, subnet = index_in(inside, wire.endpoint.interface), wire.network.subnet
        requests.append(links.set_link(index))
        requests.append(links.add_address(index, text_of(wire.endpoint.ipv4), subnet.prefix))
        if wire.is_default:
            requests.append(links.add_default_route(text_of(subnet.gateway), index))
        requests += _settle6(index, wire)
    return requests


def _settle6(index: int, wire: Wire) -> list[Request]:
    subnet = wire.network.subnet6
    if not wire.endpoint.ipv6 or subnet is None:
        return []
    address = links.add_address(index, text_of(wire.endpoint.ipv6), subnet.prefix)
    if not wire.is_default6:
        return [address]
    return [address, links.add_default_route(text_of(subnet.gateway), index)]


def index_in(netlink: Netlink, name: str) -> int:
    """A link's index in the namespace of a netlink socket: netdevice(7) answers on any socket."""
    answer = fcntl.ioctl(netlink.fileno(), _SIOCGIFINDEX, _IFREQ.pack(name.encode(), 0))
    index: int = _IFREQ.unpack(answer)[1]
    return index


def apply_sysctls(home: Home, netns: int, sysctls: Mapping[str, str]) -> None:
    """A container's own sysctls, after its interfaces, since some are an interface's."""
    if sysctls:
        with home.inside(netns):
            namespaces.write_sysctls(sysctls)


def lacks(inside: Netlink, wires: Sequence[Wire]) -> list[tuple[str, str]]:
    """What is not as it was made in a living namespace: (drift kind, in words)."""
    found = {link.name: link for link in map(links.read_link, inside.dump(links.get_links()))}
    has_ipv6 = any(wire.endpoint.ipv6 for wire in wires)
    addresses = addresses_in(inside, has_ipv6)
    has_default = _has_default(inside, socket.AF_INET)
    has_default6 = has_ipv6 and _has_default(inside, socket.AF_INET6)
    told: list[tuple[str, str]] = []
    if "lo" in found and not found["lo"].is_up:
        told.append(("address", "lo is down"))
    for wire in wires:
        endpoint, subnet = wire.endpoint, wire.network.subnet
        link = found.get(endpoint.interface)
        if link is None:
            told.append(("veth", f"{endpoint.interface} is missing inside"))
            continue
        if not link.is_up:
            told.append(("address", f"{endpoint.interface} is down"))
        for address, prefix in addresses_of(wire):
            if (link.index, address, prefix) not in addresses:
                told.append(("address", f"{address}/{prefix} is missing on {endpoint.interface}"))
        if wire.is_default and not has_default:
            told.append(("route", f"the route by {text_of(subnet.gateway)} is missing"))
        if wire.is_default6 and not has_default6 and wire.network.subnet6 is not None:
            told.append(("route", f"the route by {text_of(wire.network.subnet6.gateway)} is missing"))
    return told


def addresses_of(wire: Wire) -> list[tuple[str, int]]:
    """Those that we gave an interface."""
    endpoint, network = wire.endpoint, wire.network
    found = [(text_of(endpoint.ipv4), network.subnet.prefix)]
    if endpoint.ipv6 and network.subnet6 is not None:
        found.append((text_of(endpoint.ipv6), network.subnet6.prefix))
    return found


def addresses_in(netlink: Netlink, has_ipv6: bool) -> set[tuple[int, str, int]]:
    """The addresses in the namespace of a netlink socket: (link, address, prefix). has_ipv6: those too."""
    answers = netlink.dump(links.get_addresses())
    if has_ipv6:
        answers += netlink.dump(links.get_addresses(socket.AF_INET6))
    return {(each.index, each.address, each.prefix) for each in map(links.read_address, answers)}


def _has_default(inside: Netlink, family: int) -> bool:
    """A container that may set routes may have another way out on purpose (a VPN): any will do."""
    return any(links.read_route(answer).prefix == 0 for answer in inside.dump(links.get_routes(family)))


def settle_again(inside: Netlink, home: Home, netns: int, wires: Sequence[Wire]) -> None:
    """Give the interfaces of a living namespace back what they lack. What is there stays."""
    _switch_ipv6_on(home, netns, wires)
    for error in inside.send(_settle(inside, wires)):
        if error.errno != errno.EEXIST:
            raise error


def drop_default(inside: Netlink, endpoint: Endpoint, gateway: int) -> None:
    """Take the way out by an interface away; nothing when it, or the interface, is gone."""
    with contextlib.suppress(OSError):
        index = index_in(inside, endpoint.interface)
        inside.send([links.delete_default_route(text_of(gateway), index)])
