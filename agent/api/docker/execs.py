"""Further processes in running containers: made, started, resized, shown."""

from __future__ import annotations

from aiohttp import web

from runtime.errors import Unsupported


async def create(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def start(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def resize(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def inspect(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")
