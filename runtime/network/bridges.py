"""The bridge of a network, put into the kernel as its record says. Every step may be repeated.

Called by `networks` and its repairs. Knows nothing of sandboxes, except that a bridge made anew has
lost its ports.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os

from runtime.errors import Conflict, Temporary
from runtime.layout import Layout
from runtime.network import links, namespaces
from runtime.network.addresses import link_local_of, mac_of, text_of
from runtime.network.links import Link
from runtime.network.netlink import Netlink, NetlinkError, Request
from runtime.network.records import NetworkRecord

log = logging.getLogger(__name__)
_FORWARD = "/proc/sys/net/ipv4/ip_forward"
_CONF6 = "/proc/sys/net/ipv6/conf"
_LINK_LOCAL_PREFIX = 64


def alias_of(layout: Layout, name: str, sandbox: str = "") -> str:
    """What `ip link` shows of a link: instance, network and sandbox, which its name has no room for."""
    return f"{layout.instance}/{name}/{sandbox}" if sandbox else f"{layout.instance}/{name}"


def is_ours(layout: Layout, link: Link) -> bool:
    is_named = link.kind == "bridge" or link.name[:2] in ("br", "ve")
    return is_named and link.alias.startswith(f"{layout.instance}/")


def check_free(layout: Layout, record: NetworkRecord, found: Link | None) -> None:
    """Conflict for a link that has the name which the network asks for, and is not its bridge. One that a
    crash left without its alias is known by its address."""
    if found is None or not record.config.bridge:
        return
    is_half_made = found.alias == "" and found.mac == mac_of(record.subnet.gateway)
    if found.kind != "bridge" or not (found.alias == alias_of(layout, record.name) or is_half_made):
        reason = f"a link {found.name} is there, and is not this network's"
        raise Conflict("create network", record.name, reason, "another com.docker.network.bridge.name")


def find(netlink: Netlink, name: str) -> Link | None:
    try:
        return links.read_link(netlink.get(links.get_link(name)))
    except NetlinkError as error:
        if error.errno == errno.ENODEV:
            return None
        raise


def make(netlink: Netlink, layout: Layout, record: NetworkRecord) -> Link:
    """The bridge with its address, up: made, or completed where something is missing."""
    name, subnet = record.bridge, record.subnet
    found = find(netlink, name)
    check_free(layout, record, found)
    if found is None:
        netlink.request(links.add_bridge(name, mac_of(subnet.gateway), record.config.mtu))
        found = find(netlink, name)
    if found is None:
        raise Temporary("create network", record.name, f"bridge {name} vanished while it was made")
    netlink.request(
        links.set_link(found.index, mtu=record.config.mtu),
        links.set_alias(name, alias_of(layout, record.name)),
    )
    _settle_sysctls(record)
    wanted = [_add(found.index, address, prefix) for address, prefix in addresses_of(record)]
    refused = [error for error in netlink.send(wanted) if error.errno != errno.EEXIST]
    if refused:
        raise refused[0]
    return found


def _add(index: int, address: str, prefix: int) -> Request:
    return links.add_address(index, address, prefix)


def addresses_of(record: NetworkRecord) -> list[tuple[str, int]]:
    """A bridge's addresses. With IPv6 the one of its link too, which the kernel gives it by itself, but not
    before the first port: by it the host asks for a container on behalf of others (ndisc_solicit())."""
    found = [(text_of(record.subnet.gateway), record.subnet.prefix)]
    if record.subnet6 is not None:
        found.append((text_of(record.subnet6.gateway), record.subnet6.prefix))
        found.append((text_of(link_local_of(mac_of(record.subnet.gateway))), _LINK_LOCAL_PREFIX))
    return found


def _sysctls(name: str) -> dict[str, str]:
    return {
        # So that 127.0.0.1:PORT of the host can lead to a container; the firewall keeps wires out.
        f"net.ipv4.conf.{name}.route_localnet": "1",
        f"net.ipv4.conf.{name}.forwarding": "1",
    }


def _sysctls_v6(name: str, has_ipv6: bool) -> dict[str, str]:
    """Not there in a kernel booted with ipv6.disable=1. In this order: with IPv6 come addresses."""
    found = {f"net.ipv6.conf.{name}.accept_ra": "0"}
    if has_ipv6:
        found |= {f"net.ipv6.conf.{name}.accept_dad": "0", f"net.ipv6.conf.{name}.forwarding": "1"}
    return found | {f"net.ipv6.conf.{name}.disable_ipv6": str(int(not has_ipv6))}


def _settle_sysctls(record: NetworkRecord) -> None:
    namespaces.write_sysctls(_sysctls(record.bridge))
    with contextlib.suppress(FileNotFoundError):
        namespaces.write_sysctls(_sysctls_v6(record.bridge, record.subnet6 is not None))


def _all_sysctls(name: str, has_ipv6: bool) -> dict[str, str]:
    return {**_sysctls(name), **_sysctls_v6(name, has_ipv6)}


def sysctl_paths(name: str, *, has_ipv6: bool) -> tuple[str, ...]:
    """The files of a bridge's settings that are ours."""
    return tuple(f"/proc/sys/{key.replace('.', '/')}" for key in _all_sysctls(name, has_ipv6))


def changed_sysctls(record: NetworkRecord) -> list[str]:
    """A bridge's settings that are not as we set them, in words."""
    told = []
    for key, value in _all_sysctls(record.bridge, record.subnet6 is not None).items():
        with contextlib.suppress(OSError):
            found = _read(f"/proc/sys/{key.replace('.', '/')}")
            if found != value:
                told.append(f"{key} is {found}, not {value}")
    return told


def _read(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 64).decode().strip()
    finally:
        os.close(descriptor)


def is_forwarding() -> bool:
    """Whether the host passes IPv4 packets on."""
    return _read(_FORWARD) == "1"


def forward() -> None:
    """Let the host pass packets on; Temporary when it does not take."""
    if is_forwarding():
        return
    namespaces.write_sysctls({"net.ipv4.ip_forward": "1"})
    if not is_forwarding():
        raise Temporary("enable forwarding on", "this host", "net.ipv4.ip_forward stays 0")


def is_forwarding6() -> bool:
    """The same of IPv6; False in a kernel without."""
    with contextlib.suppress(FileNotFoundError):
        return _read(f"{_CONF6}/all/forwarding") == "1"
    return False


def forward6(netlink: Netlink) -> None:
    """The same of IPv6. A host that forwards believes no router any more, and drops at once the way out that
    one told it of (ip-sysctl, accept_ra): its interfaces that did go on by the setting 2."""
    if is_forwarding6():
        return
    kept = [name for name in _own_interfaces(netlink) if _believes_routers(name)]
    namespaces.write_sysctls({f"net.ipv6.conf.{name.replace('.', '/')}.accept_ra": "2" for name in kept})
    if kept:
        log.info("accept_ra is 2 on %s now: else IPv6 forwarding would end router discovery", ", ".join(kept))
    namespaces.write_sysctls({"net.ipv6.conf.all.forwarding": "1"})
    if not is_forwarding6():
        raise Temporary("enable forwarding on", "this host", "net.ipv6.conf.all.forwarding stays 0")


def _own_interfaces(netlink: Netlink) -> list[str]:
    """Not ports of bridges, by which the host takes no packets."""
    found = map(links.read_link, netlink.dump(links.get_links()))
    return [link.name for link in found if not link.master and link.index != links.LOOPBACK_INDEX]


def _believes_routers(name: str) -> bool:
    with contextlib.suppress(OSError):
        return _read(f"{_CONF6}/{name}/accept_ra") == "1"
    return False
