"""What of the networks is not in the kernel as it was made, and how it is put back.

find() looks and changes nothing; it may be called from another thread than the event loop's. repair()
takes one finding and makes its subject whole again by steps that may be repeated, without a restart of
a container. Called by `networks`, whose records are what should be.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from runtime.errors import NotFound, Temporary
from runtime.model import Drift
from runtime.network import bridges, links, namespaces, sandboxes
from runtime.network.addresses import text_of
from runtime.network.links import Link
from runtime.network.netlink import Netlink, Request
from runtime.network.records import NetworkRecord, SandboxRecord
from runtime.network.sandboxes import Wire

if TYPE_CHECKING:
    from runtime.network.networks import Networks

_MAX_TOLD = 5  # differences of the firewall that are written out


def find(networks: Networks) -> tuple[Drift, ...]:
    """All findings; () when everything is as it was made."""
    return tuple(_find(networks))


def _find(networks: Networks) -> Iterator[Drift]:
    book = networks.book
    if book.networks and not bridges.is_forwarding():
        yield Drift("forwarding", "", "net.ipv4.ip_forward is 0")
    with Netlink() as netlink:
        found = {link.name: link for link in map(links.read_link, netlink.dump(links.get_links()))}
        addresses = {
            (address.index, address.address, address.prefix)
            for address in map(links.read_address, netlink.dump(links.get_addresses()))
        }
    for network in list(book.networks.values()):
        yield from _bridge_drift(network, found.get(network.bridge), addresses)
    for record in list(book.sandboxes.values()):
        if not networks.is_deleting(record.id):
            yield from _sandbox_drift(networks, record, found)
    told = list(networks.table.differences())
    if told:
        more = f" and {len(told) - _MAX_TOLD} more" if len(told) > _MAX_TOLD else ""
        yield Drift("firewall", "", "; ".join(told[:_MAX_TOLD]) + more)


def _bridge_drift(
    network: NetworkRecord, link: Link | None, addresses: set[tuple[int, str, int]]
) -> Iterator[Drift]:
    gateway = text_of(network.subnet.gateway)
    if link is None:
        yield Drift("bridge", network.name, f"bridge {network.bridge} is missing")
    elif not link.is_up:
        yield Drift("bridge", network.name, f"bridge {network.bridge} is down")
    elif (link.index, gateway, network.subnet.prefix) not in addresses:
        yield Drift(
            "bridge", network.name, f"{gateway}/{network.subnet.prefix} is missing on {network.bridge}"
        )


def _sandbox_drift(networks: Networks, record: SandboxRecord, found: dict[str, Link]) -> Iterator[Drift]:
    if networks.hosts.is_altered(record):
        yield Drift("hosts", record.id, "the hosts file is missing or altered")
    if not namespaces.is_at(networks.netns_path(record.id), record.inode):
        yield Drift("netns", record.id, "the network namespace is not mounted")
        return
    for endpoint in record.endpoints:
        network = networks.book.networks[endpoint.network]
        bridge = found.get(network.bridge)
        wrong = _port_fault(found.get(endpoint.link), bridge, network.config.isolated)
        if wrong:
            yield Drift("veth", record.id, f"link {endpoint.link} on network {network.name} {wrong}")
    wires = networks.wires(record)
    with networks.opened(record.id) as netns, networks.home.netlink_in(netns) as inside:
        for kind, detail in sandboxes.lacks(inside, wires):
            yield Drift(kind, record.id, detail)


def _port_fault(link: Link | None, bridge: Link | None, isolated: bool) -> str:
    """What is wrong with the host's end of an interface, "" when nothing is."""
    if link is None:
        return "is missing"
    if not link.is_up:
        return "is down"
    if bridge is not None and link.master != bridge.index:
        return "is not on its bridge"
    if link.is_isolated != isolated:
        return f"is {'not ' if isolated else ''}isolated"
    return ""


# --- putting back -----------------------------------------------------------------------------


