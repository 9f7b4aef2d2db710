"""Checks over several objects: names that must be unique or must exist, cycles, ports, addresses. Pure.

Per project where the project is enough (so that an unchanged project is not looked at again), over
all for what the host has only once. An error freezes every file that takes part: which of two is the
right one is not known, and not knowing is never not wanting.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from agent.manifest.compose import Found
from agent.manifest.hashing import hashes
from agent.manifest.objects import ManifestError, Object, Where
from agent.manifest.one_file import FileResult
from agent.manifest.parse_values import did_you_mean
from agent.manifest.reading import Claim, Reference
from agent.manifest.spec import ContainerSpec, NetworkSpec
from store.records import Key

DEFAULT_NETWORK = "default"
_IMPLICIT = NetworkSpec()
_IMPLICIT_HASHES = hashes(_IMPLICIT)
NOUNS = {"container": "service", "network": "network", "volume": "volume"}


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claim, and whose it is."""

    claim: Claim
    key: Key
    file: str

    @property
    def where(self) -> Where:
        return Where(self.file, self.claim.line, self.claim.column)


@dataclass(frozen=True, slots=True)
class ProjectResult:
    """What the files of one project say together."""

    project: str
    files: tuple[FileResult, ...]
    objects: dict[Key, Object]
    paths: frozenset[str]
    errors: tuple[ManifestError, ...] = ()
    warnings: tuple[ManifestError, ...] = ()
    frozen: frozenset[str] = frozenset()
    claims: tuple[Claimed, ...] = ()

    def objects_outside(self, frozen: Collection[str]) -> dict[Key, Object]:
        """Those of files that are not frozen, and the default network if one of them uses it."""
        if self.paths.isdisjoint(frozen):
            return self.objects
        kept = [file for file in self.files if file.path not in frozen]
        return _objects(self.project, kept, self.files)


@dataclass(slots=True)
class _Findings:
    errors: list[ManifestError] = field(default_factory=list)
    warnings: list[ManifestError] = field(default_factory=list)
    frozen: set[str] = field(default_factory=set)

    def error(self, where: Where, message: str, hint: str = "", also: Iterable[str] = ()) -> None:
        self.errors.append(ManifestError(where, message, hint))
        self.frozen.update((where.file, *also))


@dataclass(frozen=True, slots=True)
class Overall:
    errors: tuple[ManifestError, ...] = ()
    frozen: frozenset[str] = frozenset()


# --- one project ------------------------------------------------------------------------------


def check_project(project: str, files: tuple[FileResult, ...]) -> ProjectResult:
    findings = _Findings()
    mine = [(file, found) for file in files for found in file.found if found.object.key.project == project]
    _check_duplicates(project, files, findings)
    _check_references(project, files, mine, findings)
    _check_cycles(mine, findings)
    objects = _objects(project, files, files)
    _check_addresses(mine, objects, findings)
    claims = tuple(
        Claimed(claim, found.object.key, file.path)
        for file, found in mine
        if found.claims and found.object.spec.ensure != "absent"
        for claim in found.claims
        if claim.kind != "address"
    )
    return ProjectResult(
        project,
        files,
        objects,
        frozenset(file.path for file in files),
        tuple(findings.errors),
        tuple(findings.warnings),
        frozenset(findings.frozen),
        claims,
    )


def _objects(project: str, files: Iterable[FileResult], all_files: Iterable[FileResult]) -> dict[Key, Object]:
    objects = {found.object.key: found.object for file in files for found in file.found}
    objects = {key: value for key, value in objects.items() if key.project == project}
    default = Key(project, "network", DEFAULT_NETWORK)
    if any(default in file.declared for file in all_files):
        return objects
    for value in objects.values():
        if isinstance(value.spec, ContainerSpec) and uses_default_network(value.spec):
            objects[default] = Object(default, _IMPLICIT, value.where, *_IMPLICIT_HASHES)
            break
    return objects


def uses_default_network(spec: ContainerSpec) -> bool:
    if spec.ensure == "absent" or spec.network_mode:
        return False
    return not spec.networks or DEFAULT_NETWORK in spec.networks


def _check_duplicates(project: str, files: Iterable[FileResult], findings: _Findings) -> None:
    first: dict[Key, Where] = {}
    for file in files:
        for key, where in file.declared.items():
            if key.project != project:
                continue
            if key in first:
                message = (
                    f'{key.kind} "{key.name}" of project "{project}" is declared twice, first at {first[key]}'
                )
                findings.error(where, message, "keep one of them", (first[key].file,))
            first.setdefault(key, where)


def _check_references(
    project: str,
    files: Iterable[FileResult],
    mine: Iterable[tuple[FileResult, Found]],
    findings: _Findings,
) -> None:
    declared = {key for file in files for key in file.declared}
    inactive = {key for file in files for key in file.inactive}
    has_opaque = any(file.is_opaque for file in files)
    for file, found in mine:
        for reference in found.references:
            kind = "container" if reference.kind == "service" else reference.kind
            key = Key(project, kind, reference.name)
            if reference.kind == "container_name" or (kind, reference.name) == ("network", DEFAULT_NETWORK):
                continue
            if key in declared and key not in inactive:
                continue
            if not reference.required or (has_opaque and key not in inactive):
                continue
            message, hint = _unknown(key, declared, key in inactive)
            where = Where(file.path, reference.line, reference.column)
            findings.error(where, f'service "{found.object.key.name}": {message}', hint)


