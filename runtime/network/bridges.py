"""The bridge of a network, put into the kernel as its record says. Every step may be repeated.

Called by `networks` and its repairs. Knows nothing of sandboxes, except that a bridge made anew has
lost its ports.
"""

from __future__ import annotations

import contextlib
import errno
import os

from runtime.errors import Conflict, Temporary
from runtime.layout import Layout
from runtime.network import links, namespaces
from runtime.network.addresses import mac_of, text_of
from runtime.network.links import Link
from runtime.network.netlink import Netlink, NetlinkError
from runtime.network.records import NetworkRecord

_FORWARD = "/proc/sys/net/ipv4/ip_forward"


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
    _settle_sysctls(name)
    refused = netlink.send([links.add_address(found.index, text_of(subnet.gateway), subnet.prefix)])
    if refused and refused[0].errno != errno.EEXIST:
        raise refused[0]
    return found


def _sysctls(name: str) -> dict[str, str]:
    return {
        # So that 127.0.0.1:PORT of the host can lead to a container; the firewall keeps wires out.
        f"net.ipv4.conf.{name}.route_localnet": "1",
        f"net.ipv4.conf.{name}.forwarding": "1",
    }


def _sysctls_v6(name: str) -> dict[str, str]:
    """Not there in a kernel booted with ipv6.disable=1."""
    return {f"net.ipv6.conf.{name}.accept_ra": "0", f"net.ipv6.conf.{name}.disable_ipv6": "1"}


def _settle_sysctls(name: str) -> None:
    namespaces.write_sysctls(_sysctls(name))
    with contextlib.suppress(FileNotFoundError):
        namespaces.write_sysctls(_sysctls_v6(name))


def sysctl_paths(name: str) -> tuple[str, ...]:
    """The files of a bridge's settings that are ours."""
    return tuple(f"/proc/sys/{key.replace('.', '/')}" for key in (*_sysctls(name), *_sysctls_v6(name)))


def changed_sysctls(name: str) -> list[str]:
    """A bridge's settings that are not as we set them, in words."""
    told = []
    for key, value in {**_sysctls(name), **_sysctls_v6(name)}.items():
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
