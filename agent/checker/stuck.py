"""Stuck: something was begun and has not come to an end by the time that is asked. Pure. The caller asks when
it should have: what is under way just now looks the same."""

from __future__ import annotations

from collections.abc import Iterator

from agent.checker.finding import Finding
from agent.checker.processes import read_process
from agent.checker.rows import desired_of, is_left_alone
from agent.checker.seen import Seen
from agent.manifest.spec import ContainerSpec
from agent.reconcile.convert import LABEL_INDEX
from store.records import ObjectRecord, StatusRecord

_UNDER_WAY = frozenset(("Creating", "Pending", "Removing"))
# It waits for somebody to do something, or for a program that fails: nothing of ours is under way.
_PATIENT = frozenset(
    ("BackOff", "Paused", "ImageMissing", "Pulling", "PullFailed", "DependencyMissing", "DependencyFailed",
     "DependencyCycle", "SandboxMissing", "HealthUnknown", "PruneHeld")
)  # fmt: skip
_WHY = "setpoint why NAME"


def find_stuck(seen: Seen) -> Iterator[Finding]:
    for key, record in seen.rows.objects.items():
        text = _why_unsettled(record, seen.rows.statuses.get(key))
        if text and not _is_done(seen, record):
            yield Finding("stuck", str(key), text, _WHY if seen.has_agent else "start the agent")
    for bundle in seen.disk.bundles.values():
        if bundle.life is not None and not bundle.life.is_there:
            text = f"its process {bundle.life.pid} has ended, and nobody has noted it"
            yield Finding("stuck", f"container {bundle.name}", text, "start the agent")
    if seen.has_agent and not seen.kernel.supervisors:
        yield Finding("stuck", f"supervisor of {seen.layout.instance}", "the agent runs, and there is none")


def _why_unsettled(record: ObjectRecord, status: StatusRecord | None) -> str:
    if status is None:
        return "it was never looked at"
    if is_left_alone(status):
        return ""
    reasons = {condition.reason for condition in status.conditions}
    if reasons & _PATIENT or any(each.type == "Stalled" for each in status.conditions):
        return ""
    said = f": {status.message}" if status.message else ""
    if record.deleting:
        return f"it is to go, and is {status.phase}{said}"
    if status.phase in _UNDER_WAY or any(each.type == "Reconciling" for each in status.conditions):
        return f"it is {status.phase}{said}"
    if status.ready and record.generation != record.observed_generation:
        return f"generation {record.generation} is wanted, {record.observed_generation} was reached"
    return ""


def _is_done(seen: Seen, record: ObjectRecord) -> bool:
    """An agent that was killed has not stored what it did in its last tenth of a second: all that was begun
    runs. Whether it runs as it is wanted is what `wrong` looks at."""
    if seen.has_agent or record.key not in seen.rows.statuses:
        return False
    if record.deleting or record.generation != record.observed_generation:
        return False
    desired = desired_of(record)
    spec = desired.spec if desired else None
    if not isinstance(spec, ContainerSpec) or spec.ensure != "running":
        return False
    live = {bundle.config.labels.get(LABEL_INDEX) for bundle in seen.replicas(record.key) if bundle.is_live}
    return live == {str(index) for index in range(1, spec.scale + 1)}


def find_dead_weight(seen: Seen) -> Iterator[Finding]:
    """Processes in our control groups that have ended or cannot end."""
    for pid in {pid for group in seen.kernel.groups for pid in group.pids}:
        process = read_process(pid, with_arguments=False)
        if process is not None and process.state in ("Z", "X"):
            yield Finding("stuck", f"process {pid}", f"{process} has ended, and nobody has reaped it")