def repair(networks: Networks, found: Drift) -> None:
    """Make the finding's subject whole. NotFound when it is gone meanwhile."""
    match found.kind:
        case "forwarding":
            bridges.forward()
        case "firewall":
            networks.table.sync()
        case "bridge":
            _repair_bridge(networks, _network(networks, found.subject))
        case "netns":
            _repair_namespace(networks, _sandbox(networks, found.subject))
        case "hosts":
            networks.hosts.mark(_sandbox(networks, found.subject).id)
            networks.hosts.write()
        case "veth" | "address" | "route":
            repair_sandbox(networks, _sandbox(networks, found.subject))
        case _:
            raise NotFound("repair", found.kind, "the network knows no such drift")


def _network(networks: Networks, name: str) -> NetworkRecord:
    record = networks.book.networks.get(name)
    if record is None:
        raise NotFound("repair bridge of", name, "there is no such network any more")
    return record


def _sandbox(networks: Networks, id: str) -> SandboxRecord:
    record = networks.book.sandboxes.get(id)
    if record is None or networks.is_deleting(id):
        raise NotFound("repair sandbox", id, "there is no such sandbox any more")
    return record


def _repair_bridge(networks: Networks, network: NetworkRecord) -> None:
    """The bridge, and all its ports back on it: a bridge made anew has none."""
    networks.make_bridge(network)
    index = networks.bridge_indexes[network.name]
    ports = {
        endpoint.link
        for record in networks.book.sandboxes_on(network.name)
        for endpoint in record.endpoints
        if endpoint.network == network.name
    }
    found = map(links.read_link, networks.netlink.dump(links.get_links()))
    networks.netlink.request(*_port_requests((link for link in found if link.name in ports), index, network))


def _port_requests(ports: Iterator[Link], bridge: int, network: NetworkRecord) -> Iterator[Request]:
    for link in ports:
        if _port_fault(link, None, network.config.isolated) or link.master != bridge:
            yield links.set_link(link.index, master=bridge)
            yield links.set_port(link.name, link.alias, network.config.isolated)


def repair_sandbox(networks: Networks, record: SandboxRecord) -> None:
    """All interfaces of a living sandbox: made where missing, on their bridges, up, with addresses."""
    for endpoint in record.endpoints:
        network = networks.book.networks[endpoint.network]
        if bridges.find(networks.netlink, network.bridge) is None:
            _repair_bridge(networks, network)
    wires = networks.wires(record)
    with networks.opened(record.id) as netns, networks.home.netlink_in(netns) as inside:
        present = {link.name for link in map(links.read_link, inside.dump(links.get_links()))}
        missing = [wire for wire in wires if not _put_back(networks.netlink, wire, present)]
        sandboxes.attach(networks.netlink, inside, networks.layout, record, missing, netns)
        sandboxes.settle_again(inside, wires)


def _put_back(netlink: Netlink, wire: Wire, present: set[str]) -> bool:
    """Put an existing interface back on its bridge. False when it must be made; a half of one is deleted."""
    link = bridges.find(netlink, wire.endpoint.link)
    if link is None:
        return False
    if wire.endpoint.interface not in present:
        netlink.request(links.delete_link(link.name))
        return False
    netlink.request(*_port_requests(iter([link]), wire.bridge, wire.network))
    return True


def _repair_namespace(networks: Networks, record: SandboxRecord) -> None:
    """Bind the namespace again from a process that lives in it; when none does, make another."""
    path = networks.netns_path(record.id)
    if namespaces.is_at(path, record.inode):
        return
    pid = networks.pid_of(record.id)
    holder = f"/proc/{pid}/ns/net" if pid else namespaces.holder_of(record.inode)
    namespaces.remove(path)
    if not holder:
        networks.rebuild(record)
        return
    if namespaces.inode_of(holder) != record.inode:
        raise Temporary(
            "repair netns of", record.id, "its container runs in another network namespace",
            "restart the container",
        )  # fmt: skip
    namespaces.bind(holder, path)
    repair_sandbox(networks, record)
