"""Makes a sandbox be what its record says, from nothing or from what it was. Called by `networks`.

Order: the record is on disk before the links are made, and goes after they are gone, so that a crash in
between leaves nothing that has no name. Firewall elements and hosts files are marked here, and written by
`networks` once a turn.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence

from runtime.errors import Conflict
from runtime.network import bridges, links, namespaces, sandboxes
from runtime.network.book import SandboxRequest
from runtime.network.firewall import Element
from runtime.network.instance import Instance
from runtime.network.links import Link
from runtime.network.netlink import Netlink, Request
from runtime.network.records import Endpoint, NetworkRecord, SandboxRecord
from runtime.network.sandboxes import Wire


def ensure(instance: Instance, request: SandboxRequest) -> SandboxRecord:
    """The sandbox as it is asked for. What it has and is still wanted, it keeps."""
    old = instance.book.sandboxes.get(request.config.id)
    new = instance.book.plan(request)
    had = instance.book.bound(old) if old else ()
    added = set(instance.book.bound(new)) - set(had)
    try:
        for port in added:
            instance.reservations.take(new.names[0] if new.names else new.id, port)
        return change(instance, old, new, request.on_bound)
    except BaseException:
        instance.reservations.give_back(added, kept=had)
        raise


def change(
    instance: Instance,
    old: SandboxRecord | None,
    new: SandboxRecord,
    on_bound: Callable[[], None] = lambda: None,
) -> SandboxRecord:
    """Make `new` true where `old` was (None: nothing). On an error nothing of a new one stays. on_bound: see
    `build`."""
    alive = old is not None and namespaces.is_at(instance.netns_path(old.id), old.inode)
    if alive and old is not None and old.ids != new.ids:
        _leave(instance, old)
        alive = False
    if alive and old == new and new.id in instance.whole:
        return new
    before = instance.book.possible_elements(old) & instance.table.wanted if old else set()
    # A process in there may wait for an interface that is to come: it is guarded before it is there.
    early = instance.book.guard_elements(new) - instance.table.wanted if alive else set()
    try:
        _guard(instance, early)
        if alive and old is not None:
            new = _alter(instance, old, new)
        else:
            new = build(instance, new, on_bound)
    except BaseException:
        _undo(instance, old, new.id, early)
        raise
    instance.whole.add(new.id)
    if not new.ids:
        instance.ranges.release(new.id)
    if old is not None and (old.ports != new.ports or old.endpoints != new.endpoints):
        instance.reservations.give_back(instance.book.bound(old), kept=instance.book.bound(new))
    after = instance.book.sandbox_elements(new)
    instance.table.change(removed=before - after, added=after - before - early)
    for endpoint in (*(old.endpoints if old else ()), *new.endpoints):
        instance.hosts.mark_network(endpoint.network)
    instance.hosts.mark(new.id)
    return new


def _leave(instance: Instance, old: SandboxRecord) -> None:
    """Give up a namespace that belongs to other ids than the container is to have now. Conflict while a
    process, of another container, is in it."""
    if instance.pid_of(old.id) is not None:
        raise Conflict(
            "make sandbox", old.names[0] if old.names else old.id,
            "its network belongs to another user namespace, and a container that shares it runs",
            "stop those with network_mode: service:… first, or change userns_mode back",
        )  # fmt: skip
    namespaces.remove(instance.netns_path(old.id))
    instance.hosts.remove(old.id)  # it is the old ids' own


def _guard(instance: Instance, early: set[Element]) -> None:
    if early:
        instance.table.change(added=early)
        instance.table.flush()


def _undo(instance: Instance, old: SandboxRecord | None, id: str, early: set[Element]) -> None:
    instance.whole.discard(id)
    if old is not None:
        instance.enter(old)
        instance.table.change(removed=early)
        return
    namespaces.remove(instance.netns_path(id))
    instance.forget(id)


def build(
    instance: Instance, record: SandboxRecord, on_bound: Callable[[], None] = lambda: None
) -> SandboxRecord:
    """A sandbox from nothing; its record with the namespace that it got. on_bound: called once that and the
    hosts file are there: others do their part while it gets its interfaces."""
    path = instance.netns_path(record.id)
    made = sandboxes.create(instance.home, record.ids)
    netns, inside = made
    try:
        try:
            namespaces.name(made, path)
        except FileExistsError:  # of a crash, or its mount is gone
            namespaces.remove(path)
            namespaces.name(made, path)
        record = dataclasses.replace(record, inode=os.fstat(netns).st_ino, boot=instance.boot)
        instance.enter(record)
        instance.hosts.make(record)
        on_bound()
        _attach(instance, inside, record, instance.wires(record), netns)
        sandboxes.apply_sysctls(instance.home, netns, record.sysctls)
    finally:
        made.close()
    return record


def _attach(
    instance: Instance, inside: Netlink, record: SandboxRecord, wires: Sequence[Wire], netns: int
) -> None:
    sandboxes.attach(instance.netlink, inside, instance.home, instance.layout, record, wires, netns)


def _alter(instance: Instance, old: SandboxRecord, new: SandboxRecord) -> SandboxRecord:
    """A living sandbox: interfaces that are no longer wanted go, new ones come, the rest stays."""
    instance.enter(new)
    kept = {_identity(each) for each in new.endpoints}
    gone = [each.link for each in old.endpoints if _identity(each) not in kept]
    if gone:
        instance.netlink.send([links.delete_link(link) for link in gone])
    if new.endpoints != old.endpoints:
        _drop_default(instance, old, new)
    if new.endpoints != old.endpoints or new.id not in instance.whole:
        repair_sandbox(instance, new)
    elif bool(new.ports) != bool(old.ports):
        wires = [wire for wire in instance.wires(new) if wire.is_default or wire.is_default6]
        instance.netlink.request(*(sandboxes.set_port(instance.layout, new, wire) for wire in wires))
    if new.sysctls != old.sysctls:
        with instance.opened(new.id) as netns:
            sandboxes.apply_sysctls(instance.home, netns, new.sysctls)
    return new


def _drop_default(instance: Instance, old: SandboxRecord, new: SandboxRecord) -> None:
    """Take away the ways out by an interface that stays but is no longer the first one out."""
    networks = instance.book.networks
    dropped: list[tuple[Endpoint, int]] = []
    for find in (sandboxes.default_of, sandboxes.default6_of):
        before, after = find(old.endpoints, networks), find(new.endpoints, networks)
        if before is None or (after is not None and before.link == after.link):
            continue
        network = networks[before.network]
        subnet = network.subnet if find is sandboxes.default_of else network.subnet6
        if subnet is not None:
            dropped.append((before, subnet.gateway))
    if dropped:
        with instance.opened(new.id) as netns, instance.home.netlink_in(netns) as inside:
            for endpoint, gateway in dropped:
                sandboxes.drop_default(inside, endpoint, gateway)


def take_down(instance: Instance, id: str) -> None:
    """The quick part of a removal: names, ports, the namespace. Its links are the reaper's (see `going`)."""
    record = instance.book.sandboxes[id]
    instance.whole.discard(id)
    instance.table.change(removed=instance.book.possible_elements(record) & instance.table.wanted)
    instance.reservations.give_back(instance.book.bound(record))
    # Its addresses stay taken until the links are gone; by no name, for the peers' files are written now.
    unnamed = tuple(dataclasses.replace(each, aliases=()) for each in record.endpoints)
    going = dataclasses.replace(record, endpoints=unnamed, ports=(), names=(), hostname="")
    instance.let_go(going)
    for endpoint in record.endpoints:
        instance.hosts.mark_network(endpoint.network)
    namespaces.remove(instance.netns_path(id))


