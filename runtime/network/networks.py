"""Networks and sandboxes of one instance: the face that the engine uses.

All work is done by the calling thread, which is the event loop's: what the kernel takes a millisecond
for is not worth a thread (see `namespaces`). Calls that come in one turn of the loop share one nftables
transaction and one round of hosts files. Only links are deleted from a thread (see `reaper`).

    open() reads the records, looks at the kernel, and puts the firewall in place at once
    ensure_sandbox, delete_sandbox -> queue -> _work(): kernel, then firewall and hosts, then answers
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from runtime.errors import Conflict, Invalid, NotFound, SetpointError
from runtime.layout import Layout
from runtime.model import Drift, NetworkConfig, NetworkState, PortConfig, SandboxConfig, SandboxState
from runtime.network import (
    addresses,
    bridges,
    drift,
    links,
    namespaces,
    ports,
    records,
    sandboxes,
)
from runtime.network import names as naming
from runtime.network.book import Book, SandboxRequest
from runtime.network.failures import translated
from runtime.network.hosts import HostsFiles
from runtime.network.libnftables import FirewallError
from runtime.network.monitor import Monitor
from runtime.network.namespaces import Home
from runtime.network.netlink import Netlink
from runtime.network.reaper import Reaper
from runtime.network.records import Endpoint, NetworkRecord, SandboxRecord
from runtime.network.table import Table

# Of one turn of the loop, before the answers go out and others get a turn: some fifteen sandboxes.
_TURN_SECONDS = 0.020
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
Counters = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Job:
    """Something to do in a turn. work: a request to ensure, a record to change to, an id to take down."""

    work: SandboxRequest | SandboxRecord | str
    answer: asyncio.Future[Any]

    @property
    def id(self) -> str:
        if isinstance(self.work, str):
            return self.work
        return self.work.id if isinstance(self.work, SandboxRecord) else self.work.config.id


class Networks:
    """The networks and sandboxes of an instance. pid_of: a running process of a sandbox, if it has one."""

    home: Home
    netlink: Netlink
    _reaper: Reaper

    def __init__(
        self,
        layout: Layout,
        *,
        pools: Sequence[str] = addresses.DEFAULT_POOLS,
        pid_of: Callable[[str], int | None] = lambda _sandbox: None,
    ) -> None:
        self.layout = layout
        self.pid_of = pid_of
        self.book = Book(layout, ports.choose)
        self.table = Table(layout.nft_table)
        self.hosts = HostsFiles(str(layout.run / "hosts"), self.book)
        self.bridge_indexes: dict[str, int] = {}
        self._pools = pools
        self._netns = str(layout.netns)
        self._records = layout.run / "sandboxes"
        self._boot = ""
        self._whole: set[str] = set()  # sandboxes that this process has seen complete
        self._queue: deque[_Job] = deque()
        self._is_scheduled = False
        self._doomed: list[_Job] = []
        self._deleting: dict[str, asyncio.Future[None]] = {}
        self._reaping: asyncio.Task[None] | None = None

    # --- from start to end ---

    def open(self) -> None:
        """Take over what is there: records, bridges, namespaces; then the firewall, in one transaction.

        Bridges that are missing are made. What is missing of a sandbox is left to find_drift() and to the
        next ensure_sandbox(). Left-overs without a record are removed.
        """
        self.home, self.netlink, self._reaper = Home(), Netlink(), Reaper(self.layout)
        self._boot = _BOOT_ID.read_text().strip()
        self.layout.networks.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.layout.run.mkdir(mode=0o711, parents=True, exist_ok=True)
        for directory in (self.layout.netns, self._records, Path(self.hosts.directory)):
            directory.mkdir(mode=0o700, exist_ok=True)
        with translated("open", f"networks of {self.layout.instance}"):
            self._read_networks()
            self._read_sandboxes()
            self._remove_strays()
            self.table.wanted = self.book.elements()
            if self.book.networks:
                self.table.sync()
            for id in self.book.sandboxes:
                self.hosts.mark(id)
            self.hosts.write()

    def close(self) -> None:
        """Let go of descriptors. Everything in the kernel stays."""
        if self._reaping is not None:
            self._reaping.cancel()
        self.table.close()
        self._reaper.close()
        self.netlink.close()
        self.home.close()

    def _read_networks(self) -> None:
        for data in records.read_all(self.layout.networks):
            with contextlib.suppress(KeyError, TypeError, ValueError, Invalid):
                self.book.put_network(records.network_from(data))
        for record in self.book.networks.values():
            self.make_bridge(record)

    def _read_sandboxes(self) -> None:
        for data in records.read_all(self._records):
            with contextlib.suppress(KeyError, TypeError, ValueError, Invalid):
                record = records.sandbox_from(data)
                is_known = all(each.network in self.book.networks for each in record.endpoints)
                if record.boot == self._boot and is_known:
                    self.book.put(record)

    def _remove_strays(self) -> None:
        for path in self.layout.netns.iterdir():
            if path.name not in self.book.sandboxes:
                namespaces.remove(str(path))
        for path in (*self._records.iterdir(), *Path(self.hosts.directory).iterdir()):
            if path.name.removesuffix(".json") not in self.book.sandboxes:
                path.unlink()
        known = {each.link for record in self.book.sandboxes.values() for each in record.endpoints}
        known |= {record.bridge for record in self.book.networks.values()}
        found = map(links.read_link, self.netlink.dump(links.get_links()))
        stray = [link for link in found if bridges.is_ours(self.layout, link) and link.name not in known]
        if stray:
            self._reaper.doom(self.netlink, [link.index for link in stray])
            self._reaper.delete_now()

    # --- networks ---

    def create(self, config: NetworkConfig) -> NetworkState:
        """Make a network, or complete it. Conflict: it exists otherwise, or its subnet is taken."""
        records.check_name("create network", config.name)
        existing = self.book.networks.get(config.name)
        record = _relabelled(existing, config) if existing else self._plan_network(config)
        if record != existing:
            records.write(self._network_path(config.name), records.network_json(record), lasting=True)
        try:
            with translated("create network", config.name):
                self.make_bridge(record)
                self.book.put_network(record)
                if existing is None:
                    self.table.change(added=self.book.network_elements(record))
                self.table.flush()
        except SetpointError:
            if existing is None:
                self._forget_network(record)
            raise
        return state_of_network(record)

    def _plan_network(self, config: NetworkConfig) -> NetworkRecord:
        bridge = self.layout.link_name("br", config.name)
        taken = self._taken(bridge)
        if config.subnet:
            wanted = addresses.parse_network("create network", config.name, config.subnet)
            addresses.check_overlap(config.name, wanted, taken)
        elif config.gateway:
            raise Invalid("create network", config.name, "a gateway without a subnet", "name the subnet too")
        else:
            wanted = addresses.choose_subnet(config.name, (network for network, _ in taken), self._pools)
        return NetworkRecord(config, addresses.subnet_of(config.name, str(wanted), config.gateway), bridge)

    def _taken(self, bridge: str) -> Sequence[tuple[IPv4Network, str]]:
        """Ranges that a new network must not overlap, with whose they are."""
        found = [
            (IPv4Network((record.subnet.first, record.subnet.prefix)), f"network {record.name}")
            for record in self.book.networks.values()
        ]
        own = bridges.find(self.netlink, bridge)
        skipped = own.index if own else 0
        for route in map(links.read_route, self.netlink.dump(links.get_routes())):
            if route.prefix and route.destination and route.index != skipped:
                found.append((IPv4Network((route.destination, route.prefix)), "a route of this host"))
        for address in map(links.read_address, self.netlink.dump(links.get_addresses())):
            if address.index != skipped:
                network = IPv4Network((address.address, address.prefix), strict=False)
                found.append((network, "an address of this host"))
        return found

    def make_bridge(self, record: NetworkRecord) -> None:
        """The bridge in the kernel, and the host passing packets on."""
        bridges.forward()  # first: the kernel then sets every interface's own switch
        self.bridge_indexes[record.name] = bridges.make(self.netlink, self.layout, record).index

    async def delete(self, name: str) -> None:
        """Remove a network; nothing when it is gone. Conflict while a sandbox is on it."""
        record = self.book.networks.get(name)
        if record is None:
            return
        holders = self.book.sandboxes_on(name)
        if holders:
            shown = ", ".join(holder.names[0] if holder.names else holder.id for holder in holders[:3])
            raise Conflict("delete network", name, f"in use by {shown}", "remove those containers first")
        self._forget_network(record)
        await self._reaper.delete(links.delete_link(record.bridge))

    def _forget_network(self, record: NetworkRecord) -> None:
        if record.name in self.book.networks:
            self.book.drop_network(record.name)
        self.bridge_indexes.pop(record.name, None)
        with contextlib.suppress(FirewallError):
            self.table.change(removed=self.book.network_elements(record) & self.table.wanted)
            self.table.flush()
        self._network_path(record.name).unlink(missing_ok=True)

    def list(self) -> tuple[NetworkState, ...]:
        return tuple(state_of_network(record) for record in self.book.networks.values())

    # --- sandboxes ---

    async def ensure_sandbox(
        self,
        config: SandboxConfig,
        *,
        hostname: str = "",
        names: tuple[str, ...] = (),
        labels: Mapping[str, str] | None = None,
        extra_hosts: tuple[tuple[str, str], ...] = (),
        sysctls: Mapping[str, str] | None = None,
    ) -> SandboxState:
        """The sandbox as the config says: made, changed in place, or found to be so already.

        mode "join": the state of the one that is named. sysctls: only net.*. When it returns, addresses,
        ports and names are there, in the hosts files of its peers too.
        """
        if config.mode == "host":
            raise Invalid("make sandbox", config.id, "a container in the host's network has no sandbox")
        if config.mode == "join":
            return self._joined(config.id)
        for name in sysctls or ():
            namespaces.check_sysctl(config.id, name)
        while config.id in self._deleting:
            await asyncio.shield(self._deleting[config.id])
        request = SandboxRequest(config, hostname, names, labels or {}, extra_hosts, sysctls or {})
        return state_of_sandbox(await self._enqueue(request))

    def _joined(self, id: str) -> SandboxState:
        record = self.book.sandboxes.get(id)
        if record is None or id in self._deleting:
            raise NotFound(
                "join sandbox", id, "there is no such sandbox", "start the container that owns it first"
            )
        return state_of_sandbox(record)

    async def delete_sandbox(self, id: str) -> None:
        """Remove a sandbox with its links, ports and names; nothing when it is gone."""
        if id not in self.book.sandboxes:
            return
        if id not in self._deleting:
            self._deleting[id] = self._enqueue(id)
        await asyncio.shield(self._deleting[id])

    async def release_ports(self, id: str) -> None:
        """Take a sandbox's published ports back, so that another may have them. The sandbox stays."""
        record = self.book.sandboxes.get(id)
        if record is not None and record.ports and id not in self._deleting:
            await self._enqueue(dataclasses.replace(record, ports=()))

    def list_sandboxes(self) -> tuple[SandboxState, ...]:
        return tuple(state_of_sandbox(record) for record in self.book.sandboxes.values())

    def ports(self, id: str) -> tuple[PortConfig, ...]:
        """What a sandbox has published, with the host ports that were chosen for it."""
        record = self.book.sandboxes.get(id)
        return record.ports if record else ()

    def netns_path(self, id: str) -> str:
        return f"{self._netns}/{id}"

    def hosts_path(self, id: str) -> str:
        """The hosts file of a sandbox, to be bind-mounted: it is rewritten in place."""
        return self.hosts.path(id)

    def resolv_content(
        self, id: str, *, servers: Sequence[str] = (), search: Sequence[str] = (), options: Sequence[str] = ()
    ) -> str:
        """A container's resolv.conf. id "": it runs in the host's network."""
        record = self.book.sandboxes.get(id)
        return naming.resolv_conf(
            naming.read_host_resolv_conf(), servers=servers, search=search, options=options,
            has_way_out=record is not None and self.book.has_way_out(record), own_network=bool(id),
        )  # fmt: skip

    def socket_in(self, id: str, family: int, kind: int) -> socket.socket:
        """A socket in a sandbox's network, for probes. The thread is back when this returns."""
        with self.opened(id) as descriptor, translated("open socket in", id), self.home.inside(descriptor):
            return socket.socket(family, kind)

    @contextlib.contextmanager
    def opened(self, id: str) -> Any:
        """The descriptor of a sandbox's network namespace. NotFound when it is not there."""
        try:
            descriptor = os.open(self.netns_path(id), os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise NotFound("enter sandbox", id, f"no network namespace: {error.strerror}") from None
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def counters(self, id: str) -> Counters:
        """(rx_bytes, tx_bytes, rx_packets, tx_packets) as the container sees them, over its interfaces."""
        record = self.book.sandboxes.get(id)
        total: Counters = (0, 0, 0, 0)
        for endpoint in record.endpoints if record else ():
            with contextlib.suppress(OSError):
                answer = self.netlink.get(links.get_link(endpoint.link, statistics=True))
                total = _sum(total, links.read_statistics(answer))
        return total

    def all_counters(self) -> dict[str, Counters]:
        """`counters` of every sandbox, from one dump of the kernel."""
        owner = {each.link: record.id for record in self.book.sandboxes.values() for each in record.endpoints}
        totals: dict[str, Counters] = dict.fromkeys(self.book.sandboxes, (0, 0, 0, 0))
        for answer in self.netlink.dump(links.get_links(statistics=True)):
            found = links.read_statistics(answer)
            if found[0] in owner:
                totals[owner[found[0]]] = _sum(totals[owner[found[0]]], found)
        return totals

    # --- drift ---

    def find_drift(self) -> tuple[Drift, ...]:
        """All that is not in the kernel as it was made. Changes nothing."""
        with translated("find drift in", "networks"):
            return drift.find(self)

    def repair(self, found: Drift) -> None:
        """Put one finding back in place. NotFound when its subject is gone meanwhile."""
        with translated(f"repair {found.kind} of", found.subject):
            drift.repair(self, found)

    def monitor(self) -> Monitor:
        """What tells, while it is read, which network or sandbox to look at. The caller closes it."""
        return Monitor(self.book, self.layout.nft_table, {self.netlink.port(), self._reaper.port()})

    def is_deleting(self, id: str) -> bool:
        return id in self._deleting

    def wires(self, record: SandboxRecord) -> tuple[sandboxes.Wire, ...]:
        return sandboxes.wires_of(record.endpoints, self.book.networks, self.bridge_indexes)

    def enter(self, record: SandboxRecord) -> None:
        """Keep a record: on disk, then in the book."""
        path = self._record_path(record.id)
        records.write(path, records.sandbox_json(record), lasting=False)
        self.book.put(record)

    def rebuild(self, record: SandboxRecord) -> None:
        """Another namespace with the same interfaces, in place of one that is lost and empty."""
        self._build(record)

    # --- the work of one turn ---

    def _enqueue(self, work: SandboxRequest | SandboxRecord | str) -> asyncio.Future[Any]:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.append(_Job(work, answer))
        self._schedule()
        return answer

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._work)

    def _work(self) -> None:
        """Do what is queued, as much as fits into a turn; then one flush; then answer."""
        self._is_scheduled = False
        until = time.monotonic() + _TURN_SECONDS
        done: list[tuple[_Job, SandboxRecord | None]] = []
        while self._queue and (not done or time.monotonic() < until):
            job = self._queue.popleft()
            try:
                with translated("make sandbox", job.id):
                    done.append((job, self._do(job.work)))
            except Exception as error:
                self._refuse(job, error)
        failure = self._flush()
        for job, record in done:
            if isinstance(job.work, str):
                self._doomed.append(job)
            elif failure is not None:
                self._refuse(job, failure)
            elif not job.answer.done():
                job.answer.set_result(record)
        if self._doomed and self._reaping is None:
            self._reaping = asyncio.get_running_loop().create_task(self._reap())
        if self._queue:
            self._schedule()

    def _flush(self) -> Exception | None:
        try:
            with translated("make sandboxes of", self.layout.instance):
                self.table.flush()
                self.hosts.write()
        except Exception as error:
            return error
        return None

    def _refuse(self, job: _Job, error: Exception) -> None:
        if isinstance(job.work, str):
            self._deleting.pop(job.work, None)
        if not job.answer.done():
            job.answer.set_exception(error)

    def _do(self, work: SandboxRequest | SandboxRecord | str) -> SandboxRecord | None:
        if isinstance(work, str):
            self._take_down(work)
            return None
        if isinstance(work, SandboxRecord):
            old = self.book.sandboxes.get(work.id)
            return self._change(old, work) if old is not None else None
        old = self.book.sandboxes.get(work.config.id)
        new = self.book.plan(work)
        for port in set(new.ports) - set(old.ports if old else ()):
            ports.probe(new.id, port)
        return self._change(old, new)

    def _change(self, old: SandboxRecord | None, new: SandboxRecord) -> SandboxRecord:
        """Make `new` true where `old` was (None: nothing). On an error nothing of a new one stays."""
        alive = old is not None and namespaces.is_at(self.netns_path(old.id), old.inode)
        if alive and old == new and new.id in self._whole:
            return new
        before = self.book.port_elements(old) if old else set()
        try:
            new = self._alter(old, new) if alive and old is not None else self._build(new)
        except BaseException:
            self._undo(old, new.id)
            raise
        self._whole.add(new.id)
        after = self.book.port_elements(new)
        self.table.change(removed=before - after, added=after - before)
        for endpoint in (*(old.endpoints if old else ()), *new.endpoints):
            self.hosts.mark_network(endpoint.network)
        self.hosts.mark(new.id)
        return new

    def _undo(self, old: SandboxRecord | None, id: str) -> None:
        self._whole.discard(id)
        if old is not None:
            self.enter(old)
            return
        self.book.drop(id)
        namespaces.remove(self.netns_path(id))
        records.remove(self._record_path(id))

    def _build(self, record: SandboxRecord) -> SandboxRecord:
        """A sandbox from nothing."""
        path = self.netns_path(record.id)
        try:
            netns, inside = sandboxes.create(self.home, path)
        except FileExistsError:  # of a crash, or its mount is gone
            namespaces.remove(path)
            netns, inside = sandboxes.create(self.home, path)
        try:
            record = dataclasses.replace(record, inode=os.fstat(netns).st_ino, boot=self._boot)
            # Before the links, so that after a crash it is known whose they are.
            self.enter(record)
            sandboxes.attach(self.netlink, inside, self.layout, record, self.wires(record), netns)
            sandboxes.apply_sysctls(self.home, netns, record.sysctls)
        finally:
            inside.close()
            os.close(netns)
        return record

    def _alter(self, old: SandboxRecord, new: SandboxRecord) -> SandboxRecord:
        """A living sandbox: interfaces that are no longer wanted go, new ones come, the rest stays."""
        self.enter(new)
        kept = {_identity(each) for each in new.endpoints}
        gone = [each.link for each in old.endpoints if _identity(each) not in kept]
        if gone:
            self.netlink.send([links.delete_link(link) for link in gone])
        if new.id not in self._whole or new.endpoints != old.endpoints:
            drift.repair_sandbox(self, new)
        if new.sysctls != old.sysctls:
            with self.opened(new.id) as netns:
                sandboxes.apply_sysctls(self.home, netns, new.sysctls)
        return new

    def _take_down(self, id: str) -> None:
        """The quick part of a removal: names, ports, the namespace. Its links follow in _reap()."""
        record = self.book.sandboxes[id]
        self._whole.discard(id)
        self.table.change(removed=self.book.port_elements(record))
        # Its addresses stay taken until the links are gone.
        self.enter(dataclasses.replace(record, ports=(), names=(), hostname=""))
        for endpoint in record.endpoints:
            self.hosts.mark_network(endpoint.network)
        found = [bridges.find(self.netlink, each.link) for each in record.endpoints]
        self._reaper.doom(self.netlink, [link.index for link in found if link is not None])
        namespaces.remove(self.netns_path(id))

    async def _reap(self) -> None:
        try:
            while self._doomed:
                batch, self._doomed = self._doomed, []
                await self._reaper.delete()
                for job in batch:
                    self.book.drop(job.id)
                    self.hosts.remove(job.id)
                    # Last: until then, after a crash, it is listed and can be deleted again.
                    records.remove(self._record_path(job.id))
                    self._deleting.pop(job.id, None)
                    if not job.answer.done():
                        job.answer.set_result(None)
        finally:
            self._reaping = None

    def _network_path(self, name: str) -> Path:
        return self.layout.networks / f"{name}.json"

    def _record_path(self, id: str) -> str:
        return f"{self._records}/{id}.json"


