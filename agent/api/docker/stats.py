"""What containers use, and their processes."""

from __future__ import annotations

from aiohttp import web

from runtime.errors import Unsupported


async def stats(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def top(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")
