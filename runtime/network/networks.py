"""Networks and sandboxes of one instance: the face that the engine uses.

All work is done by the calling thread, which is the event loop's: what the kernel takes a millisecond
for is not worth a thread (see `namespaces`). Calls that come in one turn of the loop share one nftables
transaction and one round of hosts files. Only links are deleted from a thread (see `going`).

    open() reads the records, looks at the kernel, and puts the firewall in place at once
    ensure_sandbox, delete_sandbox -> queue -> _work(): kernel, then firewall and hosts, then answers
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from runtime.errors import Conflict, Invalid, NotFound, SetpointError
from runtime.layout import Layout
from runtime.model import (
    Drift,
    InterfaceStats,
    Ipv6Config,
    NetworkConfig,
    NetworkState,
    PortConfig,
    SandboxConfig,
    SandboxState,
)
from runtime.network import (
    addresses,
    bridges,
    building,
    drift,
    links,
    namespaces,
    range_lock,
    records,
    sandboxes,
    states,
    ula,
)
from runtime.network import names as naming
from runtime.network.book import SandboxRequest
from runtime.network.failures import translated
from runtime.network.going import Going
from runtime.network.instance import Instance, no_ipv6
from runtime.network.libnftables import FirewallError
from runtime.network.link_names import check_link_name
from runtime.network.monitor import Monitor
from runtime.network.records import NetworkRecord, SandboxRecord

# Of one turn of the loop, before the answers go out and others get a turn: some fifteen sandboxes.
_TURN_SECONDS = 0.020
_PEERS_SECONDS = 0.050
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
    """The networks and sandboxes of an instance. pid_of: a running process of a sandbox, if it has one.
    is_router: whether somebody in a sandbox may change its interfaces."""

    _instance: Instance
    _going: Going

    def __init__(
        self,
        layout: Layout,
        *,
        pools: Sequence[str] = addresses.DEFAULT_POOLS,
        pid_of: Callable[[str], int | None] = lambda _sandbox: None,
        is_router: Callable[[str], bool] = lambda _sandbox: False,
    ) -> None:
        self.layout = layout
        self._pools = pools
        self._pid_of, self._is_router = pid_of, is_router
        self._queue: deque[_Job] = deque()
        self._is_scheduled = False
        self._hosts_due: asyncio.TimerHandle | None = None
        self._hosts_written_at = 0.0

    # --- from start to end ---

    def open(self) -> None:
        """Take over what is there: records, bridges, namespaces; then the firewall, in one transaction.

        Bridges that are missing are made. What is missing of a sandbox is left to find_drift() and to the
        next ensure_sandbox(). Left-overs without a record are removed.
        """
        with translated("open", f"networks of {self.layout.instance}"):
            self._instance = Instance(self.layout, self._pid_of, self._is_router)
            self._book, self._table = self._instance.book, self._instance.table
            self._hosts = self._instance.hosts
            self._going = Going(self._instance)
            self._instance.take_over()

    def close(self) -> None:
        """Let go of descriptors. Everything in the kernel stays."""
        if self._hosts_due is not None:
            self._hosts_due.cancel()
            self._write_peers()
        self._going.close()
        self._instance.close()

    # --- networks ---

    def create(self, config: NetworkConfig) -> NetworkState:
        """Make a network, or complete it. Conflict: it exists otherwise, or its subnet is taken."""
        records.check_name("create network", config.name)
        existing = self._book.networks.get(config.name)
        if existing is not None:
            return self._complete(_relabelled(existing, config), existing)
        with range_lock.alone(self.layout.run_root):
            return self._complete(self._plan_network(config), None)

    def _complete(self, record: NetworkRecord, existing: NetworkRecord | None) -> NetworkState:
        config = record.config
        if record != existing:
            records.write(
                self._instance.network_path(config.name), records.network_json(record), lasting=True
            )
        try:
            with translated("create network", config.name):
                self._instance.make_bridge(record)
                self._book.put_network(record)
                if existing is None:
                    self._table.change(added=self._book.network_elements(record))
                self._table.flush()
        except SetpointError:
            if existing is None:
                self._forget_network(record)
            raise
        return states.of_network(record)

    def _plan_network(self, config: NetworkConfig) -> NetworkRecord:
        bridge = config.bridge or self.layout.link_name("br", config.name)
        if config.bridge:
            check_link_name(config.bridge)
        taken = self._taken(bridge)
        if config.subnet:
            wanted = addresses.parse_network("create network", config.name, config.subnet)
            addresses.check_overlap(config.name, wanted, taken)
        elif config.gateway:
            raise Invalid("create network", config.name, "a gateway without a subnet", "name the subnet too")
        else:
            wanted = addresses.choose_subnet(config.name, (network for network, _ in taken), self._pools)
        subnet = addresses.subnet_of(config.name, str(wanted), config.gateway)
        addresses.check_parts(config.name, subnet, config.ip_range, config.aux_addresses.values())
        subnet6 = self._plan_ipv6(config.name, config.ipv6, bridge) if config.ipv6 is not None else None
        record = NetworkRecord(config, subnet, bridge, time.time(), subnet6)
        bridges.check_free(self.layout, record, bridges.find(self._instance.netlink, bridge))
        return record

    def _plan_ipv6(self, name: str, config: Ipv6Config, bridge: str) -> addresses.Subnet:
        if not sandboxes.HAS_IPV6:
            raise no_ipv6(name)
        taken = self._taken6(bridge)
        if config.subnet:
            addresses.subnet_of(name, config.subnet, "", addresses.BITS6)  # before whose it is: fe80::/64
            wanted = addresses.parse_network6("create network", name, config.subnet)
            addresses.check_overlap(name, wanted, taken)
        elif config.gateway or config.ip_range or config.aux_addresses:
            raise Invalid("create network", name, "an IPv6 gateway or range without a subnet", "name it too")
        else:
            whole = ula.range_of(self.layout.instance, ula.machine_seed())
            wanted = ula.choose_subnet(name, whole, (network for network, _ in taken))
        subnet = addresses.subnet_of(name, str(wanted), config.gateway, addresses.BITS6)
        addresses.check_parts(name, subnet, config.ip_range, config.aux_addresses.values())
        return subnet

    def _taken(self, bridge: str) -> Sequence[tuple[IPv4Network, str]]:
        """Ranges that a new network must not overlap, with whose they are."""
        subnets = ((record.subnet, record.name) for record in self._book.networks.values())
        found = [(IPv4Network((each.first, each.prefix)), f"network {name}") for each, name in subnets]
        return found + [
            (IPv4Network((text, prefix), strict=False), whose)
            for text, prefix, whose in self._taken_by_host(bridge, socket.AF_INET)
        ]

    def _taken6(self, bridge: str) -> Sequence[tuple[IPv6Network, str]]:
        subnets = ((record.subnet6, record.name) for record in self._book.networks.values())
        found = [
            (IPv6Network((each.first, each.prefix)), f"network {name}") for each, name in subnets if each
        ]
        return found + [
            (IPv6Network((text, prefix), strict=False), whose)
            for text, prefix, whose in self._taken_by_host(bridge, socket.AF_INET6)
        ]

    def _taken_by_host(self, bridge: str, family: int) -> Iterator[tuple[str, int, str]]:
        netlink = self._instance.netlink
        own = bridges.find(netlink, bridge)
        skipped = own.index if own else 0
        for route in map(links.read_route, netlink.dump(links.get_routes(family))):
            if route.prefix and route.destination and route.index != skipped:
                yield route.destination, route.prefix, "a route of this host"
        for address in map(links.read_address, netlink.dump(links.get_addresses(family))):
            if address.index != skipped:
                yield address.address, address.prefix, "an address of this host"

    async def delete(self, name: str) -> None:
        """Remove a network; nothing when it is gone. Conflict while a sandbox is on it."""
        await self._going.wait_gone()
        record = self._book.networks.get(name)
        if record is None:
            return
        holders = self._book.sandboxes_on(name)
        if holders:
            shown = ", ".join(holder.names[0] if holder.names else holder.id for holder in holders[:3])
            raise Conflict("delete network", name, f"in use by {shown}", "remove those containers first")
        self._forget_network(record)
        with translated("delete network", name), contextlib.suppress(Conflict):
            # Another's link may have the name by now: then there is nothing of ours to delete.
            bridges.check_free(self.layout, record, bridges.find(self._instance.netlink, record.bridge))
            await self._instance.reaper.delete(links.delete_link(record.bridge))

    def _forget_network(self, record: NetworkRecord) -> None:
        if record.name in self._book.networks:
            self._book.drop_network(record.name)
        self._instance.bridge_indexes.pop(record.name, None)
        with contextlib.suppress(FirewallError):
            self._table.change(removed=self._book.network_elements(record) & self._table.wanted)
            self._table.flush()
        self._instance.network_path(record.name).unlink(missing_ok=True)

    def list(self) -> tuple[NetworkState, ...]:
        return tuple(states.of_network(record) for record in self._book.networks.values())

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
        has_ids: bool = False,
        on_bound: Callable[[], None] = lambda: None,
    ) -> SandboxState:
        """The sandbox as the config says: made, changed in place, or found to be so already.

        mode "join": the state of the one that is named. sysctls: only net.*. When it returns, addresses,
        ports and its own hosts file are there; its peers' follow at once, in a burst of calls within 50 ms.
        has_ids: it belongs to a user namespace with a range of ids of its own (Temporary when all are taken).
        on_bound: called when the namespace of a new one and a file for its hosts are there, and its addresses
        are known. No packet comes or goes yet, and it may still fail: nobody's program is to run in it.
        """
        if config.mode == "host":
            raise Invalid("make sandbox", config.id, "a container in the host's network has no sandbox")
        if config.mode == "join":
            return self._joined(config.id)
        for name in sysctls or ():
            namespaces.check_sysctl(config.id, name)
        while config.id in self._going:
            await self._going.wait_gone()
        ids = self.claim_ids(config.id) if has_ids else 0
        request = SandboxRequest(
            config, hostname, names, labels or {}, extra_hosts, sysctls or {}, ids, on_bound
        )
        return states.of_sandbox(await self._ensure(request))

    async def _ensure(self, request: SandboxRequest) -> SandboxRecord:
        """An address is free again once the links of who had it are gone."""
        is_any_going = self._going.is_any
        try:
            record: SandboxRecord = await self._enqueue(request)
        except Conflict:
            if not is_any_going:
                raise
            await self._going.wait_gone()
            record = await self._enqueue(request)
        return record

    def _joined(self, id: str) -> SandboxState:
        record = self._book.sandboxes.get(id)
        if record is None or id in self._going:
            raise NotFound(
                "join sandbox", id, "there is no such sandbox", "start the container that owns it first"
            )
        return states.of_sandbox(record)

    async def delete_sandbox(self, id: str) -> None:
        """Remove a sandbox with its ports and names; nothing when it is gone. Its links go right afterwards
        (see `going`)."""
        if id not in self._book.sandboxes:
            return
        if id not in self._going:
            self._going.begin(id, self._enqueue(id))
        await self._going.wait_down(id)

    async def release_ports(self, id: str) -> None:
        """Take a sandbox's published ports back, so that another may have them. The sandbox stays."""
        record = self._book.sandboxes.get(id)
        if record is not None and record.ports and id not in self._going:
            await self._enqueue(dataclasses.replace(record, ports=()))

    def routers_changed(self, id: str) -> None:
        """Guard a sandbox's interfaces, or let them go, as who is in it asks for now."""
        record = self._book.sandboxes.get(id)
        if record is None or id in self._going:
            return
        had = self._book.possible_elements(record) & self._table.wanted
        wanted = self._book.sandbox_elements(record)
        with translated("guard sandbox", id):
            self._table.change(removed=had - wanted, added=wanted - had)
            self._table.flush()

    def list_sandboxes(self) -> tuple[SandboxState, ...]:
        records_there = self._book.sandboxes.values()
        return tuple(states.of_sandbox(each) for each in records_there if not self._going.is_down(each.id))

    def check_ports(self, config: SandboxConfig, name: str) -> None:
        """Conflict when a process of the host or another instance has a port that a sandbox is to publish:
        for who is about to stop what it would replace. name: of the container, for the error."""
        if config.mode != "join" and config.ports:
            self._instance.reservations.check(name, self._book.bound_config(config))

    def ports(self, id: str) -> tuple[PortConfig, ...]:
        """What a sandbox has published, with the host ports that were chosen for it."""
        record = self._book.sandboxes.get(id)
        return record.ports if record else ()

    def ids_of(self, id: str) -> int:
        """The first id of the user namespace that a sandbox belongs to; 0: it is the host's."""
        record = self._book.sandboxes.get(id)
        return record.ids if record else 0

    def claim_ids(self, holder: str) -> int:
        """The first id of the range of a sandbox, or of a container in the host's network."""
        return self._instance.ranges.claim(holder)

    def give_back_ids(self, holder: str) -> None:
        """Those of a container in the host's network; nothing for any other."""
        self._instance.ranges.release(holder)

    def netns_path(self, id: str) -> str:
        return self._instance.netns_path(id)

    def hosts_path(self, id: str) -> str:
        """The hosts file of a sandbox, to be bind-mounted: it is rewritten in place."""
        return self._hosts.path(id)

    def resolv_content(
        self, id: str, *, servers: Sequence[str] = (), search: Sequence[str] = (), options: Sequence[str] = ()
    ) -> str:
        """A container's resolv.conf. id "": it runs in the host's network."""
        record = self._book.sandboxes.get(id)
        return naming.resolv_conf(
            naming.read_host_resolv_conf(), servers=servers, search=search, options=options,
            has_way_out=record is not None and self._book.has_way_out(record), own_network=bool(id),
        )  # fmt: skip

    def socket_in(self, id: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket in a sandbox's network, for probes. The thread is back when this returns."""
        instance = self._instance
        with instance.opened(id) as netns, translated("open socket in", id), instance.home.inside(netns):
            return socket.socket(family, kind, protocol)

    def counters(self, id: str) -> Counters:
        """(rx_bytes, tx_bytes, rx_packets, tx_packets) as the container sees them, over its interfaces."""
        record = self._book.sandboxes.get(id)
        total: Counters = (0, 0, 0, 0)
        for endpoint in record.endpoints if record else ():
            with contextlib.suppress(OSError):
                answer = self._instance.netlink.get(links.get_link(endpoint.link, statistics=True))
                total = _sum(total, links.read_statistics(answer))
        return total

    def interfaces(self, id: str) -> dict[str, InterfaceStats]:
        """All that is counted of each interface, by its name in the container."""
        record = self._book.sandboxes.get(id)
        found: dict[str, InterfaceStats] = {}
        for endpoint in record.endpoints if record else ():
            with contextlib.suppress(OSError):
                answer = self._instance.netlink.get(links.get_link(endpoint.link, statistics=True))
                found[endpoint.interface] = links.read_peer_statistics(answer)
        return found

    def all_counters(self) -> dict[str, Counters]:
        """`counters` of every sandbox, from one dump of the kernel."""
        totals: dict[str, Counters] = dict.fromkeys(self._book.sandboxes, (0, 0, 0, 0))
        for answer in self._instance.netlink.dump(links.get_links(statistics=True)):
            found = links.read_statistics(answer)
            owner = self._book.owner_of_link(found[0])
            if owner in totals:
                totals[owner] = _sum(totals[owner], found)
        return totals

    # --- drift ---

    def find_drift(self, only: Collection[str] | None = None) -> tuple[Drift, ...]:
        """All that is not in the kernel as it was made. Changes nothing. only: see `drift.find`."""
        with translated("find drift in", "networks"):
            return drift.find(self._instance, only)

    def with_wrong_files(self, touched: Collection[str]) -> set[str]:
        """Of names of networks and ids of sandboxes whose files were touched, those that a look may find
        something in. Our own writes touch them too: two reads a sandbox here save a look at all that it has,
        with a hundred system calls."""
        book, blocks = self._book, dict[str, str]()
        boxes = [book.sandboxes[id] for id in touched if id in book.sandboxes]
        wrong = {record.id for record in boxes if drift.has_wrong_files(self._instance, record, blocks)}
        return wrong | (book.networks.keys() & touched)

    def lost_namespaces(self) -> Sequence[str]:
        """The sandboxes whose network namespace is not bound any more."""
        return drift.lost_namespaces(self._instance)

    def restore_hosts(self, id: str) -> None:
        """Write a sandbox's hosts file again; nothing for a sandbox that is none."""
        drift.restore_hosts(self._instance, id)

    def repair(self, found: Drift) -> None:
        """Put one finding back in place. NotFound when its subject is gone meanwhile."""
        with translated(f"repair {found.kind} of", found.subject):
            drift.repair(self._instance, found)

    def monitor(self) -> Monitor:
        """What tells, while it is read, which network or sandbox to look at. The caller closes it."""
        ports = {self._instance.netlink.port(), self._instance.reaper.port()}
        return Monitor(
            self._book, self.layout.nft_table, ports, self._instance.deleting, self._instance.namespace_ids
        )

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
                self._going.doom(job.id)
            elif failure is not None:
                self._refuse(job, failure)
                continue
            if not job.answer.done():
                job.answer.set_result(record)
        if self._queue:
            self._schedule()

    def _flush(self) -> Exception | None:
        try:
            with translated("make sandboxes of", self.layout.instance):
                self._table.flush()
                self._hosts.write_marked()
                self._plan_peers()
        except Exception as error:
            return error
        return None

    def _plan_peers(self) -> None:
        """Have the hosts files of peers written: right after the answers, so that a start goes on meanwhile;
        in a burst only every so often, for each round writes the file of every sandbox on a network."""
        if self._hosts_due is None and self._hosts.has_due_networks():
            wait = max(0.0, self._hosts_written_at + _PEERS_SECONDS - time.monotonic())
            self._hosts_due = asyncio.get_running_loop().call_later(wait, self._write_peers)

    def tell_names(self) -> None:
        """Write now what would wait for others: for who is told that it is done, and asks by name next."""
        if self._hosts_due is not None:
            self._hosts_due.cancel()
            self._write_peers()

    def _write_peers(self) -> None:
        self._hosts_due = None
        self._hosts_written_at = time.monotonic()
        # A file that cannot be written is drift, and is found and told as such.
        with contextlib.suppress(OSError):
            self._hosts.write_networks()

    def _refuse(self, job: _Job, error: Exception) -> None:
        if not job.answer.done():
            job.answer.set_exception(error)
        if isinstance(job.work, str):
            self._going.stays(job.id)

    def _do(self, work: SandboxRequest | SandboxRecord | str) -> SandboxRecord | None:
        if isinstance(work, str):
            building.take_down(self._instance, work)
            return None
        if isinstance(work, SandboxRecord):
            old = self._book.sandboxes.get(work.id)
            return building.change(self._instance, old, work) if old is not None else None
        return building.ensure(self._instance, work)


def _relabelled(record: NetworkRecord, config: NetworkConfig) -> NetworkRecord:
    """An existing network with new labels. Conflict when anything else is to be otherwise."""
    had = record.config
    is_same = (
        config.subnet in ("", had.subnet, str(record.subnet))
        and config.gateway in ("", addresses.text_of(record.subnet.gateway))
        and (config.internal, config.isolated, config.mtu) == (had.internal, had.isolated, had.mtu)
        and (config.ip_range, dict(config.aux_addresses)) == (had.ip_range, dict(had.aux_addresses))
        and (config.bridge, config.routed) == (had.bridge, had.routed)
        and _is_same_ipv6(record, config.ipv6)
    )
    if not is_same:
        raise Conflict(
            "create network", config.name, "it exists with another configuration",
            "delete it first, when no container is on it",
        )  # fmt: skip
    return dataclasses.replace(record, config=dataclasses.replace(had, labels=dict(config.labels)))


def _is_same_ipv6(record: NetworkRecord, wanted: Ipv6Config | None) -> bool:
    had, subnet = record.config.ipv6, record.subnet6
    if wanted is None or had is None or subnet is None:
        return wanted is had
    return (
        wanted.subnet in ("", had.subnet, str(subnet))
        and wanted.gateway in ("", addresses.text_of(subnet.gateway))
        and (wanted.ip_range, dict(wanted.aux_addresses)) == (had.ip_range, dict(had.aux_addresses))
    )


def _sum(total: Counters, found: tuple[str, int, int, int, int]) -> Counters:
    """The host's end receives what the container sends."""
    _name, rx_packets, tx_packets, rx_bytes, tx_bytes = found
    return total[0] + tx_bytes, total[1] + rx_bytes, total[2] + tx_packets, total[3] + rx_packets
