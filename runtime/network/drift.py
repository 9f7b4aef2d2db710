"""What of the networks is not in the kernel as it was made, and how it is put back.

find() looks and changes nothing; it may be called from another thread than the event loop's. repair()
takes one finding and makes its subject whole again by steps that may be repeated, without a restart of
a container. Called by `networks`; the records are what should be.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Iterator

from runtime.errors import NotFound, Temporary
from runtime.model import Drift
from runtime.network import bridges, building, links, namespaces, sandboxes
from runtime.network.instance import Instance
from runtime.network.links import Link
from runtime.network.netlink import Netlink
from runtime.network.records import NetworkRecord, SandboxRecord

_FEW = 16  # links that are asked for one by one, 15 us each; a dump takes 10 us for each that there is
_MAX_TOLD = 5  # differences of the firewall that are written out


def find(instance: Instance, only: Collection[str] | None = None) -> tuple[Drift, ...]:
    """All findings; () when everything is as it was made. only: names of networks, ids of sandboxes, and ""
    for what is nobody's alone."""
    return tuple(_find(instance, only))


def _find(instance: Instance, only: Collection[str] | None) -> Iterator[Drift]:
    book = instance.book
    networks = [each for name, each in list(book.networks.items()) if only is None or name in only]
    boxes = [each for id, each in list(book.sandboxes.items()) if only is None or id in only]
    if only is None or "" in only:
        yield from _host_drift(instance)
    if not networks and not boxes:
        return
    with Netlink() as netlink:
        found = _links(instance, netlink, networks, boxes)
        addresses = sandboxes.addresses_in(netlink, any(each.subnet6 for each in networks))
    for network in networks:
        yield from _bridge_drift(instance, network, found.get(network.bridge), addresses)
    blocks: dict[str, str] = {}
    for record in boxes:
        try:
            yield from _sandbox_drift(instance, record, found, blocks)
        except (KeyError, NotFound):  # it, or its network, went while we looked
            if _is_kept(instance, record):
                raise


def _host_drift(instance: Instance) -> Iterator[Drift]:
    if instance.book.networks and not bridges.is_forwarding():
        yield Drift("forwarding", "", "net.ipv4.ip_forward is 0")
    if instance.book.has_ipv6_network() and not bridges.is_forwarding6():
        yield Drift("forwarding", "", "net.ipv6.conf.all.forwarding is 0")
    told = list(instance.table.differences())
    if told:
        more = f" and {len(told) - _MAX_TOLD} more" if len(told) > _MAX_TOLD else ""
        yield Drift("firewall", "", "; ".join(told[:_MAX_TOLD]) + more)


def _links(
    instance: Instance, netlink: Netlink, networks: list[NetworkRecord], boxes: list[SandboxRecord]
) -> dict[str, Link]:
    """The bridges and the host's ends in question: asked for by name when they are few."""
    if len(networks) + len(boxes) > _FEW:
        return {link.name: link for link in map(links.read_link, netlink.dump(links.get_links()))}
    names = {network.bridge for network in networks}
    for endpoint in (each for record in boxes for each in record.endpoints):
        names.add(endpoint.link)
        if network := instance.book.networks.get(endpoint.network):
            names.add(network.bridge)
    return {name: link for name in names if (link := bridges.find(netlink, name)) is not None}


def lost_namespaces(instance: Instance) -> list[str]:
    """The sandboxes whose namespace is not where it was bound; 2 us each."""
    return [
        record.id
        for record in list(instance.book.sandboxes.values())
        if _is_kept(instance, record)
        and record.id in instance.whole
        and not namespaces.is_at(instance.netns_path(record.id), record.inode)
    ]


def has_wrong_files(instance: Instance, record: SandboxRecord, blocks: dict[str, str]) -> bool:
    """Whether its record or its hosts file is not as we wrote it; False for one on its way out. blocks: see
    `HostsFiles.is_altered`."""
    if not _is_kept(instance, record):
        return False
    return not instance.has_record(record.id) or instance.hosts.is_altered(record, blocks)


def _is_kept(instance: Instance, record: SandboxRecord) -> bool:
    return record.id not in instance.deleting and instance.book.sandboxes.get(record.id) is record


