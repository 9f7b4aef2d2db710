"""What planning needs to know of the past, per key: exits, health, wishes of operators, failures.

Frozen values, stored as JSON in StatusRecord.memory, so that a restarted agent goes on where it
was. All of it may be lost without harm: the kernel and the labels say what is, this only says why.
Changed by pure functions in `account`; read by `plan`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, TypeVar

from agent.reconcile.policy import Exit, FailureKind, Health
from agent.reconcile.repairs import Repair

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Failure:
    """The newest action that failed. token: the desired state it was tried for; another token means
    another try. retry_at None: never by itself."""

    kind: FailureKind
    action: str
    message: str
    hint: str
    count: int
    at: float
    retry_at: float | None
    token: str


@dataclass(frozen=True, slots=True)
class Refreshed:
    """That the registry of an image was asked for a newer one: for which version of the spec, when it
    answered last, and why it did not, or ""."""

    reference: str
    generation: int
    at: float
    failed: str = ""


@dataclass(frozen=True, slots=True)
class HandedOver:
    """That a manifest's object is to take over what the Docker API made (see `handing_over`): its key, the
    spec_hash that it must have, and the generation of the former that was looked at."""

    key: str
    spec_hash: str
    generation: int


@dataclass(frozen=True, slots=True)
class Override:
    """That somebody has taken a manifest's object into their own hands for a while, and how: it is left alone
    until then. ran: the ids of its containers that ran before, and are to run again."""

    at: float
    until: float
    how: str
    ran: str = ""

    def ran_before(self, id: str) -> bool:
        return id in self.ran.split()


@dataclass(frozen=True, slots=True)
class Memory:
    """exits: newest last, all replicas. health: container id -> its health.
    failures: replica's index as text ("0" is the object itself) -> its newest failed action.
    restart_marks: container id -> started_at of the run that somebody asked to end.
    dependency_runs: dependency's name -> ids of its containers when this one was started.
    prune_acknowledged: the revision whose mass prune was said yes to.
    repairs: what had drifted -> how often it was put back. refreshed: see `refresh`.
    handed_over: to whom."""

    exits: tuple[Exit, ...] = ()
    health: Mapping[str, Health] = field(default_factory=dict)
    restart_marks: Mapping[str, float | None] = field(default_factory=dict)
    dependency_runs: Mapping[str, str] = field(default_factory=dict)
    is_suspended: bool = False
    restarts: int = 0
    failures: Mapping[str, Failure] = field(default_factory=dict)
    prune_acknowledged: str = ""
    repairs: Mapping[str, Repair] = field(default_factory=dict)
    refreshed: Refreshed | None = None
    handed_over: HandedOver | None = None
    override: Override | None = None


NOTHING = Memory()
_NAMES = tuple(each.name for each in fields(Memory))


def to_json(memory: Memory) -> dict[str, Any]:
    """Only what differs from nothing, so that most objects store nothing."""
    if memory is NOTHING or memory == NOTHING:
        return {}
    return {name: _plain(value) for name in _NAMES if (value := getattr(memory, name))}


def _plain(value: Any) -> Any:
    """What asdict makes of it, without a look at what is not there."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return tuple(map(_plain, value)) if isinstance(value, tuple) else value


def from_json(data: Mapping[str, Any]) -> Memory:
    """Takes what an older or newer version wrote, or a damaged disk gave: unknown fields are dropped, bad
    parts forgotten."""
    if not data:
        return NOTHING
    return Memory(
        exits=tuple(exit for item in _list(data.get("exits")) if (exit := _build(Exit, item))),
        health=_build_all(Health, data.get("health")),
        restart_marks=_only(data.get("restart_marks"), float | int | None),
        dependency_runs=_only(data.get("dependency_runs"), str),
        is_suspended=data.get("is_suspended") is True,
        restarts=_count(data.get("restarts")),
        failures=_build_all(Failure, data.get("failures")),
        prune_acknowledged=str(data.get("prune_acknowledged") or ""),
        repairs=_build_all(Repair, data.get("repairs")),
        refreshed=_build(Refreshed, data.get("refreshed")),
        handed_over=_handed_over(data.get("handed_over")),
        override=_build(Override, data.get("override")),
    )


def by_this_clock(memory: Memory, now: float) -> Memory:
    """What was written down when the clock was ahead of what it says now: nothing that is remembered lies
    in the future, and nothing waits for a time that may be years away."""
    if memory == NOTHING:
        return memory
    return replace(
        memory,
        exits=tuple(exit if exit.at <= now else replace(exit, at=now) for exit in memory.exits),
        health={id: _health_by(health, now) for id, health in memory.health.items()},
        failures={index: _failure_by(failure, now) for index, failure in memory.failures.items()},
        repairs={
            name: replace(repair, last_at=min(repair.last_at, now)) for name, repair in memory.repairs.items()
        },
        refreshed=memory.refreshed and replace(memory.refreshed, at=min(memory.refreshed.at, now)),
        override=memory.override and _override_by(memory.override, now),
    )


def _override_by(override: Override, now: float) -> Override:
    """As long as it was to be, from now on."""
    if override.at <= now:
        return override
    return replace(override, at=now, until=now + override.until - override.at)


def _health_by(health: Health, now: float) -> Health:
    if health.last_at is None or health.last_at <= now:
        return health
    return replace(health, last_at=now, since=min(health.since, now))


def _failure_by(failure: Failure, now: float) -> Failure:
    if failure.at <= now:
        return failure
    return replace(failure, at=now, retry_at=None if failure.retry_at is None else now)


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _mapping(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _only(value: Any, kind: Any) -> dict[str, Any]:
    return {str(name): item for name, item in _mapping(value).items() if isinstance(item, kind)}


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value >= 0 else 0


def _handed_over(item: Any) -> HandedOver | None:
    found = _build(HandedOver, item)
    return found if found is not None and found.key.count("/") == 2 and all(found.key.split("/")) else None


def _build_all(kind: type[T], items: Any) -> dict[str, T]:
    return {str(name): value for name, item in _mapping(items).items() if (value := _build(kind, item))}


def _build(kind: type[T], item: Any) -> T | None:
    if not isinstance(item, Mapping):
        return None
    known = {f.name: str(f.type) for f in fields(kind)}  # type: ignore[arg-type]
    values = {name: value for name, value in item.items() if name in known}
    if not all(isinstance(value, _TYPES.get(known[name], str)) for name, value in values.items()):
        return None
    try:
        return kind(**values)
    except TypeError:
        return None


# As the classes' annotations have them; every other field is a word.
_TYPES: dict[str, Any] = {
    "int": int, "float": float | int, "bool": bool, "int | None": int | None,
    "float | None": float | int | None,
}  # fmt: skip
