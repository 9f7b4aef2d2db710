"""The handler of `image update`: what is newer than the images that manifests name."""

from __future__ import annotations

from aiohttp import web

from agent.api.requests import context_of


async def updates(request: web.Request) -> web.Response:
    """What was found newer, at the last look, than the images that manifests name."""
    return web.json_response([found.view() for found in context_of(request).updates.found()])


async def look(request: web.Request) -> web.Response:
    """Ask the registries now for what is newer than the images that manifests name."""
    return web.json_response([found.view() for found in await context_of(request).updates.look()])
