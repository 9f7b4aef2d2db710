"""Plugins, and what only a swarm has: the answers of a stand-alone engine."""

from __future__ import annotations

from aiohttp import web

from runtime.errors import Unsupported


async def list_plugins(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def plugin_privileges(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def pull_plugin(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def create_plugin(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def no_plugin(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")


async def no_swarm(request: web.Request) -> web.StreamResponse:
    raise Unsupported("answer", request.path, "not there yet")
