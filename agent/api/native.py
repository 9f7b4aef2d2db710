"""Setpoint's own API under /setpoint/v1: what exists, what would happen, what happened, and the
operators' requests. Handlers parse, ask one part of the agent and show; they decide nothing.

The table of the routes is `native_routes`; the streams (logs, archives) are in `streams`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from aiohttp import web

from agent.api import views
from agent.api.context import Context
from agent.api.docker.answers import json_bytes
from agent.api.openapi.shapes import state
from agent.api.requests import (
    MAX_MOMENT,
    MAX_WAIT_SECONDS,
    choice,
    context_of,
    flag,
    json_of,
    key_of,
    number,
    whole,
)
from agent.follow import problem_view
from agent.reconcile.actions import Action
from agent.reconcile.world import HOST
from runtime.errors import Invalid, NotFound
from store.errors import StoreError, Unavailable
from store.records import EventRecord

FOLLOW_AT_ONCE = 500  # events of one query of a follower
LOOK_SECONDS = 60.0
TICK_SECONDS = 0.001
RECENT_EVENTS = 20


# --- what there is --------------------------------------------------------------------------------


def status_of(context: Context) -> dict[str, Any]:
    """The contract of `setpoint status -o json`."""
    return views.status_view(
        context.loop.objects(),
        context.loop.statuses(),
        ready=context.is_ready,
        agent="running",
        revision=context.loop.revision,
        source=context.follower.view(),
        alarms=alarms_of(context),
        remembered=context.loop.remembered_count(),
    )


def alarms_of(context: Context) -> list[dict[str, Any]]:
    """What is wrong with the disk, and what is not stored."""
    alarms = (context.room.alarm, context.images.alarm, *context.verifier.alarms())
    found = [alarm.view() for alarm in alarms if alarm]
    journal = context.loop.journal
    if journal.is_failing:
        message = f"{journal.waiting} records are in memory alone: the store cannot be written"
        found.append({"reason": "NotStored", "message": message, "hint": "", "since": 0.0})
    return found


def events_of(context: Context, **query: Any) -> list[EventRecord]:
    """Events from the store, and behind them those that it could not take yet. Blocks."""
    waiting = context.loop.journal.waiting_events()  # first: some of them may be written meanwhile
    try:
        found = list(context.store.events(**query))
    except (StoreError, OSError):  # what is in memory is better than nothing; the alarm says the rest
        found = []
    there = {(event.at, event.key, event.reason, event.message) for event in found} if waiting else set()
    key, project = query.get("key"), query.get("project")
    since, until = query.get("since") or 0.0, query.get("until") or float("inf")
    found += [
        event
        for event in waiting
        if (event.at, event.key, event.reason, event.message) not in there
        and (key is None or event.key == key)
        and (project is None or event.key.project == project)
        and since <= event.at <= until
    ]
    limit = query.get("limit", 100)
    return found[-limit:] if limit and query.get("after_id") is None else found[:limit]


def _quick_json(data: object) -> web.Response:
    """Of thousands of objects: in a third of the time that Python's own takes."""
    return web.Response(body=json_bytes(data), content_type="application/json", charset="utf-8")


async def status(request: web.Request) -> web.Response:
    """All that is wanted and all that is, the source, and what is wrong."""
    return _quick_json(status_of(context_of(request)))


async def version(request: web.Request) -> web.Response:
    """The agent's version, its instance, and since when it runs."""
    context = context_of(request)
    return web.json_response({
        "version": context.version,
        "instance": context.settings.layout.instance,
        "started_at": context.started_at,
        "metrics": context.metrics_address,
        "is_outdated": context.program.is_outdated(),
    })  # fmt: skip


async def objects(request: web.Request) -> web.Response:
    """All objects, or those of ?kind= and ?project=."""
    context = context_of(request)
    kind, project = request.query.get("kind"), request.query.get("project")
    wanted, seen = context.loop.objects(), context.loop.statuses()
    found = [
        views.object_view(key, wanted.get(key), seen.get(key))
        for key in sorted(context.keys())
        if (not kind or key.kind == kind) and (not project or key.project == project)
    ]
    return _quick_json(found)


async def describe(request: web.Request) -> web.Response:
    """One object with its spec, and what happened to it lately."""
    context, key = context_of(request), key_of(request)
    await context.loop.flush()
    recent = await asyncio.to_thread(events_of, context, key=key, limit=RECENT_EVENTS)
    record, seen = context.loop.objects().get(key), context.loop.statuses().get(key)
    return web.json_response(views.detail_view(key, record, seen, recent))


