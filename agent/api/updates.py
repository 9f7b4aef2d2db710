"""The handler of `image update`: what is newer than the images that manifests name."""

from __future__ import annotations

from aiohttp import web

from agent.api.requests import context_of


async def updates(request: web.Request) -> web.Response:
    """What was found at the last look."""
    return web.json_response([found.view() for found in context_of(request).updates.found()])


async def look(request: web.Request) -> web.Response:
    """Ask the registries now."""
    return web.json_response([found.view() for found in await context_of(request).updates.look()])
