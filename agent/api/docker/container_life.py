"""Containers' lives: start, stop, restart, kill, pause, unpause, wait.

Start, stop and restart are wishes, which the loop carries out; signals and freezing are the engine's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from aiohttp import web

from agent.api import override
from agent.api.at_once import at_once_or, begun_at_once
from agent.api.context import Context
from agent.api.docker import auto_remove, beginning, wishes
from agent.api.docker.answers import message_of, no_content, not_modified
from agent.api.docker.attached import all_is_sent
from agent.api.docker.attempts import Attempt
from agent.api.docker.completing import completed
from agent.api.docker.container_body import FOREVER_SECONDS, checked_signal
from agent.api.docker.events import note_container
from agent.api.docker.finding import find_container, known_record, owned_key, record_of
from agent.api.requests import context_of
from agent.manifest.spec import Asked
from agent.reconcile.api_objects import API_OWNER
from agent.reconcile.observe import key_of
from agent.reconcile.policy import Exit
from runtime.errors import Conflict, Invalid, NotFound
from runtime.model import ContainerState
from runtime.signals import own_stop_signal, parse_signal
from store.records import Key, ObjectRecord

KILL = 9
OF_ONE_RUN = ("stop_seconds", "stop_signal", "is_kill", "is_last_run", "start_error")
MAX_ERROR = 1000
ENDING_SIGNALS = ("TERM", "INT")  # sent by those who want an end, besides the container's own


async def _start(request: web.Request) -> web.Response:
    context, state = _asked_for(request)
    if state.phase == "running":  # by now
        return not_modified()
    if state.phase == "paused":
        raise Conflict("", "", "cannot start a paused container, try unpause instead")
    key = owned_key(context, "start", state)
    before = context.loop.verdict_of(key)
    await beginning.choose(request, context, state)
    try:
        asked = _asked_anew(context, key)
        wish = wishes.change(context, key, starts=True, is_done_meanwhile=True, ensure="running", asked=asked)
        await _start_of(context, key, state, before).come_true(wish)
    except Exception:
        context.engine.checkpoints.choose_none(state.id)
        raise
    return no_content()


@at_once_or(_start)
def start(request: web.Request) -> web.Response | None:
    """?checkpoint= to begin from, ?checkpoint-dir=. 204; 304 when it runs already. A container whose start
    failed is not tried again by itself."""
    _context, state = _asked_for(request)
    return not_modified() if state.phase == "running" else None


def _start_of(context: Context, key: Key, state: ContainerState, before: Any) -> Attempt:
    """before: the verdict from before the wish."""

    def has_started() -> bool:
        now = context.engine.state(state.id)
        if now is None:
            raise_gone(context, key, state)
            return True
        return now.started_at is not None and now.started_at != state.started_at

    async def give_up(why: Exception) -> None:
        await _give_up_start(context, key, message_of(why))

    return Attempt(context, key, "start", has_started, give_up, before)


async def _give_up_start(context: Context, key: Key, why: str) -> None:
    """It is not tried again by itself, shows why, and goes if it was to go when it has ended."""
    record = context.loop.objects().get(key)
    if record is None or record.deleting or record.owner != API_OWNER:
        return
    spec = wishes.container_spec_of(record)
    if spec.asked is not None and spec.asked.auto_remove:
        await auto_remove.remove(context, key, record, with_volumes=True)
    else:
        asked = asked_of(context, key) | {"start_error": why[:MAX_ERROR]}
        await wishes.change(context, key, ensure="stopped", asked=asked)


def raise_gone(context: Context, key: Key, state: ContainerState) -> None:
    """NotFound for what somebody removed meanwhile; what went by itself after it ran has run."""
    if not context.exits.is_removed(state.id):
        raise NotFound("", "", f"No such container: {state.name}")


async def _stop(request: web.Request) -> web.Response:
    context, state = _asked_for(request)
    if state.phase not in ("running", "paused"):
        await _keep_down(context, state)
        return not_modified()
    key = owned_key(context, "stop", state)
    before = context.loop.verdict_of(key)
    asked = asked_of(context, key) | _way(request)
    await wishes.change(context, key, ensure="stopped", asked=asked)
    await wait_down(context, key, state, before)
    return no_content()


@at_once_or(_stop)
def stop(request: web.Request) -> web.Response | None:
    """?t= seconds (-1 waits for ever), ?signal=. 304 when it does not run."""
    context, state = _asked_for(request)
    if state.phase in ("running", "paused"):
        return None
    _way(request)  # what makes no sense is refused, whatever the container does
    key = owned_key(context, "stop", state)
    is_wanted_down = wishes.container_spec_of(context.loop.objects()[key]).ensure == "stopped"
    return not_modified() if is_wanted_down or state.phase != "stopped" else None


async def _keep_down(context: Context, state: ContainerState) -> None:
    """It is down, perhaps on its way to be started again: then that was the last time."""
    key = owned_key(context, "stop", state)
    if state.phase == "stopped":
        await wishes.change(context, key, ensure="stopped")


async def wait_down(context: Context, key: Key, state: ContainerState, before: Any) -> None:
    """Until it runs no more. before: the verdict from before the wish."""

    def is_down() -> bool:
        now = context.engine.state(state.id)
        return now is None or now.phase not in ("running", "paused")

    await wishes.wait(context, key, is_down, "stop", before=before, seconds=FOREVER_SECONDS)


def _way(request: web.Request) -> dict[str, Any]:
    """The time and the signal of this stop."""
    seconds, signal = _seconds(request), request.query.get("signal", "")
    said = checked_signal(signal) if signal else ""
    return {"stop_seconds": seconds, "stop_signal": said, "is_kill": False}


def _asked_anew(context: Context, key: Key) -> dict[str, Any]:
    """`asked_of`, for another run."""
    return {name: value for name, value in asked_of(context, key).items() if name not in OF_ONE_RUN}


def asked_of(context: Context, key: Key) -> dict[str, Any]:
    """What the API was asked for of a container so far."""
    asked = wishes.wanted_spec_of(context, key).asked or Asked()
    return asked.model_dump(exclude_unset=True)


def _seconds(request: web.Request) -> float | None:
    text = request.query.get("t", "")
    if not text:
        return None
    try:
        seconds = int(text)
    except ValueError:
        raise Invalid("", "", f"invalid value for t: {text[:20]!r}") from None
    return FOREVER_SECONDS if seconds < 0 else float(min(seconds, FOREVER_SECONDS))


def _signal(request: web.Request) -> str:
    signal = request.query.get("signal", "")
    return checked_signal(signal) if signal else ""


async def restart(request: web.Request) -> web.Response:
    """Stop it, if it runs, and start it. Of a container that a manifest owns too: nothing that is wanted
    changes by it. One that the loop leaves alone is in somebody's hands: it is done past the loop."""
    context, state = _asked_for(request)
    key, record = known_record(context, "restart", state)
    before = context.loop.verdict_of(key)
    context.engine.checkpoints.choose_none(state.id)
    if record.owner != API_OWNER and before is not None and before.phase == "Suspended":
        way = override.Way(_seconds(request), _signal(request))
        await completed(override.carry_out(context, state, "restart", way))
        note_container(context, state, "restart")
        return no_content()
    wish = completed(_want_restart(context, state, key, record, request))
    await _start_of(context, key, state, before).come_true(wish)
    note_container(context, state, "restart")
    return no_content()