def state_of_network(record: NetworkRecord) -> NetworkState:
    return NetworkState(
        name=record.name,
        labels=record.config.labels,
        subnet=str(record.subnet),
        gateway=addresses.text_of(record.subnet.gateway),
        bridge=record.bridge,
        internal=record.config.internal,
    )


def state_of_sandbox(record: SandboxRecord) -> SandboxState:
    found = {each.network: addresses.text_of(each.ipv4) for each in record.endpoints}
    return SandboxState(id=record.id, labels=record.labels, addresses=found)


def _relabelled(record: NetworkRecord, config: NetworkConfig) -> NetworkRecord:
    """An existing network with new labels. Conflict when anything else is to be otherwise."""
    had = record.config
    is_same = (
        config.subnet in ("", had.subnet, str(record.subnet))
        and config.gateway in ("", addresses.text_of(record.subnet.gateway))
        and (config.internal, config.isolated, config.mtu) == (had.internal, had.isolated, had.mtu)
    )
    if not is_same:
        raise Conflict(
            "create network", config.name, "it exists with another configuration",
            "delete it first, when no container is on it",
        )  # fmt: skip
    return dataclasses.replace(record, config=dataclasses.replace(had, labels=dict(config.labels)))


def _identity(endpoint: Endpoint) -> tuple[str, int, str]:
    """What an interface is known by: with another of these it is another interface."""
    return endpoint.link, endpoint.ipv4, endpoint.mac


def _sum(total: Counters, found: tuple[str, int, int, int, int]) -> Counters:
    """The host's end receives what the container sends."""
    _name, rx_packets, tx_packets, rx_bytes, tx_bytes = found
    return total[0] + tx_bytes, total[1] + rx_bytes, total[2] + tx_packets, total[3] + rx_packets
