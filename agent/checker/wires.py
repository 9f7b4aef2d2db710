"""How an instance's networks differ from their records, by the very looks that the agent repairs by
(`runtime.network.drift`), without opening the instance: nothing is made, removed or repaired.
"""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass

from agent.checker.disk import Disk
from agent.checker.kernel import Kernel
from runtime import syscalls
from runtime.container_index import is_router
from runtime.layout import Layout
from runtime.model import Drift
from runtime.network import drift, firewall, namespaces, table
from runtime.network.firewall import Element
from runtime.network.instance import Instance
from runtime.network.libnftables import Nftables


@dataclass(frozen=True, slots=True)
class Wires:
    """drifts: of bridges, namespaces and interfaces. elements: what the table's sets are to hold."""

    drifts: tuple[Drift, ...] = ()
    elements: frozenset[Element] = frozenset()


def read_wires(layout: Layout, disk: Disk, kernel: Kernel) -> Wires:
    """By the records on disk. Enters the sandboxes' network namespaces, and comes back."""
    if not disk.networks and not disk.sandboxes:
        return Wires()
    routers = {each.config.sandbox.id for each in disk.bundles.values() if is_router(each.config)}
    instance = Instance(layout, lambda _id: None, routers.__contains__)
    try:
        for network in disk.networks.values():
            instance.book.put_network(network)
            link = kernel.links.get(network.bridge)
            instance.bridge_indexes[network.name] = link.index if link else 0
        for sandbox in disk.sandboxes.values():
            if all(endpoint.network in disk.networks for endpoint in sandbox.endpoints):
                instance.book.put(sandbox)
        _skeleton, has_guard = _wanted(layout.nft_table)
        elements = {each for each in instance.book.elements() if has_guard or not firewall.is_guarding(each)}
        return Wires(drift.find(instance), frozenset(elements))
    finally:
        instance.close()


def wanted_skeleton(layout: Layout) -> str:
    """The chains, rules and sets that we write."""
    return _wanted(layout.nft_table)[0]


@functools.lru_cache(maxsize=8)
def _wanted(name: str) -> tuple[str, bool]:
    """The tables as the kernel lists them, written into a network namespace that a thread makes for them and
    takes with it; and whether it can guard ports."""
    found: list[tuple[str, bool]] = []

    def write_and_list() -> None:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        library = Nftables()
        try:
            unguarded = table.write(library, name, ())
            found.append((firewall.skeleton(table.read(library, name) or []), not unguarded))
        finally:
            library.close()

    thread = threading.Thread(target=write_and_list)
    thread.start()
    thread.join()
    return found[0] if found else ("", False)


def is_bound(path: str) -> bool:
    """Whether a network namespace is mounted at a path, and it is not just the file for one."""
    return namespaces.is_at(path, namespaces.inode_of(path))
