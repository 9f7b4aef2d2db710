"""Builds of Dockerfiles."""

from __future__ import annotations

from aiohttp import web

from runtime.errors import Unsupported


async def build(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def prune(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def cancel(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def session(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def grpc(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")
