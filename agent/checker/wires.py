"""How an instance's networks differ from their records, by the very looks that the agent repairs by
(`runtime.network.drift`), without opening the instance: nothing is made, removed or repaired.
"""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass
from typing import Any

from agent.checker.disk import Disk
from agent.checker.kernel import Kernel
from runtime import syscalls
from runtime.layout import Layout
from runtime.model import Drift
from runtime.network import drift, firewall, namespaces
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
    instance = Instance(layout, lambda _id: None)
    try:
        for network in disk.networks.values():
            instance.book.put_network(network)
            link = kernel.links.get(network.bridge)
            instance.bridge_indexes[network.name] = link.index if link else 0
        for sandbox in disk.sandboxes.values():
            if all(endpoint.network in disk.networks for endpoint in sandbox.endpoints):
                instance.book.put(sandbox)
        return Wires(drift.find(instance), frozenset(instance.book.elements()))
    finally:
        instance.close()


def skeleton_differs(layout: Layout, listing: list[dict[str, Any]]) -> bool:
    """Whether the table has other chains, rules or sets than we write."""
    return firewall.skeleton(listing) != _wanted_skeleton(layout.nft_table)


@functools.lru_cache(maxsize=8)
def _wanted_skeleton(table: str) -> str:
    """The table as the kernel lists it, written into a network namespace that a thread makes for it and
    takes with it."""
    found: list[str] = []

    def write_and_list() -> None:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        library = Nftables()
        try:
            library.run(firewall.replace_table(table, ()), table)
            found.append(firewall.skeleton(library.list_table(firewall.FAMILY, table) or []))
        finally:
            library.close()

    thread = threading.Thread(target=write_and_list)
    thread.start()
    thread.join()
    return found[0] if found else ""


def is_bound(path: str) -> bool:
    """Whether a network namespace is mounted at a path, and it is not just the file for one."""
    return namespaces.is_at(path, namespaces.inode_of(path))
