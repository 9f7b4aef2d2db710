"""Lost: an acknowledged change is absent. The database says that something is wanted, and that it is there,
and it is not; or a log has become shorter than it was. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from agent.checker.finding import Finding
from agent.checker.rows import desired_of, is_left_alone
from agent.checker.seen import Seen
from agent.checker.snapshot import Snapshot, running_of
from agent.manifest.spec import ContainerSpec, NetworkSpec, VolumeSpec
from agent.reconcile import convert
from agent.reconcile.convert import LABEL_INDEX
from store.records import Key, ObjectRecord, StatusRecord

_LIVE = frozenset(("Running", "Unhealthy"))
_PRESENT = _LIVE | {"Completed", "Stopped", "Starting"}
_SYNC = "setpoint sync, then setpoint why NAME"


def find_lost(seen: Seen, before: Snapshot | None) -> Iterator[Finding]:
    if seen.rows.damage:
        yield Finding(
            "lost", "database", f"it cannot be read: {seen.rows.damage}", "start the agent: it rebuilds it"
        )
    for key, record in seen.rows.objects.items():
        status = seen.rows.statuses.get(key)
        if status is not None and not record.deleting and not is_left_alone(status):
            yield from _lost_object(seen, key, record, status)
    if before is not None:
        yield from _shorter_logs(seen, before)


def _lost_object(seen: Seen, key: Key, record: ObjectRecord, status: StatusRecord) -> Iterator[Finding]:
    desired = desired_of(record)
    spec = desired.spec if desired else None
    if isinstance(spec, ContainerSpec):
        yield from _lost_replicas(seen, key, spec, status)
    elif isinstance(spec, NetworkSpec) and status.phase == "Ready" and not spec.external:
        name = convert.network_name(key, spec)
        if spec.ensure == "present" and name not in seen.disk.networks:
            yield Finding("lost", str(key), f"network {name} has no record", _SYNC)
    elif isinstance(spec, VolumeSpec) and status.phase == "Ready" and not spec.external:
        name = convert.volume_name(key, spec)
        if spec.ensure == "present" and name not in seen.disk.volumes:
            yield Finding("lost", str(key), f"volume {name} has no directory", _SYNC)


def _lost_replicas(seen: Seen, key: Key, spec: ContainerSpec, status: StatusRecord) -> Iterator[Finding]:
    if spec.ensure == "absent" or status.phase not in _PRESENT:
        return
    bundles = list(seen.replicas(key))
    there = {bundle.config.labels.get(LABEL_INDEX) for bundle in bundles}
    live = {bundle.config.labels.get(LABEL_INDEX) for bundle in bundles if bundle.is_live}
    for index in range(1, spec.scale + 1):
        subject = f"{key}#{index}"
        if str(index) not in there:
            yield Finding("lost", subject, f"it is {status.phase}, and there is no such container", _SYNC)
        elif status.phase in _LIVE and spec.ensure == "running" and str(index) not in live:
            yield Finding("lost", subject, f"it is {status.phase}, and none of its processes is there", _SYNC)


def _shorter_logs(seen: Seen, before: Snapshot) -> Iterator[Finding]:
    for bundle in seen.disk.bundles.values():
        old, new = before.containers.get(bundle.name), running_of(bundle)
        # One whose first file was full has been rotated since, perhaps, and dropped its oldest.
        if old is None or old.id != new.id or old.log_bytes >= bundle.config.log_max_bytes:
            continue
        if new.log_bytes < old.log_bytes:
            yield Finding(
                "lost", f"log of {bundle.name}", f"{old.log_bytes - new.log_bytes} bytes of it are gone"
            )
