"""Images that are here: listed, shown, named, removed, made of containers."""

from __future__ import annotations

from aiohttp import web

from runtime.errors import Unsupported


async def list_images(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def inspect(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def history(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def tag(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def remove(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def prune(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def commit(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")
