"""What a manifest owns, in somebody's own hands for a while: the object is left alone, and the engine is
called directly. For `setpoint override` and for the Docker API's calls (`agent.api.docker.overrides`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from agent.api.context import Context
from agent.api.docker.completing import completed
from agent.api.requests import choice, context_of, key_of, number
from agent.api.things import containers_of
from agent.manifest.spec import ContainerSpec
from agent.reconcile.inventory import spec_of
from runtime.errors import Conflict, Invalid
from runtime.model import ContainerState
from store.records import Key

LEAST_SECONDS, MOST_SECONDS = 1.0, 7 * 86400.0
DEFAULT_GRACE_SECONDS = 10.0
DONE_ALREADY = {"kill": ("stopped", "created"), "pause": ("paused",), "unpause": ("running",)}


@dataclass(frozen=True, slots=True)
class Way:
    """How to stop: None and "" are as the manifest says."""

    grace_seconds: float | None = None
    signal: str = ""


async def begin(context: Context, key: Key, seconds: float, how: str) -> None:
    """The object is somebody's own from now on, for so long. Invalid for a time that is none."""
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise Invalid("override", str(key), f"{seconds:g} seconds", "from 1s to 168h")
    await context.loop.override(key, seconds, how)


async def carry_out(context: Context, state: ContainerState, what: str, way: Way = Way()) -> None:
    """One call on one container, past the loop. What is so already is as asked."""
    try:
        await _CALLS[what](context, state, way)
    finally:
        context.loop.look_at(state.id)


async def _start(context: Context, state: ContainerState, way: Way) -> None:
    if state.phase == "paused":
        raise Conflict("", "", "cannot start a paused container, try unpause instead")
    await context.engine.start(state.id)


async def _stop(context: Context, state: ContainerState, way: Way) -> None:
    grace, signal = _as_said(context, state)
    grace = grace if way.grace_seconds is None else way.grace_seconds
    await context.engine.stop(state.id, grace, way.signal or signal)


def _as_said(context: Context, state: ContainerState) -> tuple[float, str]:
    """The grace and the signal of its manifest."""
    for record in context.loop.objects().values():
        if str(record.key) == state.labels.get("setpoint.key"):
            spec = spec_of(record)
            if isinstance(spec, ContainerSpec):
                return spec.stop_grace_period, spec.stop_signal
    return DEFAULT_GRACE_SECONDS, ""


async def _restart(context: Context, state: ContainerState, way: Way) -> None:
    await _stop(context, state, way)
    await context.engine.start(state.id)


async def _kill(context: Context, state: ContainerState, way: Way) -> None:
    await context.engine.signal(state.id, way.signal or "KILL")


async def _pause(context: Context, state: ContainerState, way: Way) -> None:
    await context.engine.pause(state.id)


async def _unpause(context: Context, state: ContainerState, way: Way) -> None:
    await context.engine.resume(state.id)


_CALLS: dict[str, Callable[[Context, ContainerState, Way], Awaitable[None]]] = {
    "start": _start,
    "stop": _stop,
    "restart": _restart,
    "kill": _kill,
    "pause": _pause,
    "unpause": _unpause,
}
VERBS = tuple(_CALLS)


async def override(request: web.Request) -> web.Response:
    """Do ?what= to all containers of an object that a manifest owns, and leave it alone for ?for= seconds."""
    context, key = context_of(request), key_of(request)
    what = choice(request, "what", VERBS)
    seconds = number(request, "for", least=LEAST_SECONDS, most=MOST_SECONDS)
    if seconds is None:
        raise Invalid("read request", "for", "it is not said for how long", "for=600")
    return web.json_response(
        {"key": str(key), "containers": await completed(_begin_and_carry_out(context, key, seconds, what))}
    )


async def _begin_and_carry_out(context: Context, key: Key, seconds: float, what: str) -> list[str]:
    """Its containers. Half of them, left alone for so long, would be nobody's wish: who asks again, of an
    agent that died over it, asks for the other half."""
    await begin(context, key, seconds, f"setpoint override: {what}")
    states = containers_of(context, str(key))
    for state in states:
        if state.phase not in DONE_ALREADY.get(what, ()):
            await carry_out(context, state, what)
    return [state.name for state in states]
