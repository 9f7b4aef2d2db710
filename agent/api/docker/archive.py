"""Files of containers, in and out, and what was changed of them."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiohttp import web

from agent.api.docker.answers import json_answer
from agent.api.docker.finding import find_container
from agent.api.requests import context_of
from runtime.errors import SetpointError, Unsupported

log = logging.getLogger("setpoint.api")

_KINDS = {"C": 0, "A": 1, "D": 2}


async def stat(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def get(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def put(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


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
    return await write_pieces(request, response, context.engine.files.export(state.id))


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
            log.warning("%s %s breaks off: %s", request.method, request.path, error)
            if request.transport is not None:
                request.transport.abort()
            return response
        if not response.prepared:
            await response.prepare(request)
    return response
