"""A container's own streams and terminal: attach, by an upgraded connection or a websocket, and resize."""

from __future__ import annotations

from aiohttp import web

from runtime.errors import Unsupported


async def attach(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def attach_websocket(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def resize(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")
