"""What containers use, and their processes: streams and looks; nothing is changed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from aiohttp import web

from agent.api.at_once import at_once_or
from agent.api.docker import process_table
from agent.api.docker.answers import json_answer
from agent.api.docker.events import note_container
from agent.api.docker.finding import find_container
from agent.api.docker.query_words import truth
from agent.api.docker.samples import Samples
from agent.api.docker.stats_view import stats_view
from agent.api.requests import context_of
from runtime.errors import Conflict, Invalid
from runtime.model import ContainerState


async def _follow(request: web.Request) -> web.StreamResponse:
    state = find_container(context_of(request), request.match_info["id"])
    if truth(request.query, "stream", default=True):
        return await _stream(request, state)
    return json_answer(await _second(request, state))


@at_once_or(_follow)
def stats(request: web.Request) -> web.Response | None:
    """A line of JSON a second, until the container is deleted. `stream=0`: one, with the sample before it, so
    that a second is waited for; `one-shot=1`: without."""
    state = find_container(context_of(request), request.match_info["id"])
    if not truth(request.query, "one-shot"):
        return None
    if truth(request.query, "stream", default=True):
        raise Invalid("", "", "cannot have stream=true and one-shot=true")
    return json_answer(stats_view(state.id, state.name, _samples(request).once(state.id)))


def _samples(request: web.Request) -> Samples:
    """Made when somebody first asks."""
    context = context_of(request)
    if context.samples is None:
        context.samples = Samples(context.engine)
    samples: Samples = context.samples
    return samples


async def _second(request: web.Request, state: ContainerState) -> dict[str, Any]:
    async with contextlib.aclosing(_samples(request).follow(state.id)) as pairs:
        async for before, now in pairs:
            if now is None or before is not None:
                return stats_view(state.id, state.name, now, before)
    return stats_view(state.id, state.name, None)  # it was deleted meanwhile


async def _stream(request: web.Request, state: ContainerState) -> web.StreamResponse:
    context, response = context_of(request), web.StreamResponse()
    response.content_type = "application/json"
    await response.prepare(request)
    async with contextlib.aclosing(_samples(request).follow(state.id)) as pairs:
        async for before, now in pairs:
            named = context.engine.state(state.id) or state  # it may be renamed
            view = stats_view(state.id, named.name, now, before)
            await response.write(json.dumps(view, separators=(",", ":")).encode() + b"\n")
    return response


async def top(request: web.Request) -> web.StreamResponse:
    """The processes as `ps` would list them, computed here: no program is run."""
    context = context_of(request)
    state = find_container(context, request.match_info["id"])
    columns = process_table.columns_of(request.query.get("ps_args", "") or process_table.DEFAULT)
    if state.phase not in ("running", "paused"):
        raise Conflict("", "", f"container {state.id} is not running")
    rows = await asyncio.to_thread(process_table.rows, columns, context.engine.top(state.id))
    note_container(context, state, "top")
    return json_answer({"Titles": [column.title for column in columns], "Processes": rows})
