"""What an instance has of networks and sandboxes, and what a new one may have. No kernel, no disk.

`networks` keeps one: it plans a record here, makes it real, and then enters it. Whose address and whose
port something is follows from the records alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from runtime.errors import Conflict, Invalid, NotFound, Temporary
from runtime.layout import Layout
from runtime.model import EndpointConfig, Ipv6Config, NetworkConfig, PortConfig, SandboxConfig
from runtime.network import addresses, names, ports
from runtime.network.firewall import Element, NetworkRule, element_of, elements_of, guarding, guarding6
from runtime.network.records import Endpoint, NetworkRecord, SandboxRecord, check_name
from runtime.network.sandboxes import default6_of, default_of


@dataclass(frozen=True, slots=True)
class SandboxRequest:
    """What the engine asks for: the config and what the container's own config says of names. on_bound: as
    `Networks.ensure_sandbox` has it."""

    config: SandboxConfig
    hostname: str = ""
    names: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    extra_hosts: tuple[tuple[str, str], ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    ids: int = 0
    on_bound: Callable[[], None] = lambda: None


class Book:
    """The records of one instance, and who holds which address and which port. has_ipv6: the kernel's
    loopback has ::1. is_router: whether somebody in a sandbox may change its interfaces."""

    def __init__(
        self,
        layout: Layout,
        choose_port: Callable[[str, PortConfig], int],
        *,
        has_ipv6: bool = True,
        is_router: Callable[[str], bool] = lambda _sandbox: False,
    ) -> None:
        self.networks: dict[str, NetworkRecord] = {}
        self.sandboxes: dict[str, SandboxRecord] = {}
        self._layout = layout
        self._choose_port = choose_port
        self._has_ipv6 = has_ipv6
        self._is_router = is_router
        self._links: dict[str, str] = {}  # link -> network (a bridge) or sandbox
        self._lines: dict[str, dict[int, str]] = {}  # network -> address -> line of the hosts files
        self._used: dict[str, dict[int, str]] = {}  # network -> address -> sandbox
        self._last: dict[str, int] = {}  # network -> the address given out last
        self._used6: dict[str, dict[int, str]] = {}
        self._last6: dict[str, int] = {}
        self._claims: dict[tuple[str, int], dict[str, str]] = {}  # (protocol, port) -> host ip -> sandbox

    # --- records ---

    def put_network(self, record: NetworkRecord) -> None:
        self.networks[record.name] = record
        self._links[record.bridge] = record.name
        self._used.setdefault(record.name, {})
        self._used6.setdefault(record.name, {})

    def drop_network(self, name: str) -> None:
        self._links.pop(self.networks.pop(name).bridge, None)
        for held in (self._used, self._lines, self._last, self._used6, self._last6):
            held.pop(name, None)

    def has_ipv6_network(self) -> bool:
        return any(record.subnet6 is not None for record in list(self.networks.values()))

    def put(self, record: SandboxRecord) -> None:
        """Enter a sandbox, in place of what was entered under its id."""
        self.drop(record.id)
        self.sandboxes[record.id] = record
        for endpoint in record.endpoints:
            self._used.setdefault(endpoint.network, {})[endpoint.ipv4] = record.id
            self._last[endpoint.network] = endpoint.ipv4
            if endpoint.ipv6:
                self._used6.setdefault(endpoint.network, {})[endpoint.ipv6] = record.id
                self._last6[endpoint.network] = endpoint.ipv6
            self._links[endpoint.link] = record.id
            line = _host_lines(endpoint, (*record.names, *endpoint.aliases))
            self._lines.setdefault(endpoint.network, {})[endpoint.ipv4] = line
        for port in self.bound(record):
            claims = self._claims.setdefault((port.protocol, port.host_port), {})
            claims[_any_ip(port.host_ip)] = record.id

    def drop(self, id: str) -> None:
        record = self.sandboxes.pop(id, None)
        if record is None:
            return
        for endpoint in record.endpoints:
            self._links.pop(endpoint.link, None)
            self._lines.get(endpoint.network, {}).pop(endpoint.ipv4, None)
            for held, address in ((self._used, endpoint.ipv4), (self._used6, endpoint.ipv6)):
                used = held.get(endpoint.network, {})
                if used.get(address) == id:
                    del used[address]
        for port in self.bound(record):
            claims = self._claims.get((port.protocol, port.host_port), {})
            if claims.get(_any_ip(port.host_ip)) == id:
                del claims[_any_ip(port.host_ip)]
            if not claims:
                self._claims.pop((port.protocol, port.host_port), None)

    def owner_of_link(self, link: str) -> str | None:
        """The network whose bridge, or the sandbox whose interface it is; None when it is not ours."""
        return self._links.get(link)

    def sandboxes_on(self, network: str) -> list[SandboxRecord]:
        """Sandboxes with an endpoint on a network, by address."""
        used = self._used.get(network, {})
        return [self.sandboxes[used[address]] for address in sorted(used)]

    # --- what a sandbox gets ---

    def plan(self, request: SandboxRequest) -> SandboxRecord:
        """The record a sandbox is to have. What it has already, it keeps where the config allows.

        Invalid, NotFound (a network) or Conflict (an address, a port, no address left). Enters nothing.
        """
        config = request.config
        check_name("make sandbox", config.id)
        old = self.sandboxes.get(config.id)
        record = SandboxRecord(
            id=config.id,
            hostname=request.hostname,
            names=tuple(request.names),
            labels=dict(request.labels),
            endpoints=self._plan_endpoints(config, old.endpoints if old else ()),
            ports=(),
            extra_hosts=tuple((name, address) for name, address in request.extra_hosts),
            links=config.links,
            sysctls=dict(request.sysctls),
            inode=old.inode if old else 0,
            boot=old.boot if old else "",
            ids=request.ids,
        )
        names.extra_lines(record.extra_hosts, self.gateway_of(record))  # refuses what is no host or address
        return dataclasses.replace(
            record, ports=self._plan_ports(record, config.ports, old.ports if old else ())
        )

    def _plan_endpoints(self, config: SandboxConfig, old: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
        had = {endpoint.network: endpoint for endpoint in old}
        wanted = {endpoint.network: endpoint for endpoint in config.endpoints}
        if len(wanted) != len(config.endpoints):
            raise Invalid("make sandbox", config.id, "a network is named twice")
        kept = {had[name].interface for name in wanted if name in had}
        free = iter(f"eth{n}" for n in range(len(wanted) + len(kept)) if f"eth{n}" not in kept)
        planned = []
        for name, endpoint in wanted.items():
            before = had.get(name)
            if before is not None and self._is_kept(before, endpoint):
                planned.append(dataclasses.replace(before, aliases=tuple(endpoint.aliases)))
                continue
            interface = before.interface if before is not None else next(free)
            planned.append(self._new_endpoint(config.id, endpoint, interface))
        return tuple(planned)

    def _is_kept(self, before: Endpoint, wanted: EndpointConfig) -> bool:
        """Whether an endpoint has the addresses already that are asked for."""
        network = self.networks.get(before.network)
        return (
            wanted.ipv4 in (None, addresses.text_of(before.ipv4))
            and wanted.ipv6 in (None, addresses.text_of(before.ipv6))
            and network is not None
            and (network.subnet6 is not None) == bool(before.ipv6)
        )

    def _new_endpoint(self, sandbox: str, endpoint: EndpointConfig, interface: str) -> Endpoint:
        network = self.networks.get(endpoint.network)
        if network is None:
            raise NotFound("make sandbox", sandbox, f"there is no network {endpoint.network!r}")
        if endpoint.ipv6 and network.subnet6 is None:
            raise Invalid(
                "make sandbox", sandbox, f"network {endpoint.network} has no IPv6",
                "enable_ipv6: true on it, or no ipv6_address",
            )  # fmt: skip
        config, six = network.config, network.config.ipv6
        used, last = self._used[network.name], self._last.get(network.name, 0)
        address = _address(network.name, network.subnet, config, used, last, endpoint.ipv4)
        address6 = 0
        if network.subnet6 is not None and six is not None:
            used, last = self._used6[network.name], self._last6.get(network.name, 0)
            address6 = _address(network.name, network.subnet6, six, used, last, endpoint.ipv6)
        return Endpoint(
            network=endpoint.network,
            interface=interface,
            link=self._layout.link_name("ve", sandbox, endpoint.network),
            ipv4=address,
            mac=addresses.check_mac(sandbox, endpoint.mac) if endpoint.mac else addresses.mac_of(address),
            aliases=tuple(endpoint.aliases),
            ipv6=address6,
        )

    def _plan_ports(
        self, record: SandboxRecord, wanted: Iterable[PortConfig], old: Collection[PortConfig]
    ) -> tuple[PortConfig, ...]:
        planned: dict[tuple[str, int, str], PortConfig] = {}
        for asked in wanted:
            ports.check(record.id, asked)
            port = asked if _is_fixed(asked) else self._chosen(record, asked, old, planned)
            key = (port.protocol, port.host_port, _any_ip(port.host_ip))
            if planned.get(key, port).container_port != port.container_port:
                raise Invalid("publish port", record.id, f"{ports.describe(port)} is named twice")
            for each in self._spread(record, (port,)):
                self._check_claim(record.id, record.names[0] if record.names else record.id, each)
            planned[key] = port
        if planned and default_of(record.endpoints, self.networks) is None:
            raise Invalid(
                "publish port", record.id, "none of its networks has a way out to publish on",
                "add a network that is not internal, or remove ports",
            )  # fmt: skip
        lost = [port for port in planned.values() if ":" in port.host_ip]
        if lost and default6_of(record.endpoints, self.networks) is None:
            raise Invalid(
                "publish port", record.id,
                f"{ports.describe(lost[0])}: none of its networks has IPv6 and a way out",
                "enable_ipv6: true on one that is not internal, or an IPv4 address of the host",
            )  # fmt: skip
        return tuple(planned.values())

    def _chosen(
        self, record: SandboxRecord, asked: PortConfig, old: Iterable[PortConfig],
        planned: Mapping[tuple[str, int, str], PortConfig],
    ) -> PortConfig:  # fmt: skip
        """The port that was chosen for the same words the last time, else a free one."""
        for port in old:
            is_same = dataclasses.replace(port, host_port=asked.host_port) == asked
            if is_same and port not in planned.values():
                return port
        taken = {number for protocol, number, _ in planned if protocol == asked.protocol}
        number = (
            self._free_port(record, asked) if asked.among is None else self._free_among(record, asked, taken)
        )
        return dataclasses.replace(asked, host_port=number)

    def _free_among(self, record: SandboxRecord, port: PortConfig, taken: Collection[int]) -> int:
        """The first that is free of the ports that it may have; the preferred one before all others."""
        first, last = port.among or (0, 0)
        for number in (port.host_port, *range(first, last + 1)):
            if number in taken or (port.protocol, number) in self._claims:
                continue
            with contextlib.suppress(Conflict):
                return self._choose(record, dataclasses.replace(port, host_port=number))
        raise Conflict(
            "publish port", record.id, f"none of the ports {first}-{last}/{port.protocol} is free",
            "publish a wider range, or stop what has them",
        )  # fmt: skip

    def _free_port(self, record: SandboxRecord, port: PortConfig) -> int:
        for _ in range(64):
            with contextlib.suppress(Conflict):  # free in one family, and in use in the other
                chosen = self._choose(record, port)
                if (port.protocol, chosen) not in self._claims:
                    return chosen
        raise Temporary("publish port", record.id, f"no free {port.protocol} port was found on the host")

    def _choose(self, record: SandboxRecord, port: PortConfig) -> int:
        """A port that is free in each family that it is published in."""
        number = port.host_port
        for each in self._spread(record, (port,)):
            number = self._choose_port(record.id, dataclasses.replace(each, host_port=number))
        return number

    def _check_claim(self, sandbox: str, name: str, port: PortConfig) -> None:
        for host_ip, holder in self._claims.get((port.protocol, port.host_port), {}).items():
            if holder != sandbox and _is_met(host_ip, _any_ip(port.host_ip)):
                shown = self.sandboxes[holder].names[:1] or (holder,)
                raise Conflict(
                    "publish port", name, f"{ports.describe(port)} is published by {shown[0]}",
                    "publish another host port, or stop that container",
                )  # fmt: skip

    # --- what follows from the records ---

    def gateway_of(self, record: SandboxRecord) -> str:
        """The host's address as a sandbox reaches it, "" when it has no network."""
        chosen = default_of(record.endpoints, self.networks) or next(iter(record.endpoints), None)
        return addresses.text_of(self.networks[chosen.network].subnet.gateway) if chosen else ""

    def has_way_out(self, record: SandboxRecord) -> bool:
        return default_of(record.endpoints, self.networks) is not None

    def bound(self, record: SandboxRecord) -> tuple[PortConfig, ...]:
        """Its published ports by family: what is published on every address is two, where it has IPv6."""
        return self._spread(record, record.ports)

    def _spread(self, record: SandboxRecord, wanted: Iterable[PortConfig]) -> tuple[PortConfig, ...]:
        has_ipv6 = self._target6(record) is not None
        return tuple(each for port in wanted for each in ports.by_family(port, has_ipv6))

    def bound_config(self, config: SandboxConfig) -> tuple[PortConfig, ...]:
        """The same of a sandbox that is to be made."""
        found = (self.networks.get(each.network) for each in config.endpoints)
        has_ipv6 = any(each and each.subnet6 and not each.config.internal for each in found)
        return tuple(each for port in config.ports for each in ports.by_family(port, has_ipv6))

    def _target6(self, record: SandboxRecord) -> Endpoint | None:
        if not any(each.ipv6 for each in record.endpoints):
            return None
        return default6_of(record.endpoints, self.networks)

    def port_elements(self, record: SandboxRecord) -> set[Element]:
        """The firewall's elements of a sandbox: one a published port and family."""
        if not record.ports:
            return set()
        target, target6 = default_of(record.endpoints, self.networks), self._target6(record)
        found = set()
        for port in self.bound(record):
            if ":" in port.host_ip and target6 is not None:
                found.add(element_of(ports.published(port, addresses.text_of(target6.ipv6))))
            elif ":" not in port.host_ip and target is not None:
                found.add(element_of(ports.published(port, addresses.text_of(target.ipv4))))
        return found

    def guard_elements(self, record: SandboxRecord) -> set[Element]:
        """Those that hold a sandbox's interfaces to their own frames; none for a router's. A shared sandbox
        is a router's if one who shares it is: they have the same interfaces."""
        return set() if self._is_router(record.id) else _guards(record)

    def sandbox_elements(self, record: SandboxRecord) -> set[Element]:
        """All that a sandbox is to have."""
        return self.port_elements(record) | self.guard_elements(record)

    def possible_elements(self, record: SandboxRecord) -> set[Element]:
        """All that it may have now: it was a router's, or is one's since."""
        return self.port_elements(record) | _guards(record)

    def network_elements(self, record: NetworkRecord) -> set[Element]:
        six = str(record.subnet6) if record.subnet6 is not None else ""
        config = record.config
        rule = NetworkRule(
            record.bridge, str(record.subnet), config.internal, config.isolated, six, config.routed
        )
        return set(elements_of(rule))

    def elements(self) -> set[Element]:
        """All elements of the instance's tables."""
        found: set[Element] = set()
        for network in list(self.networks.values()):
            found |= self.network_elements(network)
        for record in list(self.sandboxes.values()):
            found |= self.sandbox_elements(record)
        return found

    def peer_lines(self, network: str) -> str:
        """The lines of a network in the hosts files of all that are on it."""
        return "".join(line for _address, line in sorted(self._lines.get(network, {}).items()))

    def _link_lines(self, record: SandboxRecord) -> str:
        """What others on its networks are called in a sandbox, and only there. None for who is not there."""
        lines = []
        for name, alias in record.links:
            for endpoint in record.endpoints:
                for other in self.sandboxes_on(endpoint.network):
                    if name in _names_on(other, endpoint.network) and other.id != record.id:
                        there = next(each for each in other.endpoints if each.network == endpoint.network)
                        lines.append(_host_lines(there, [alias]))
        return "".join(lines)

    def hosts_text(self, record: SandboxRecord, blocks: Mapping[str, str]) -> str:
        """A sandbox's hosts file. blocks: `peer_lines` of its networks."""
        own = (record.hostname, record.hostname.partition(".")[0], *record.names)
        if record.endpoints:
            head = "".join(_host_lines(each, own) for each in record.endpoints)
        else:
            head = names.host_line("127.0.1.1", own)
        extra = names.extra_lines(record.extra_hosts, self.gateway_of(record))
        extra += self._link_lines(record)
        peers = [blocks[each.network] for each in record.endpoints]
        return names.hosts_file(head, peers, extra, has_ipv6=self._has_ipv6)


