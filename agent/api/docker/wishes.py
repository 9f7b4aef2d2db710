"""What a call changes: a desired row of owner "api" is written, the loop works, and the caller waits for its
condition. Nothing here calls the engine.

    put ─> stored ─> the loop plans, acts ─> wait: it is so, or why it is not (an error for the client)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from agent.api.context import Context
from agent.manifest.hashing import hashes
from agent.manifest.objects import Object, Where
from agent.manifest.spec import AnySpec, ContainerSpec
from agent.reconcile.conditions import Verdict
from agent.reconcile.inventory import spec_of
from agent.reconcile.memory import Failure
from runtime.errors import Conflict, Invalid, NotFound, SetpointError, Temporary, Unsupported
from store.records import Key, ObjectRecord

PATIENCE_SECONDS = 2.0  # for what may go well at another try
LONGEST_SECONDS = 600.0
_KINDS: dict[str, type[SetpointError]] = {
    "invalid": Invalid,
    "conflict": Conflict,
    "missing": NotFound,
    "unsupported": Unsupported,
    "temporary": Temporary,
    "unkillable": Temporary,
}
_MAY_COME = frozenset(("VolumeMissing", "NetworkMissing"))
KILLED: dict[str, object] = {"stop_seconds": 0.0, "stop_signal": "KILL", "is_kill": True}  # of an Asked
_ON_THE_WAY = frozenset(("Paused", "BackOff", "WaitsForDependents", "NetworkChanging", "SignaturesAsked"))


async def put(
    context: Context, key: Key, spec: AnySpec, *, starts: bool = False, is_done_meanwhile: bool = False
) -> None:
    """Want this. Returns when it is stored. Conflict for what a manifest owns, Invalid when refused.
    is_done_meanwhile: see `Loop._change`."""
    await context.loop.put(_object(key, spec), starts=starts, is_done_meanwhile=is_done_meanwhile)


async def put_together(context: Context, specs: Mapping[Key, AnySpec]) -> None:
    """Want all of these, or none: no end of the agent leaves one without the others."""
    await context.loop.put_together([_object(key, spec) for key, spec in specs.items()])


def _object(key: Key, spec: AnySpec) -> Object:
    whole, recreate = hashes(spec)
    return Object(key, spec, Where("", 0), whole, recreate)


def container_spec_of(record: ObjectRecord) -> ContainerSpec:
    """What is wanted of a container now. NotFound for one that this version cannot read."""
    spec = spec_of(record)
    if not isinstance(spec, ContainerSpec):
        raise NotFound("", "", f"No such container: {record.key.name}")
    return spec


def wanted_spec_of(context: Context, key: Key) -> ContainerSpec:
    """The same, as it was read when it was wished."""
    spec = context.loop.spec_of(key)
    if not isinstance(spec, ContainerSpec):
        raise NotFound("", "", f"No such container: {key.name}")
    return spec


async def change(
    context: Context, key: Key, *, starts: bool = False, is_done_meanwhile: bool = False, **fields: object
) -> ContainerSpec:
    """Want the same container with other fields; the spec as it is now."""
    wanted = changed(context, key, **fields)
    await put(context, key, wanted, starts=starts, is_done_meanwhile=is_done_meanwhile)
    return wanted


def changed(context: Context, key: Key, **fields: object) -> ContainerSpec:
    """The container's spec with other fields."""
    record = context.loop.objects().get(key)
    if record is None or record.deleting:
        raise NotFound("", "", f"No such container: {key.name}")
    spec = wanted_spec_of(context, key)
    # A dump knows which fields were set, which hashes are over; a copy would not.
    return ContainerSpec.model_validate({**spec.model_dump(exclude_unset=True), **fields})


async def wait(
    context: Context,
    key: Key,
    is_so: Callable[[], bool],
    op: str,
    *,
    before: Verdict | None = None,
    seconds: float = LONGEST_SECONDS,
) -> None:
    """Until `is_so`. Raises what keeps the loop from it: an action that failed, or something that it waits
    for. before: the verdict from before the wish, which says nothing about it."""
    end, patience = time.monotonic() + seconds, time.monotonic() + PATIENCE_SECONDS
    while True:
        if is_so():
            return
        verdict = context.loop.verdict_of(key)
        if verdict is not None and verdict is not before:
            error = why_not(op, key, verdict, context.loop.failure_of(key))
            # What it needs may be on its way: wanted by the same call, or found wanting by a new agent.
            may_pass = isinstance(error, Temporary | NotFound) or verdict.reason in _MAY_COME
            if error is not None and (not may_pass or time.monotonic() > patience):
                raise error
        left = end - time.monotonic()
        if left <= 0:
            raise Temporary(op, key.name, f"not done after {seconds:g} s", "setpoint why tells")
        await context.loop.wait_within(min(left, 1.0))


def why_not(op: str, key: Key, verdict: Verdict, failure: Failure | None) -> SetpointError | None:
    """The error for a client; None while the loop is on its way. Pure."""
    if failure is not None:
        kind = _KINDS.get(failure.kind)
        if kind is None:
            return SetpointError("", "", failure.message, failure.hint)
        return kind("", "", failure.message.partition(" (hint: ")[0], failure.hint)
    is_held = verdict.phase in ("Waiting", "Stalled") or bool(verdict.stalled)
    if not is_held or verdict.reason in _ON_THE_WAY:
        return None
    if verdict.reason == "ImageRefused":
        return Invalid("", "", verdict.message)
    return Conflict(op, key.name, verdict.message or verdict.reason)


async def let_go(
    context: Context, key: Key, last: AnySpec | None = None, *, is_done_meanwhile: bool = False
) -> None:
    """Do not want it any more; returns when nothing is left of it. What is gone already is as asked. Conflict
    when somebody came to want it again. last: what is wanted of it on its way out. is_done_meanwhile: see
    `Loop._change`."""

    def is_over() -> bool:
        record = context.loop.objects().get(key)
        return record is None or not record.deleting

    if key in context.loop.objects():
        before = context.loop.verdict_of(key)
        wanted = _object(key, last) if last is not None else None
        await context.loop.remove(key, wanted, is_done_meanwhile=is_done_meanwhile)
        await wait(context, key, is_over, "remove", before=before)
        if key in context.loop.objects():
            raise Conflict("remove", key.name, "it is wanted again meanwhile")