def _bridge_drift(
    instance: Instance, network: NetworkRecord, link: Link | None, addresses: set[tuple[int, str, int]]
) -> Iterator[Drift]:
    if link is None:
        yield Drift("bridge", network.name, f"bridge {network.bridge} is missing")
    elif not link.is_up:
        yield Drift("bridge", network.name, f"bridge {network.bridge} is down")
    elif lost := [each for each in bridges.addresses_of(network) if (link.index, *each) not in addresses]:
        shown = ", ".join(f"{address}/{prefix}" for address, prefix in lost)
        yield Drift("bridge", network.name, f"{shown} is missing on {network.bridge}")
    elif network.config.mtu is not None and link.mtu != network.config.mtu:
        yield Drift("bridge", network.name, f"bridge {network.bridge} has MTU {link.mtu}")
    elif told := bridges.changed_sysctls(network):
        yield Drift("bridge", network.name, "; ".join(told))
    if not instance.has_network_record(network.name):
        yield Drift("record", network.name, "its record on the disk is missing")


def _sandbox_drift(
    instance: Instance, record: SandboxRecord, found: dict[str, Link], blocks: dict[str, str]
) -> Iterator[Drift]:
    if not _is_kept(instance, record):
        return
    if not instance.has_record(record.id):
        yield Drift("record", record.id, "its record in the run directory is missing")
    if instance.hosts.is_altered(record, blocks):
        yield Drift("hosts", record.id, "the hosts file is missing or altered")
    if not namespaces.is_at(instance.netns_path(record.id), record.inode):
        yield Drift("netns", record.id, "the network namespace is not mounted")
        return
    wires = instance.wires(record)
    for wire in wires:
        # By the bridge as it is now: made anew by somebody, it has another index.
        bridge = found.get(wire.network.bridge)
        wire = dataclasses.replace(wire, bridge=bridge.index) if bridge else wire
        wrong = building.port_fault(found.get(wire.endpoint.link), wire)
        if wrong:
            detail = f"link {wire.endpoint.link} on network {wire.network.name} {wrong}"
            yield Drift("veth", record.id, detail)
    with instance.opened(record.id) as netns, instance.home.netlink_in(netns) as inside:
        for kind, detail in sandboxes.lacks(inside, wires):
            yield Drift(kind, record.id, detail)


# --- putting back -----------------------------------------------------------------------------


def repair(instance: Instance, found: Drift) -> None:
    """Make the finding's subject whole. NotFound when it is gone meanwhile."""
    match found.kind:
        case "forwarding":
            instance.forward(has_ipv6=instance.book.has_ipv6_network())
        case "firewall":
            instance.table.sync()
        case "bridge":
            building.repair_bridge(instance, _network(instance, found.subject))
        case "netns":
            _repair_namespace(instance, _sandbox(instance, found.subject))
        case "record":
            _restore_record(instance, found.subject)
        case "hosts":
            restore_hosts(instance, _sandbox(instance, found.subject).id)
        case "veth" | "address" | "route":
            building.repair_sandbox(instance, _sandbox(instance, found.subject))
        case _:
            raise NotFound("repair", found.kind, "the network knows no such drift")


def _restore_record(instance: Instance, subject: str) -> None:
    if subject in instance.book.networks:
        instance.write_network(_network(instance, subject))
    else:
        instance.enter(_sandbox(instance, subject))


def restore_hosts(instance: Instance, id: str) -> None:
    """Write a sandbox's hosts file, and its directory where that went."""
    os.makedirs(instance.hosts.directory, 0o700, exist_ok=True)  # noqa: PTH103
    instance.hosts.mark(id)
    instance.hosts.write_marked()


def _network(instance: Instance, name: str) -> NetworkRecord:
    record = instance.book.networks.get(name)
    if record is None:
        raise NotFound("repair bridge of", name, "there is no such network any more")
    return record


def _sandbox(instance: Instance, id: str) -> SandboxRecord:
    record = instance.book.sandboxes.get(id)
    if record is None or id in instance.deleting:
        raise NotFound("repair sandbox", id, "there is no such sandbox any more")
    return record


def _repair_namespace(instance: Instance, record: SandboxRecord) -> None:
    """Bind the namespace again from a process that lives in it; when none does, make another."""
    path = instance.netns_path(record.id)
    if namespaces.is_at(path, record.inode):
        return
    pid = instance.pid_of(record.id)
    holder = f"/proc/{pid}/ns/net" if pid else namespaces.holder_of(record.inode)
    namespaces.remove(path)
    if not holder:
        building.build(instance, record)
        return
    if namespaces.inode_of(holder) != record.inode:
        raise Temporary(
            "repair netns of", record.id, "its container runs in another network namespace",
            "restart the container",
        )  # fmt: skip
    namespaces.bind(holder, path)
    building.repair_sandbox(instance, record)