async def why(request: web.Request) -> web.Response:
    """The chain commit -> file:line -> observation -> actions -> result."""
    context = context_of(request)
    key = views.resolve(request.match_info["key"], [*context.keys(), HOST], context.loop.objects())
    limit = whole(request, "limit", RECENT_EVENTS, least=1, most=1000) or RECENT_EVENTS
    await context.loop.flush()
    steps = await asyncio.to_thread(events_of, context, key=key, limit=limit)
    try:
        commits = await asyncio.to_thread(context.store.revisions, 1000)
    except Unavailable:
        commits = ()
    record, seen = context.loop.objects().get(key), context.loop.statuses().get(key)
    view = views.why_view(key, record, seen, steps, commits)
    return web.json_response(view if key != HOST else {**view, "result": None})  # it is no object


async def revisions(request: web.Request) -> web.Response:
    """The newest states of the source, and what became of each."""
    limit = whole(request, "limit", 20, least=1, most=1000) or 20
    found = await asyncio.to_thread(context_of(request).store.revisions, limit)
    return web.json_response([views.revision_view(revision) for revision in found])


# --- what would happen ----------------------------------------------------------------------------


async def plan(request: web.Request) -> web.Response:
    """What the loop would do at its next pass."""
    context = context_of(request)
    actions = context.loop.plan_now().actions
    return web.json_response(plan_view(actions, context.follower.view()))


async def plan_files(request: web.Request) -> web.Response:
    """What it would do if the source had these files: {"files": {path: base64}}."""
    context = context_of(request)
    files = _files_of(await json_of(request, state.Files))
    manifest = await context.read_files(files)
    errors = [problem_view(error) for error in manifest.errors]
    actions = context.loop.plan_now(manifest).actions
    return web.json_response(plan_view(actions, {"errors": errors}))


def plan_view(actions: tuple[Action, ...], source: Mapping[str, Any]) -> state.Plan:
    return {"actions": [action_view(action) for action in actions], "errors": list(source.get("errors", ()))}


def action_view(action: Action) -> state.Action:
    return {
        "key": str(action.key),
        "action": action.verb,
        "kind": action.kind,
        "replica": action.index,
        "detail": action.detail,
        "cause": action.cause.seen,
        "file": action.cause.file,
        "line": action.cause.line,
        "revision": action.cause.revision,
        "text": str(action),
    }


def _files_of(body: dict[str, Any]) -> dict[str, bytes]:
    files = body.get("files")
    if not isinstance(files, dict):
        raise Invalid("plan", "files", "not an object of path and base64")
    try:
        return {str(path): base64.b64decode(text, validate=True) for path, text in files.items()}
    except (TypeError, ValueError, binascii.Error):
        raise Invalid("plan", "files", "not base64") from None


# --- what happened --------------------------------------------------------------------------------


async def events(request: web.Request) -> web.StreamResponse:
    """What happened, oldest first; with ?follow=1 lines, and each event as it comes, until ?until=."""
    context = context_of(request)
    name = request.query.get("key")
    query: dict[str, Any] = {
        "key": views.resolve(name, context.keys(), context.loop.objects()) if name else None,
        "project": request.query.get("project") or None,
        "since": number(request, "since", most=MAX_MOMENT),
        "until": number(request, "until", most=MAX_MOMENT),
        "limit": whole(request, "limit", 100, least=0, most=10_000),
        "after_id": whole(request, "after_id"),
    }
    await context.loop.flush()  # what happened before the question is in the answer
    if not flag(request, "follow"):
        found = await asyncio.to_thread(lambda: events_of(context, **query))
        return web.json_response([views.event_view(event) for event in found])
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    async for event in _follow(context, query):
        await response.write(json.dumps(views.event_view(event)).encode() + b"\n")
    return response


async def _follow(context: Context, query: dict[str, Any]) -> AsyncIterator[EventRecord]:
    """The events there are, and each as it is committed: read from the store, so that none is missed,
    none comes twice, and a follower that does not read costs no memory."""
    loop = asyncio.get_running_loop()
    written = asyncio.Event()
    unsubscribe = context.store.subscribe(lambda _events: _call_soon(loop, written.set))
    try:
        after = context.store.last_event_id
        if query["after_id"] is None:
            found = await asyncio.to_thread(lambda: context.store.events(**{**query, "after_id": None}))
            for event in found:
                yield event
            after = max(after, found[-1].id) if found else after
        else:
            after = query["after_id"]
        while True:
            is_last = query["until"] is not None and time.time() > query["until"]
            if is_last:
                await context.loop.flush()  # what happened until then is stored now
            written.clear()
            more = {**query, "after_id": after, "limit": FOLLOW_AT_ONCE}
            found = await asyncio.to_thread(lambda more=more: context.store.events(**more))  # type: ignore[misc]
            for event in found:
                yield event
            if found:
                after = found[-1].id
            if len(found) < FOLLOW_AT_ONCE:
                if is_last:
                    return
                await _wait(written, query["until"])
    finally:
        unsubscribe()