async def _want_restart(
    context: Context, state: ContainerState, key: Key, record: ObjectRecord, request: web.Request
) -> None:
    if state.phase == "paused":
        await context.engine.resume(state.id)
    if record.owner == "git":
        await context.loop.restart(key)
    else:
        asked = _asked_anew(context, key) | _way(request)
        await wishes.change(context, key, starts=True, ensure="running", asked=asked)


async def kill(request: web.Request) -> web.Response:
    """?signal= (KILL). KILL is a wish: no restart policy brings it back. Other signals are only sent, since
    the process may go on; should it end of one that is for that, it stays down, too."""
    context, state = _asked_for(request)
    signal = request.query.get("signal") or "KILL"
    number = parse_signal(checked_signal(signal))
    if state.phase not in ("running", "paused"):
        raise Conflict("", "", f"cannot kill container: {state.name}: container {state.id} is not running")
    if number != KILL:
        await completed(_send(context, state, signal, number))
        return no_content()
    key = owned_key(context, "kill", state)
    before = context.loop.verdict_of(key)
    asked = asked_of(context, key) | wishes.KILLED
    await wishes.change(context, key, ensure="stopped", asked=asked)
    with contextlib.suppress(Conflict, NotFound):  # the wish was as quick
        await context.engine.signal(state.id, signal)  # now, if a stop with more time is under way
    await wait_down(context, key, state, before)
    return no_content()


