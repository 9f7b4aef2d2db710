"""Files of containers, in and out, and what was changed of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager

from aiohttp import web

from agent.api import guards
from agent.api.at_once import begun_at_once
from agent.api.context import Context
from agent.api.docker import path_stat
from agent.api.docker.answers import json_answer
from agent.api.docker.events import note_container
from agent.api.docker.finding import find_container
from agent.api.docker.pouring import available, can_pour, pour
from agent.api.docker.query_words import truth
from agent.api.lent_body import incoming
from agent.api.requests import context_of
from runtime.copies.lines import Given
from runtime.errors import Invalid, NotFound, SetpointError
from runtime.model import ContainerState

log = logging.getLogger("setpoint.api")

_KINDS = {"C": 0, "A": 1, "D": 2}


async def stat(request: web.Request) -> web.StreamResponse:
    """The header alone."""
    context, state, path = _asked(request)
    with _worded(request, path):
        found = await context.engine.copies.stat(state.id, path)
    return web.Response(headers={path_stat.HEADER: path_stat.header_of(found)})


async def get(request: web.Request) -> web.StreamResponse:
    """The tar of what the path names."""
    context, state, path = _asked(request)
    with _worded(request, path):
        async with context.engine.copies.get(state.id, path) as (found, given):
            note_container(context, state, "archive-path")
            headers = {"Content-Type": "application/x-tar", path_stat.HEADER: path_stat.header_of(found)}
            return await _give(request, web.StreamResponse(headers=headers), given)


async def _give(request: web.Request, response: web.StreamResponse, given: Given) -> web.StreamResponse:
    if not can_pour(request) or not await available(given.pipe):
        return await write_pieces(request, response, given.pieces())
    await response.prepare(request)
    await pour(request, given.pipe)
    try:
        await given.end()
    except SetpointError as error:
        _break_off(request, error)
    return response


@begun_at_once
async def put(request: web.Request) -> web.StreamResponse:
    """Unpack the body into a directory. copyUIDGID: all of it belongs to the container's user."""
    context, state, path = _asked(request)
    if state.phase != "running":
        await asyncio.sleep(0)  # its root may be waited for, which asks for the task
    owner = ""
    if truth(request.query, "copyUIDGID"):
        owner = context.engine.user_of(state.id)
    with _worded(request, path), incoming(request, guards.SILENCE_SECONDS) as body:
        await context.engine.copies.put(
            state.id,
            path,
            body,
            keeps_kinds=truth(request.query, "noOverwriteDirNonDir"),
            owner=owner,
        )
    note_container(context, state, "extract-to-dir")
    return web.Response()


def _asked(request: web.Request) -> tuple[Context, ContainerState, str]:
    context, path = context_of(request), request.query.get("path", "")
    if not path:
        raise Invalid("", "", "missing form value: path")
    return context, find_container(context, request.match_info["id"]), path


@contextmanager
def _worded(request: web.Request, path: str) -> Iterator[None]:
    """A path that leads nowhere, in the daemon's words: clients look for them."""
    try:
        yield
    except NotFound as error:
        if error.op != "find file":
            raise
        name = request.match_info["id"]
        raise NotFound("", "", f"Could not find the file {path[:400]} in container {name[:128]}") from None


async def changes(request: web.Request) -> web.StreamResponse:
    """Of its image's files."""
    context = context_of(request)
    state = find_container(context, request.match_info["id"])
    found = await context.engine.files.changes(state.id)
    return json_answer([{"Path": path, "Kind": _KINDS[kind]} for kind, path in found])


async def export(request: web.Request) -> web.StreamResponse:
    """The tar of its root, without its mounts."""
    context = context_of(request)
    state = find_container(context, request.match_info["id"])
    response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
    async with context.engine.files.exporting(state.id) as given:
        note_container(context, state, "export")
        return await _give(request, response, given)


async def write_pieces(
    request: web.Request, response: web.StreamResponse, pieces: AsyncGenerator[bytes, None]
) -> web.StreamResponse:
    """An error before the first piece is an answer of its own. One that comes later breaks the connection
    off: with a proper end, what was sent so far would pass for a whole archive."""
    async with aclosing(pieces):
        try:
            async for piece in pieces:
                if not response.prepared:
                    await response.prepare(request)
                await response.write(piece)
        except SetpointError as error:
            if not response.prepared:
                raise
            _break_off(request, error)
            return response
        if not response.prepared:
            await response.prepare(request)
    return response


def _break_off(request: web.Request, error: SetpointError) -> None:
    log.warning("%s %s breaks off: %s", request.method, request.path, error)
    if request.transport is not None:
        request.transport.abort()