async def _wait(written: asyncio.Event, until: float | None) -> None:
    """For the next event, and not past the end. The clock may be set meanwhile: it is looked at again."""
    left = None if until is None else min(LOOK_SECONDS, max(until - time.time(), 0.0) + TICK_SECONDS)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(written.wait(), left)


def _call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(callback)


# --- what operators ask ---------------------------------------------------------------------------


async def wait(request: web.Request) -> web.Response:
    """Until a key or all is ready, at most ?timeout= seconds: {"met": bool, "message": …}."""
    context = context_of(request)
    condition = choice(request, "for", ("ready", "healthy"), "ready")
    name = request.query.get("key", "")
    seconds = number(request, "timeout", 60.0, most=MAX_WAIT_SECONDS) or 0.0
    met = await context.wait_until(lambda: _is_met(context, condition, name), seconds)
    return web.json_response({"met": met, "message": "" if met else _unmet(context, name)})


def _is_met(context: Context, condition: str, name: str) -> bool:
    if not name:
        return context.is_ready
    try:
        key = views.resolve(name, context.keys(), context.loop.objects())
    except NotFound:  # it may be on its way
        return False
    status = context.loop.statuses().get(key)
    record = context.loop.objects().get(key)
    if status is None or (record is not None and record.observed_generation != record.generation):
        return False
    if condition == "healthy":
        return any(c.type == "Healthy" and c.status == "True" for c in status.conditions)
    return status.ready


def _unmet(context: Context, name: str) -> str:
    """The first thing that is not as waited for, in one sentence."""
    if not name:
        view = context.follower.view()
        if view.get("error"):
            return f"the source cannot be read: {view['error']}"
        if view.get("errors"):
            first = view["errors"][0]
            return f"{first['file']}:{first['line']}:{first['column']}: {first['message']}"
        late = [(k, s) for k, s in sorted(context.loop.statuses().items()) if not s.ready]
        if not late:
            return "not everything has been looked at yet"
        # What waits for another is no reason; the other is.
        key, status = next((item for item in late if not item[1].message.startswith("waits for ")), late[0])
        more = f" (and {len(late) - 1} more)" if len(late) > 1 else ""
        return f"{key} is {status.phase}: {status.message}{more}"
    try:
        key = views.resolve(name, context.keys(), context.loop.objects())
    except NotFound:
        return f"there is no {name}"
    found = context.loop.statuses().get(key)
    return f"{key} is {found.phase}: {found.message}" if found else f"{key} has not been looked at yet"


async def sync(request: web.Request) -> web.Response:
    """Look at the source now; with ?wait=1 answer when what it says is applied (?timeout= seconds)."""
    context, waits = context_of(request), flag(request, "wait")
    seconds = number(request, "timeout", 300.0, most=MAX_WAIT_SECONDS) or 0.0
    await context.follower.look_now()
    await context.loop.sync()
    if waits:
        # No time will mend an error in a manifest.
        await context.wait_until(lambda: context.is_ready or bool(context.follower.view()["errors"]), seconds)
    message = "" if context.is_ready else _unmet(context, "")
    return web.json_response({
        "revision": context.loop.revision,
        "ready": context.is_ready,
        "message": message,
        "source": context.follower.view(),
    })  # fmt: skip


async def restart(request: web.Request) -> web.Response:
    """Restart an object's containers; it ends waiting after failures, too."""
    key = key_of(request)
    await context_of(request).loop.restart(key)
    return web.json_response({"key": str(key)})


async def suspend(request: web.Request) -> web.Response:
    """Leave an object alone until it is resumed, manifests or not."""
    key = key_of(request)
    await context_of(request).loop.suspend(key)
    return web.json_response({"key": str(key)})


async def resume(request: web.Request) -> web.Response:
    """End a suspension, or an override."""
    key = key_of(request)
    await context_of(request).loop.resume(key)
    return web.json_response({"key": str(key)})


async def acknowledge_prune(request: web.Request) -> web.Response:
    """Yes to the mass prune of ?revision=, or of the present one."""
    loop = context_of(request).loop
    revision = request.query.get("revision") or loop.revision
    count = await loop.acknowledge_prune(revision)
    return web.json_response({"revision": revision, "objects": count})


async def stop(request: web.Request) -> web.Response:
    """End the agent; containers go on. The answer comes before the end."""
    context = context_of(request)
    asyncio.get_running_loop().call_later(0.05, context.stop)
    return web.json_response({"stopping": True})