async def _send(context: Context, state: ContainerState, signal: str, number: int) -> None:
    _key, record = record_of(context, state)
    if record is not None and record.owner == API_OWNER and _ends(context, record, number):
        asked = asked_of(context, record.key) | {"is_last_run": True}
        await wishes.change(context, record.key, asked=asked)
    await context.engine.signal(state.id, signal)
    note_container(context, state, "kill", signal=str(number))


def _ends(context: Context, record: ObjectRecord, number: int) -> bool:
    """Whether who sends this signal wants the container to end."""
    own = own_stop_signal(wishes.container_spec_of(record).stop_signal, context.loop.image_of(record.key))
    return number in map(parse_signal, filter(None, (own, *ENDING_SIGNALS)))


async def pause(request: web.Request) -> web.Response:
    context, state = _asked_for(request)
    if state.phase == "paused":
        raise Conflict("", "", f"Container {state.id} is already paused")
    if state.phase != "running":
        raise Conflict("", "", f"Container {state.id} is not running")
    owned_key(context, "pause", state)
    await completed(_freeze(context, state))
    return no_content()


async def _freeze(context: Context, state: ContainerState) -> None:
    await context.engine.pause(state.id)
    note_container(context, state, "pause")
    context.loop.look_at(state.id)


async def unpause(request: web.Request) -> web.Response:
    """Of a manifest's container too: no manifest says that it is paused."""
    context, state = _asked_for(request)
    if state.phase != "paused":
        raise Conflict("", "", f"Container {state.id} is not paused")
    known_record(context, "unpause", state)
    await completed(_thaw(context, state))
    return no_content()


async def _thaw(context: Context, state: ContainerState) -> None:
    await context.engine.resume(state.id)
    note_container(context, state, "unpause")
    context.loop.look_at(state.id)


# --- wait -----------------------------------------------------------------------------------------


@begun_at_once
async def wait(request: web.Request) -> web.StreamResponse:
    """?condition=not-running (default), next-exit, removed. The head of the answer is sent at once: clients
    wait for it before they start the container. Of one that asks while it runs, that head may be unread when
    the container ends: it would find the end there, before it looks at what was printed meanwhile."""
    context, state = _asked_for(request)
    condition = request.query.get("condition") or "not-running"
    if condition not in ("not-running", "next-exit", "removed"):
        raise Invalid("", "", f'invalid condition: "{condition[:40]}"')
    is_down = condition == "not-running" and state.phase in ("created", "stopped")
    next_exit = None if is_down else context.exits.next_of(state.id)
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b"")
    code = state.exit_code or 0
    if next_exit is not None:
        code = await _code_of_end(context, state, next_exit, removed=condition == "removed")
    if _has_run(context, state):
        await all_is_sent(context, state.id, is_read=state.phase != "created")
    await response.write(json.dumps({"StatusCode": code}).encode() + b"\n")
    return response


def _has_run(context: Context, state: ContainerState) -> bool:
    """By now. One that has ended before it was asked for may not be one yet whose end the loop has told."""
    return state.phase != "created" or context.exits.last_of(state.id) is not None


async def _code_of_end(
    context: Context, state: ContainerState, next_exit: asyncio.Future[Exit], *, removed: bool
) -> int:
    """The exit code of the next end, or of the last one when it is removed without another."""
    code = state.exit_code
    while True:
        now = context.engine.state(state.id)
        if now is None and context.loop.objects().get(_key_of(state)) is None:
            context.exits.give_up(state.id)
            last = context.exits.last_of(state.id)
            return _code(last.code if last else code)
        if next_exit.done() and not next_exit.cancelled():
            code = next_exit.result().code
            if not removed:
                return _code(code)
        if removed or next_exit.done():  # of a removal tells a change
            await context.loop.wait_within(None)
        else:
            waited: set[asyncio.Future[Any]] = {context.loop.next_change(), next_exit}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)


def _key_of(state: ContainerState) -> Key:
    return key_of(state.labels) or Key("", "container", state.id)


def _code(code: int | None) -> int:
    """137 where nobody could tell: it was killed with the engine's own processes."""
    return 137 if code is None else code


def _asked_for(request: web.Request) -> tuple[Context, ContainerState]:
    context = context_of(request)
    return context, find_container(context, request.match_info["id"])
