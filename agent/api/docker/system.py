"""What this engine is, and how full its disk."""

from __future__ import annotations

from aiohttp import web

from runtime.errors import Unsupported


async def ping(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def info(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def version(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def disk_use(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")
