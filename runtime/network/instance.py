"""What the parts of the network share of one instance: its records, its sockets, its names.

Opened by `networks`; `building` makes sandboxes with it and `drift` looks and repairs with it. It reads
the records back at the start and removes what has none; it decides nothing about a sandbox.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from runtime import id_ranges
from runtime.errors import Conflict, Invalid, NotFound, Unsupported
from runtime.id_ranges import IdRanges
from runtime.layout import Layout
from runtime.network import bridges, links, namespaces, ports, records, sandboxes
from runtime.network.book import Book
from runtime.network.hosts import HostsFiles
from runtime.network.namespaces import Home
from runtime.network.netlink import Netlink
from runtime.network.reaper import Reaper
from runtime.network.records import NetworkRecord, SandboxRecord
from runtime.network.reservations import Reservations
from runtime.network.table import Table

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def no_ipv6(network: str) -> Unsupported:
    return Unsupported(
        "create network", network, "this kernel has no IPv6",
        "boot it without ipv6.disable=1, or leave out enable_ipv6",
    )  # fmt: skip


class Instance:
    """The networks of an instance, open. pid_of: a running process of a sandbox, if it has one. is_router:
    see `Book`.

    whole: the sandboxes that this process has seen complete. deleting: those that are on their way out.
    """

    def __init__(
        self,
        layout: Layout,
        pid_of: Callable[[str], int | None],
        is_router: Callable[[str], bool] = lambda _sandbox: False,
    ) -> None:
        self.layout = layout
        self.pid_of = pid_of
        self.book = Book(layout, ports.choose, has_ipv6=sandboxes.HAS_IPV6, is_router=is_router)
        self.table = Table(layout.nft_table)
        self.reservations = Reservations(layout)
        self.ranges = IdRanges(layout.instance)
        self.hosts = HostsFiles(str(layout.run / "hosts"), self.book)
        self.bridge_indexes: dict[str, int] = {}
        self.whole: set[str] = set()
        self.deleting: set[str] = set()
        self.boot = _BOOT_ID.read_text().strip()
        self.home, self.netlink, self.reaper = Home(), Netlink(), Reaper(layout)
        self._netns = str(layout.netns)
        self._records = layout.run / "sandboxes"

    def close(self) -> None:
        """Let go of descriptors. Everything in the kernel stays."""
        self.table.close()
        self.reservations.close()
        self.reaper.close()
        self.netlink.close()
        self.home.close()

    def take_over(self) -> None:
        """Read the records, make bridges that are missing, remove left-overs without a record, and put the
        firewall in place in one transaction."""
        self.table.open()
        self.layout.networks.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.layout.run.mkdir(mode=0o711, parents=True, exist_ok=True)
        for directory in (self.layout.netns, self._records, Path(self.hosts.directory)):
            directory.mkdir(mode=0o700, exist_ok=True)
        self._read_networks()
        self._read_sandboxes()
        self._take_over_ids()
        self._remove_strays()
        self.table.wanted = self.book.elements()
        if self.book.networks:
            self.table.sync()
        for id in self.book.sandboxes:
            self.hosts.mark(id)
        self.hosts.write_marked()

    def _read_networks(self) -> None:
        for data in records.read_all(self.layout.networks):
            with contextlib.suppress(KeyError, TypeError, ValueError, Invalid):
                self.book.put_network(records.network_from(data))
        for record in list(self.book.networks.values()):
            try:
                self.make_bridge(record)
            # Another's link has the name of its bridge, or IPv6 is gone: said when it is made again.
            except (Conflict, Unsupported):
                self.book.drop_network(record.name)

    def _read_sandboxes(self) -> None:
        for data in records.read_all(self._records):
            with contextlib.suppress(KeyError, TypeError, ValueError, Invalid):
                record = records.sandbox_from(data)
                is_known = all(each.network in self.book.networks for each in record.endpoints)
                if record.boot == self.boot and is_known:
                    self.book.put(record)
                    self.reservations.take_again(self.book.bound(record))

    def _take_over_ids(self) -> None:
        """The ranges of sandboxes, by their records; those of containers in the host's network, which have a
        record if there is a bundle."""
        held = {record.id: record.ids for record in self.book.sandboxes.values() if record.ids}
        for first, holder in id_ranges.claims(self.layout.instance):
            if (self.layout.containers / holder).is_dir():
                held.setdefault(holder, first)
        self.ranges.open(held)

    def _remove_strays(self) -> None:
        for path in self.layout.netns.iterdir():
            if path.name not in self.book.sandboxes:
                namespaces.remove(str(path))
        for path in (*self._records.iterdir(), *Path(self.hosts.directory).iterdir()):
            if path.name.removesuffix(".json") not in self.book.sandboxes:
                path.unlink()
        found = map(links.read_link, self.netlink.dump(links.get_links()))
        ours = [link for link in found if bridges.is_ours(self.layout, link)]
        stray = [link.index for link in ours if self.book.owner_of_link(link.name) is None]
        if stray:
            self.reaper.doom(self.netlink, stray)
            self.reaper.delete_now()

    # --- what the parts use ---

    def make_bridge(self, record: NetworkRecord) -> None:
        """The bridge in the kernel, and the host passing packets on."""
        if record.subnet6 is not None and not sandboxes.HAS_IPV6:
            raise no_ipv6(record.name)
        self.forward(has_ipv6=record.subnet6 is not None)
        self.bridge_indexes[record.name] = bridges.make(self.netlink, self.layout, record).index

    def forward(self, *, has_ipv6: bool) -> None:
        """Before a bridge is made: the kernel sets every interface's own switch by it."""
        bridges.forward()
        if has_ipv6:
            bridges.forward6(self.netlink)

    def wires(self, record: SandboxRecord) -> tuple[sandboxes.Wire, ...]:
        return sandboxes.wires_of(record, self.book.networks, self.bridge_indexes)

    def namespace_ids(self) -> dict[int, str]:
        """The kernel's ids of the namespaces that our links lead into (ip-netns(8)) -> the sandboxes."""
        found: dict[int, str] = {}
        for link in map(links.read_link, self.netlink.dump(links.get_links())):
            owner = self.book.owner_of_link(link.name) if link.nsid >= 0 else None
            if owner is not None:
                found[link.nsid] = owner
        return found

    def netns_path(self, id: str) -> str:
        return f"{self._netns}/{id}"

    @contextlib.contextmanager
    def opened(self, id: str) -> Iterator[int]:
        """The descriptor of a sandbox's network namespace. NotFound when it is not there."""
        try:
            descriptor = os.open(self.netns_path(id), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise NotFound("enter sandbox", id, f"no network namespace: {error.strerror}") from None
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def enter(self, record: SandboxRecord) -> None:
        """Keep a record: on disk, then in the book."""
        records.write(self._record_path(record.id), records.sandbox_json(record), lasting=False)
        self.book.put(record)

    def has_record(self, id: str) -> bool:
        return os.path.exists(self._record_path(id))  # noqa: PTH110

    def has_network_record(self, name: str) -> bool:
        return self.network_path(name).exists()

    def network_path(self, name: str) -> Path:
        return self.layout.networks / f"{name}.json"

    def write_network(self, record: NetworkRecord) -> None:
        records.write(self.network_path(record.name), records.network_json(record), lasting=True)

    def let_go(self, record: SandboxRecord) -> None:
        """Keep a record in the book alone: after a crash, what there is of it is left-overs."""
        records.remove(self._record_path(record.id))
        self.book.put(record)

    def forget(self, id: str) -> None:
        """Drop a record."""
        self.book.drop(id)
        self.hosts.remove(id)
        self.ranges.release(id)
        records.remove(self._record_path(id))

    def _record_path(self, id: str) -> str:
        return f"{self._records}/{id}.json"
