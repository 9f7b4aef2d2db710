"""The handlers of `system df` and `system prune`, and of leases on images. They parse, ask, and show."""

from __future__ import annotations

import time
from typing import Any

from aiohttp import web

from agent.api.context import Context
from agent.api.requests import context_of, flag, number
from agent.images.disk_use import COUNT_SECONDS, InstanceUse
from agent.images.keeper import MAX_LEASE_SECONDS, lease_view
from agent.images.prune import Prune, Wishes
from runtime.errors import Invalid

MAX_COUNT_SECONDS = 600.0
MAX_UNTIL_SECONDS = 1e9


async def disk_use(request: web.Request) -> web.Response:
    """What the instance takes on disk, by kind. ?seconds= for counting trees (2)."""
    context = context_of(request)
    seconds = number(request, "seconds", COUNT_SECONDS, most=MAX_COUNT_SECONDS) or 0.0
    if context.instance_use is None:
        context.instance_use = InstanceUse(context.engine, context.images, context.settings.layout)
    use: InstanceUse = context.instance_use
    return web.json_response(await use.look(seconds))


async def plan_prune(request: web.Request) -> web.Response:
    """What a prune would take, and why the rest would stay."""
    context = context_of(request)
    things = await _prune(context).plan(_wishes(request), _wanted(context), time.time())
    return web.json_response(_view(things))


async def prune(request: web.Request) -> web.Response:
    """Take what a prune's plan says."""
    context = context_of(request)
    things = await _prune(context).apply(_wishes(request), _wanted(context), time.time())
    return web.json_response(_view(things))


def _prune(context: Context) -> Prune:
    return Prune(context.engine, context.images, context.settings.layout)


def _wishes(request: web.Request) -> Wishes:
    until = number(request, "until", 0.0, most=MAX_UNTIL_SECONDS) or 0.0
    return Wishes(flag(request, "all"), until, flag(request, "volumes"))


def _wanted(context: Context) -> set[str]:
    return {str(key) for key in context.loop.objects()}


def _view(things: Any) -> dict[str, Any]:
    return {
        "things": [thing.view() for thing in things],
        "bytes": sum(thing.bytes for thing in things if thing.goes),
    }


# --- leases ---------------------------------------------------------------------------------------


async def leases(request: web.Request) -> web.Response:
    """The leases that are not over."""
    return web.json_response([lease_view(record) for record in context_of(request).images.leases()])


async def hold_image(request: web.Request) -> web.Response:
    """Keep the image ?reference= for ?seconds=, whoever else needs it; ?id= makes a lease longer. ?owner= is
    who asks, for people."""
    reference, seconds = request.query.get("reference", ""), _lease_seconds(request)
    if not reference or seconds is None:
        raise Invalid("hold image", reference, "it needs a reference and seconds")
    owner = request.query.get("owner", "") or "a client"
    keeper = context_of(request).images
    record = await keeper.lease(reference, seconds, owner, request.query.get("id", ""))
    return web.json_response(lease_view(record))


def _lease_seconds(request: web.Request) -> float | None:
    return number(request, "seconds", least=1.0, most=MAX_LEASE_SECONDS)


async def release_image(request: web.Request) -> web.Response:
    """End the lease ?id=."""
    id = request.query.get("id", "")
    await context_of(request).images.release(id)
    return web.json_response({"released": id})
