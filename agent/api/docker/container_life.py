"""Containers' lives: start, stop, restart, kill, pause, unpause, wait."""

from __future__ import annotations

from aiohttp import web

from runtime.errors import Unsupported


async def start(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def stop(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def restart(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def kill(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def pause(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def unpause(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def wait(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")