def _identity(endpoint: Endpoint) -> tuple[str, int, int, str]:
    """What an interface is known by: with another of these it is another interface."""
    return endpoint.link, endpoint.ipv4, endpoint.ipv6, endpoint.mac


# --- putting back ---


def port_fault(link: Link | None, wire: Wire) -> str:
    """What is wrong with the host's end of an interface, "" when nothing is."""
    if link is None:
        return "is missing"
    if not link.is_up:
        return "is down"
    if link.master != wire.bridge:
        return "is not on its bridge"
    if link.is_isolated != wire.network.config.isolated:
        return "is isolated" if link.is_isolated else "is not isolated"
    if link.is_hairpin != wire.is_hairpin:
        return "is a hairpin" if link.is_hairpin else "is not a hairpin"
    return ""


def repair_bridge(instance: Instance, network: NetworkRecord) -> None:
    """The bridge, and all its ports back on it: a bridge made anew has none."""
    instance.make_bridge(network)
    found = {link.name: link for link in map(links.read_link, instance.netlink.dump(links.get_links()))}
    requests: list[Request] = []
    for record in instance.book.sandboxes_on(network.name):
        for wire in instance.wires(record):
            link = found.get(wire.endpoint.link)
            if wire.network is network and link is not None:
                requests += _port_requests(instance, record, link, wire)
    instance.netlink.request(*requests)


def _port_requests(instance: Instance, record: SandboxRecord, link: Link, wire: Wire) -> list[Request]:
    """What puts an existing link right as a port of its bridge."""
    if not port_fault(link, wire):
        return []
    return [
        links.set_link(link.index, master=wire.bridge),
        sandboxes.set_port(instance.layout, record, wire),
    ]


def repair_sandbox(instance: Instance, record: SandboxRecord) -> None:
    """All interfaces of a living sandbox: made where missing, on their bridges, up, with addresses."""
    for endpoint in record.endpoints:
        network = instance.book.networks[endpoint.network]
        if bridges.find(instance.netlink, network.bridge) is None:
            repair_bridge(instance, network)
    wires = instance.wires(record)
    with instance.opened(record.id) as netns, instance.home.netlink_in(netns) as inside:
        present = {link.name for link in map(links.read_link, inside.dump(links.get_links()))}
        missing = [wire for wire in wires if not _put_back(instance, record, wire, present)]
        _attach(instance, inside, record, missing, netns)
        sandboxes.settle_again(inside, instance.home, netns, wires)
    sandboxes.settle_carrier(instance.netlink, wires)


def _put_back(instance: Instance, record: SandboxRecord, wire: Wire, present: set[str]) -> bool:
    """Put an existing interface back on its bridge. False when it must be made; a half of one is deleted."""
    link = bridges.find(instance.netlink, wire.endpoint.link)
    if link is None:
        return False
    if wire.endpoint.interface not in present:
        instance.netlink.request(links.delete_link(link.name))
        return False
    instance.netlink.request(*_port_requests(instance, record, link, wire))
    return True
