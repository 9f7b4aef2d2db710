"""What happened, from the event table."""

from __future__ import annotations

from aiohttp import web

from runtime.errors import Unsupported


async def events(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")
