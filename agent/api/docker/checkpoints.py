"""Checkpoints of running containers, which need CRIU."""

from __future__ import annotations

from aiohttp import web

from runtime.errors import Unsupported


async def list_checkpoints(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def create(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def delete(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")
