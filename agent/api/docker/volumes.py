"""Volumes."""

from __future__ import annotations

from aiohttp import web

from runtime.errors import Unsupported


async def list_volumes(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def create(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def prune(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def inspect(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def update(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def remove(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")
