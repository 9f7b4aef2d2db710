"""Doubled: two live instances of one name: of a replica, of a container's first process, of the supervisor.
Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agent.checker.disk import Bundle
from agent.checker.finding import Finding
from agent.checker.seen import Seen
from agent.reconcile.convert import LABEL_INDEX, LABEL_KEY

_STOP = "setpoint why NAME; setpoint restart NAME"


def find_doubled(seen: Seen) -> Iterator[Finding]:
    live = [bundle for bundle in seen.disk.bundles.values() if bundle.is_live]
    yield from _two("name", {bundle.id: bundle.name for bundle in live}, seen.disk.bundles)
    replicas = {bundle.id: f"{labels[LABEL_KEY]}#{labels.get(LABEL_INDEX, '')}"
                for bundle in live if LABEL_KEY in (labels := bundle.config.labels)}  # fmt: skip
    yield from _two("replica", replicas, seen.disk.bundles)
    for id, inside in seen.inside.items():
        if len(inside.inits) > 1:
            name, shown = seen.disk.bundles[id].name, " and ".join(map(str, inside.inits))
            yield Finding(
                "doubled", f"container {name}", f"its processes {shown} are each the first of one", _STOP
            )
    supervisors = seen.kernel.supervisors
    if len(supervisors) > 1:
        pids = ", ".join(str(each.pid) for each in sorted(supervisors, key=lambda each: each.pid))
        yield Finding("doubled", f"supervisor of {seen.layout.instance}", f"processes {pids}")


def _two(what: str, subjects: Mapping[str, str], bundles: Mapping[str, Bundle]) -> Iterator[Finding]:
    """subjects: id -> what only one may be."""
    by_subject: dict[str, list[str]] = {}
    for id, subject in subjects.items():
        by_subject.setdefault(subject, []).append(id)
    for subject, ids in by_subject.items():
        if len(ids) > 1:
            lives = (bundles[id].life for id in sorted(ids))
            shown = " and ".join(
                f"{id[:12]} (pid {life.pid})" for id, life in zip(sorted(ids), lives, strict=True) if life
            )
            yield Finding("doubled", f"{what} {subject}", f"{shown} run", _STOP)
