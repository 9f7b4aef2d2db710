"""What is kept of what happened: pure functions from memory and a happening to the next memory.

Called by `loop` after observing, after actions and for operators' requests. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from agent.reconcile.actions import Action, DeleteContainer, RepairDrift, StartContainer, StopContainer
from agent.reconcile.exits import unseen_exit
from agent.reconcile.memory import Failure, Memory, Override
from agent.reconcile.policy import Exit, FailureKind, backoff_seconds, keep_exits, retry_at
from agent.reconcile.repairs import noted
from agent.reconcile.world import Actual, Pull
from runtime.errors import Conflict, Invalid, NotFound, SetpointError, Temporary, Unkillable, Unsupported

FIRST_PULL_AGAIN_SECONDS = 5.0
REFUSED_SECONDS = 300.0
V = TypeVar("V")


def after_look(memory: Memory, actual: Actual, now: float) -> tuple[Memory, tuple[Exit, ...]]:
    """Keep exits that were not seen before; forget what belongs to containers that are gone."""
    new = tuple(
        exit for replica in actual.replicas if (exit := unseen_exit(memory, replica, now)) is not None
    )
    for exit in new:
        memory = replace(memory, exits=keep_exits(memory.exits, exit))
    return _tidy(memory, actual), new


def _tidy(memory: Memory, actual: Actual) -> Memory:
    if not (memory.exits or memory.health or memory.restart_marks):
        return memory
    there = {replica.id for replica in actual.replicas}
    if (
        there.issuperset(exit.container for exit in memory.exits)
        and there.issuperset(memory.health)
        and there.issuperset(memory.restart_marks)
    ):
        return memory
    return replace(
        memory,
        exits=tuple(exit for exit in memory.exits if exit.container in there),
        health=_only(memory.health, there),
        restart_marks=_only(memory.restart_marks, there),
    )


def _only(items: Mapping[str, V], ids: set[str]) -> dict[str, V]:
    return {id: value for id, value in items.items() if id in ids}


def after_action(memory: Memory, action: Action, now: float) -> Memory:
    """An action was done."""
    if isinstance(action, StartContainer):
        if not (action.is_restart or action.dependency_runs or memory.restart_marks):
            return memory
        marks = {id: mark for id, mark in memory.restart_marks.items() if id != action.id}
        return replace(
            memory,
            restarts=memory.restarts + action.is_restart,
            restart_marks=marks,
            dependency_runs={**memory.dependency_runs, **action.dependency_runs},
        )
    if isinstance(action, StopContainer):
        exit = Exit(action.index, action.id, action.started_at, now, None, by=action.by)
        return replace(memory, exits=keep_exits(memory.exits, exit))
    if isinstance(action, RepairDrift):
        return replace(memory, repairs=noted(memory.repairs, action.drift, now))
    if isinstance(action, DeleteContainer):
        return replace(memory, exits=tuple(exit for exit in memory.exits if exit.container != action.id))
    return memory


def after_lane(memory: Memory, index: int) -> Memory:
    """All actions of a replica went well: what failed before is forgotten."""
    if str(index) not in memory.failures:
        return memory
    return replace(memory, failures={i: f for i, f in memory.failures.items() if i != str(index)})


def after_failure(
    memory: Memory, action: Action, error: BaseException, token: str, now: float
) -> tuple[Memory, Failure]:
    """An action failed; token: what it was tried for."""
    kind = kind_of(error)
    before = memory.failures.get(str(action.index))
    is_again = before is not None and before.token == token
    count = before.count + 1 if before is not None and is_again else 1
    asked = error.retry_after_seconds if isinstance(error, Temporary) else 0.0
    failure = Failure(
        kind=kind,
        action=action.kind,
        message=message_of(error),
        hint=error.hint if isinstance(error, SetpointError) else "",
        count=count,
        at=now,
        retry_at=retry_at(kind, count, now, asked),
        token=token,
    )
    return replace(memory, failures={**memory.failures, str(action.index): failure}), failure


def failed_pull(error: SetpointError, before: Pull | None, project: str, now: float) -> Pull:
    """An image could not be fetched, for a project. It is always tried again: somebody may push it, log in
    or mend the registry, and no manifest changes by that. Seldom, where the registry said no: it counts how
    often it is asked. The failures of several projects, each its first, count as one."""
    tried = (before.tried if before else None) or frozenset()
    is_same_round = bool(tried) and project not in tried
    count = (before.count if before else 0) + (not is_same_round)
    tried = tried | {project} if is_same_round else frozenset({project})
    said_no = isinstance(error, Invalid | Unsupported)
    asked = error.retry_after_seconds if isinstance(error, Temporary) else 0.0
    wait = max(asked, backoff_seconds(count, FIRST_PULL_AGAIN_SECONDS), REFUSED_SECONDS if said_no else 0.0)
    return Pull(message_of(error), count, now + wait, tried)


def sooner(memory: Memory, now: float) -> Memory | None:
    """What failed for a while is tried now, and then as if it had failed once. None: nothing did."""
    failures = {
        index: replace(failure, retry_at=now, count=1) if failure.kind == "temporary" else failure
        for index, failure in memory.failures.items()
    }
    return replace(memory, failures=failures) if failures != memory.failures else None


def kind_of(error: BaseException) -> FailureKind:
    kinds: tuple[tuple[type[BaseException], FailureKind], ...] = (
        (Invalid, "invalid"),
        (Unkillable, "unkillable"),
        (Temporary, "temporary"),
        (Conflict, "conflict"),
        (NotFound, "missing"),
        (Unsupported, "unsupported"),
    )
    return next((kind for type, kind in kinds if isinstance(error, type)), "bug")


def message_of(error: BaseException) -> str:
    if isinstance(error, SetpointError):
        return str(error)
    return f"internal error, please report it: {type(error).__name__}: {error}"


# --- wishes -------------------------------------------------------------------------------------


def forgive(memory: Memory) -> Memory:
    """The spec changed: what went wrong with the one before does not count."""
    if not (memory.exits or memory.failures):
        return memory
    return replace(memory, exits=tuple(exit for exit in memory.exits if exit.by == "us"), failures={})


def begin_override(memory: Memory, actual: Actual, until: float, how: str, now: float) -> Memory:
    """In somebody's own hands until then. What ran before the first such wish is remembered over more."""
    before = memory.override
    live = " ".join(replica.id for replica in actual.replicas if replica.is_live)
    return replace(memory, override=Override(now, until, how, live if before is None else before.ran))


def end_override(memory: Memory) -> Memory:
    """Over now, whatever was agreed."""
    override = memory.override
    return memory if override is None else replace(memory, override=replace(override, until=override.at))


def after_override(memory: Memory, actual: Actual, now: float) -> Memory:
    """Its time is over and nothing is paused any more: what ran before and does not now is started again."""
    override = memory.override
    if override is None or now < override.until or any(r.state.phase == "paused" for r in actual.replicas):
        return memory
    down = {r.id: r.state.started_at for r in actual.replicas if not r.is_live and override.ran_before(r.id)}
    memory = forgive(memory) if down else memory
    return replace(memory, override=None, restart_marks={**memory.restart_marks, **down})


def ask_restart(memory: Memory, actual: Actual) -> Memory:
    """Mark every run that is there: it is to end, or not to stay down. What never ran is on its way."""
    ran = (replica for replica in actual.replicas if replica.state.phase != "created")
    marks = {replica.id: replica.state.started_at for replica in ran}
    memory = forgive(memory)
    return replace(memory, restart_marks=marks) if marks or memory.restart_marks else memory