def _names_on(record: SandboxRecord, network: str) -> set[str]:
    """By which names others on a network find a sandbox."""
    return {
        *record.names,
        *(alias for each in record.endpoints if each.network == network for alias in each.aliases),
    }


def _address(
    name: str, subnet: addresses.Subnet, config: NetworkConfig | Ipv6Config, used: Collection[int],
    last: int, wanted: str | None,
) -> int:  # fmt: skip
    """The one that is asked for, or the next free one."""
    if config.aux_addresses:
        used = {*used, *addresses.numbers_of(tuple(config.aux_addresses.values()))}
    if wanted:
        return addresses.check_static(name, subnet, used, wanted)
    within = addresses.part_of(config.ip_range) if config.ip_range else None
    return addresses.choose_address(name, subnet, used, last, within)


def _host_lines(endpoint: Endpoint, called: Collection[str]) -> str:
    lines = names.host_line(addresses.text_of(endpoint.ipv4), called)
    return lines + names.host_line(addresses.text_of(endpoint.ipv6), called) if endpoint.ipv6 else lines


def _guards(record: SandboxRecord) -> set[Element]:
    found: set[Element] = set()
    for each in record.endpoints:
        found.update(guarding(each.link, each.mac, addresses.text_of(each.ipv4)))
        if each.ipv6:
            found.update(guarding6(each.link, each.mac, (each.ipv6, addresses.link_local_of(each.mac))))
    return found


def _any_ip(host_ip: str) -> str:
    return "" if host_ip == "0.0.0.0" else host_ip


def _is_met(one: str, other: str) -> bool:
    """Whether two addresses of the host to publish on meet: "" is each of IPv4, "::" each of IPv6."""
    if (":" in one) != (":" in other):
        return False
    return one == other or bool({one, other} & {"", "::"})


def _is_fixed(port: PortConfig) -> bool:
    """Whether it can be no other host port than the one that is named."""
    return port.host_port != 0 and port.among is None
