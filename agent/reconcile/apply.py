"""Carries out one key's actions. Decides nothing: the plan did, the loop judges the outcomes.

Actions of one replica run in order and stop at the first that fails; replicas run side by side, so
that one that fails or takes long holds up no other, and the engine can do their network work
together. Called by `loop`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from agent.reconcile import actions as do
from agent.reconcile.actions import Action
from agent.reconcile.sockets import Sockets
from runtime import disk
from runtime.errors import Conflict
from runtime.face import Engine


@dataclass(frozen=True, slots=True)
class Outcome:
    """One action was carried out, or failed with `error`. seconds: how long that took."""

    action: Action
    error: Exception | None
    seconds: float


async def apply(
    engine: Engine, sockets: Sockets, actions: Sequence[Action], on_outcome: Callable[[Outcome], None]
) -> tuple[Outcome, ...]:
    """All outcomes, lane by lane. on_outcome is called right after each action, so that what was done is
    known even if the next step is never reached. Raises nothing but cancellation."""
    lanes: dict[int, list[Action]] = {}
    for action in actions:
        lanes.setdefault(action.index, []).append(action)
    runs = [_run_lane(engine, sockets, lane, on_outcome) for lane in lanes.values()]
    if len(runs) == 1:
        return await runs[0]
    return tuple(outcome for lane in await asyncio.gather(*runs) for outcome in lane)


async def _run_lane(
    engine: Engine, sockets: Sockets, lane: Sequence[Action], on_outcome: Callable[[Outcome], None]
) -> tuple[Outcome, ...]:
    outcomes = []
    for action in lane:
        outcome = await _perform(engine, sockets, action)
        outcomes.append(outcome)
        on_outcome(outcome)
        if outcome.error is not None:
            break
    return tuple(outcomes)


async def _perform(engine: Engine, sockets: Sockets, action: Action) -> Outcome:
    started = time.perf_counter()
    try:
        await _call(engine, sockets, action)
    except Exception as error:
        return Outcome(action, _of_the_disk(action, error), time.perf_counter() - started)
    return Outcome(action, None, time.perf_counter() - started)


def _of_the_disk(action: Action, error: Exception) -> Exception:
    """A full or failing disk is nobody's bug, whichever call met it."""
    if not isinstance(error, OSError):
        return error
    return disk.explained(action.verb, str(action.key), error) or error


def _call(engine: Engine, sockets: Sockets, action: Action) -> Awaitable[None]:
    match action:
        case do.CreateContainer():
            return engine.create(action.config)
        case do.StartContainer():
            return engine.start(action.id)
        case do.StopContainer():
            return engine.stop(action.id, action.grace_seconds, action.signal)
        case do.DeleteContainer():
            return engine.delete(action.id)
        case do.DeleteSandbox():
            return engine.delete_sandbox(action.sandbox)
        case do.UpdateResources():
            return engine.update(action.id, action.resources)
        case do.RenameContainer():
            return engine.rename(action.id, action.name)
        case do.AdoptContainer():
            return engine.relabel(action.id, action.labels)
        case do.ResumeContainer():
            return engine.resume(action.id)
        case do.RepairDrift():
            return engine.repair(action.drift)
        case do.ForgetObject():
            return _nothing()
        case do.OpenSocket():
            return sockets.open(action.key, action.spec, action.spec_hash)
    return _call_for_things(engine, sockets, action)


def _call_for_things(engine: Engine, sockets: Sockets, action: Action) -> Awaitable[None]:
    match action:
        case do.PullImage():
            more = {"platform": action.platform, "project": action.key.project}
            return engine.pull(action.reference, **more, only_newer=action.only_newer)
        case do.AskSignatures():
            return engine.ask_signatures(action.reference, project=action.key.project)
        case do.BuildImage():
            return engine.build(action.reference, action.recipe)
        case do.CloseSocket():
            return sockets.close(action.key)
        case do.CreateNetwork():
            return engine.create_network(action.config)
        case do.DeleteNetwork():
            return engine.delete_network(action.name)
        case do.ConnectNetwork():
            return engine.connect(action.id, action.endpoint, action.position)
        case do.DisconnectNetwork():
            return engine.disconnect(action.id, action.network)
        case do.CreateVolume():
            return engine.create_volume(action.config)
        case do.DeleteVolume():
            return _delete_volume(engine, action)
    raise TypeError(f"no such action: {action!r}")


async def _delete_volume(engine: Engine, action: do.DeleteVolume) -> None:
    try:
        await engine.delete_volume(action.name)
    except Conflict:
        if not action.unless_used:
            raise


async def _nothing() -> None:
    """The inventory is the loop's: it forgets on seeing the outcome."""
