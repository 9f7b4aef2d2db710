"""Wrong: what is live differs from what its record says: its spec, limits, mounts, ports, network. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from agent.checker import names
from agent.checker.disk import Bundle
from agent.checker.finding import Finding
from agent.checker.rows import desired_of
from agent.checker.seen import Seen
from agent.checker.wires import wanted_skeleton
from agent.manifest.spec import ContainerSpec
from agent.reconcile import convert
from agent.reconcile.convert import LABEL_KEY, LABEL_RECREATE_HASH
from agent.reconcile.world import Desired
from runtime.model import Drift
from runtime.network import firewall
from store.records import Key

_REPAIR = "a running agent repairs it: setpoint sync"
_WELL = frozenset(("Running", "Completed", "Stopped"))


def find_wrong(seen: Seen) -> Iterator[Finding]:
    for bundle in seen.disk.bundles.values():
        yield from _wrong_spec(seen, bundle)
        yield from _wrong_inside(seen, bundle)
        yield from _wrong_ports(seen, bundle)
    live = {bundle.config.sandbox.id for bundle in seen.disk.bundles.values() if bundle.is_live}
    for drift in seen.wires.drifts:
        if drift.subject in seen.disk.sandboxes and drift.subject not in live:
            continue  # a start makes it whole
        yield Finding("wrong", _subject(seen, drift), drift.detail, _REPAIR)
    yield from _wrong_firewall(seen)


def _wrong_spec(seen: Seen, bundle: Bundle) -> Iterator[Finding]:
    """Only of objects that say they are settled: while a version cannot be had, the one before goes on."""
    try:
        key = Key.parse(bundle.config.labels.get(LABEL_KEY, ""))
    except ValueError:
        return
    record, status = seen.rows.objects.get(key), seen.rows.statuses.get(key)
    if record is None or status is None or record.deleting or status.phase not in _WELL:
        return
    desired = desired_of(record)
    if desired is None or not isinstance(desired.spec, ContainerSpec):
        return
    subject = f"container {bundle.name}"
    made_for = bundle.config.labels.get(LABEL_RECREATE_HASH, "")
    if _has_plain_hash(seen, desired) and made_for != desired.recreate_hash:
        yield Finding("wrong", subject, "it was made for another spec than the wanted one", _REPAIR)
    elif bundle.is_live and bundle.config.resources != convert.resources_of(desired.spec):
        yield Finding("wrong", subject, "its record has other limits than the wanted ones", _REPAIR)


def _has_plain_hash(seen: Seen, desired: Desired) -> bool:
    """Whether names in the spec stand for what they say (`container_actions`): else the hash is of more."""
    spec = desired.spec
    if not isinstance(spec, ContainerSpec) or ":" in spec.pid or ":" in spec.ipc:
        return False
    for key in (*desired.needs_networks, *desired.needs_volumes):
        record = seen.rows.objects.get(key)
        if record is not None and record.spec.get("name"):
            return False
    return True


def _wrong_inside(seen: Seen, bundle: Bundle) -> Iterator[Finding]:
    inside = seen.inside.get(bundle.id)
    if inside is None:
        return
    subject = f"container {bundle.name}"
    for text in inside.limits:
        yield Finding("wrong", f"{subject} limit {text.split(':')[0]}", text, _REPAIR)
    for path in inside.homeless:
        yield Finding("wrong", f"{subject} cgroup {path}", "its first process is not in it", "restart it")
    needed = names.needed(bundle.config)
    for name in bundle.lacks:
        yield Finding("wrong", f"{subject} file {name}", f"it is gone, and {needed[name]}", "restart it")
    for mount in bundle.config.mounts:
        target = "/" + mount.target.strip("/")
        if inside.targets and target not in inside.targets:
            yield Finding("wrong", f"{subject} mount {target}", "nothing is mounted there", "restart it")


def _wrong_ports(seen: Seen, bundle: Bundle) -> Iterator[Finding]:
    """A stopped container's ports are free for others."""
    sandbox = bundle.config.sandbox
    if not bundle.is_live or sandbox.mode != "own":
        return
    record = seen.disk.sandboxes.get(sandbox.id)
    if record is None:
        yield Finding("wrong", f"container {bundle.name}", "its sandbox has no record", "restart it")
        return
    published = {(port.container_port, port.protocol) for port in record.ports}
    for port in sandbox.ports:
        if (port.container_port, port.protocol) not in published:
            text = f"port {port.container_port}/{port.protocol} is not published"
            yield Finding(
                "wrong", f"container {bundle.name} port {port.container_port}/{port.protocol}", text, _REPAIR
            )


def _subject(seen: Seen, drift: Drift) -> str:
    if drift.kind == "bridge":
        return f"network {drift.subject}"
    record = seen.disk.sandboxes.get(drift.subject)
    name = record.names[0] if record is not None and record.names else drift.subject
    return f"{drift.kind} of {name}" if drift.subject else drift.kind


def _wrong_firewall(seen: Seen) -> Iterator[Finding]:
    listing = seen.kernel.listing
    table = seen.layout.nft_table
    if listing is None:
        if seen.disk.networks:
            yield Finding("wrong", f"nft table {table}", "it is missing", _REPAIR)
        return
    wanted = wanted_skeleton(seen.layout)
    missing = firewall.missing(listing, wanted)
    for family in missing:
        yield Finding("wrong", f"nft table {family} {table}", "it is missing", _REPAIR)
    for element in seen.wires.elements - firewall.listed_elements(listing):
        yield Finding("wrong", f"nft element {element}", "it is missing", _REPAIR)
    if not missing and firewall.skeleton(listing) != wanted:
        yield Finding("wrong", f"nft table {table}", "its chains or rules are changed", _REPAIR)