def _unknown(key: Key, declared: Iterable[Key], is_inactive: bool) -> tuple[str, str]:
    noun = NOUNS[key.kind]
    if is_inactive:
        return f'service "{key.name}" is not active', "activate its profile, or write required: false"
    names = [other.name for other in declared if (other.project, other.kind) == (key.project, key.kind)]
    hint = did_you_mean(key.name, names)
    if not hint and key.kind != "container":
        hint = f"declare it under {noun}s:"
    return f'{noun} "{key.name}" is not declared', hint


def _check_cycles(mine: Iterable[tuple[FileResult, Found]], findings: _Findings) -> None:
    """Depth first over dependencies, without recursion: a chain may be thousands long."""
    nodes = {
        found.object.key.name: (file.path, found)
        for file, found in mine
        if found.object.key.kind == "container"
    }
    edges = {
        name: [
            reference for reference in found.references if reference.is_dependency and reference.name in nodes
        ]
        for name, (_, found) in nodes.items()
    }
    done: set[str] = set()
    for start in edges:
        if start not in done:
            _walk(start, nodes, edges, done, findings)


def _walk(
    start: str,
    nodes: dict[str, tuple[str, Found]],
    edges: dict[str, list[Reference]],
    done: set[str],
    findings: _Findings,
) -> None:
    path = [start]
    position = {start: 0}
    stack = [iter(edges[start])]
    while stack:
        reference = next(stack[-1], None)
        if reference is None:
            stack.pop()
            done.add(path[-1])
            del position[path.pop()]
        elif reference.name in position:
            cycle = [*path[position[reference.name] :], reference.name]
            where = Where(nodes[path[-1]][0], reference.line, reference.column)
            message = f"services depend on each other: {' -> '.join(cycle)}"
            findings.error(where, message, "remove one of these", (nodes[name][0] for name in cycle))
        elif reference.name not in done:
            position[reference.name] = len(path)
            path.append(reference.name)
            stack.append(iter(edges[reference.name]))


def _check_addresses(
    mine: Iterable[tuple[FileResult, Found]], objects: dict[Key, Object], findings: _Findings
) -> None:
    taken: dict[tuple[str, ...], Claimed] = {}
    for file, found in mine:
        for claim in found.claims:
            if claim.kind != "address":
                continue
            claimed = Claimed(claim, found.object.key, file.path)
            name, address = claim.value
            network = objects.get(Key(found.object.key.project, "network", name))
            if network is not None and (problem := _address_problem(network.spec, name, address)):
                findings.error(claimed.where, f'service "{found.object.key.name}": {problem[0]}', problem[1])
            if (first := taken.setdefault(claim.value, claimed)) is not claimed:
                message = (
                    f'address {address} on network "{name}" is taken by "{first.key.name}" at {first.where}'
                )
                findings.error(claimed.where, message, "give one of them another", (first.file,))


def _address_problem(spec: object, name: str, address: str) -> tuple[str, str] | None:
    if not isinstance(spec, NetworkSpec) or spec.external:
        return None
    found = ipaddress.ip_address(address)
    if found.version == 6 and spec.ipv6 is None:
        return f'network "{name}" has no IPv6', "enable_ipv6: true there, and a subnet for it"
    said = spec.ipv6 if found.version == 6 and spec.ipv6 is not None else spec
    if not said.subnet:
        return (
            f'a static address needs a subnet on network "{name}"',
            "write ipam: {config: [{subnet: …}]} there",
        )
    subnet = ipaddress.ip_network(said.subnet)
    gateway = ipaddress.ip_address(said.gateway) if said.gateway else subnet.network_address + 1
    if found not in subnet or found in (subnet.network_address, subnet.broadcast_address):
        return f'{address} is not an address of network "{name}" ({subnet})', ""
    if found == gateway:
        return f'{address} is the gateway of network "{name}"', ""
    return None


# --- the whole host ---------------------------------------------------------------------------

CLAIM_WORDS = {
    "container_name": ("container_name", "names are unique on the host"),
    "network_name": ("network name", "set external: true where it is only used"),
    "volume_name": ("volume name", "set external: true where it is only used"),
    "bridge_name": ("bridge name", "each network has a link of its own"),
}


def check_all(projects: Iterable[ProjectResult]) -> Overall:
    findings = _Findings()
    names: dict[tuple[str, ...], Claimed] = {}
    ports: dict[tuple[str, ...], list[Claimed]] = {}
    for project in projects:
        for claimed in project.claims:
            claim = claimed.claim
            if claim.kind == "port":
                others = ports.setdefault(claim.value[:2], [])
                _check_port(claimed, others, findings)
                others.append(claimed)
            elif (first := names.setdefault((claim.kind, *claim.value), claimed)) is not claimed:
                word, hint = CLAIM_WORDS[claim.kind]
                message = f'{word} "{claim.value[0]}" is taken by {first.key} at {first.where}'
                findings.error(claimed.where, message, hint, (first.file,))
    return Overall(tuple(findings.errors), frozenset(findings.frozen))


def _check_port(claimed: Claimed, others: Iterable[Claimed], findings: _Findings) -> None:
    port, protocol, host_ip = claimed.claim.value
    for other in others:
        if addresses_overlap(host_ip, other.claim.value[2]):
            whose = "the same service" if other.key == claimed.key else str(other.key)
            message = f"host port {port}/{protocol} is published twice, first by {whose} at {other.where}"
            findings.error(
                claimed.where, message, "publish one of them on another port or address", (other.file,)
            )
            return


def addresses_overlap(one: str, other: str) -> bool:
    """Whether two host addresses to publish on meet; "" is every address."""
    if one == other or not one or not other:
        return True
    is_six = ":" in one
    if is_six != (":" in other):
        return False
    wildcard = "::" if is_six else "0.0.0.0"
    return wildcard in (one, other)
