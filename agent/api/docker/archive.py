"""Files of containers, in and out, and what was changed of them."""

from __future__ import annotations

from aiohttp import web

from runtime.errors import Unsupported


async def stat(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def get(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def put(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def changes(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def export(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")
