"""GET /system/df: what images, containers, volumes and the cache of builds take on the disk.

Two shapes: since 1.52 sums, and items for who asks; before, the items alone, which clients add up. Who takes
the newest version unseen, and knows the older shape, finds that too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from aiohttp import web

from agent.api.context import Context
from agent.api.docker import container_view, images
from agent.api.docker.answers import json_answer
from agent.api.docker.build_cache import size_of
from agent.api.docker.image_filters import list_wish
from agent.api.docker.looking import look_at, networks_by_name, volume_paths
from agent.api.docker.query_words import truth
from agent.api.docker.stamps import rfc3339
from agent.api.docker.versions import NEWEST, parsed
from agent.api.docker.volume_view import volume
from agent.api.requests import context_of
from agent.images.disk_use import InstanceUse
from runtime.errors import Invalid
from runtime.images.build.cache import CachedStep

TYPES = ("container", "image", "volume", "build-cache")
WITH_TYPES, WITH_SUMS = (1, 42), (1, 52)
Version = tuple[int, int]
Part = dict[str, Any]


async def disk_use(request: web.Request) -> web.StreamResponse:
    """?type= which of them, all by default; ?verbose= with items, since 1.52."""
    context = context_of(request)
    version = parsed(request.match_info.get("version") or NEWEST)
    wanted = _types(request, version)
    if context.instance_use is None:
        context.instance_use = InstanceUse(context.engine, context.images, context.settings.layout)
    use = await context.instance_use.look()
    look: dict[str, Callable[[], Coroutine[Any, Any, Part]]] = {
        "image": lambda: _images(context, use, version),
        "container": lambda: _containers(context, use),
        "volume": lambda: _volumes(context, use),
        "build-cache": lambda: _cache(context),
    }
    parts = {kind: await look[kind]() for kind in TYPES if kind in wanted}
    if version < WITH_SUMS:
        return json_answer(older(parts))
    is_verbose = truth(request.query, "verbose")
    before = {} if is_verbose else {name: value for name, value in older(parts).items() if value is not None}
    return json_answer({**before, **sums(parts, with_items=is_verbose)})


def _types(request: web.Request, version: Version) -> tuple[str, ...]:
    asked = tuple(request.query.getall("type", ())) if version >= WITH_TYPES else ()
    for kind in asked:
        if kind not in TYPES:
            raise Invalid("", "", f"unknown object type: {kind[:40]}")
    return asked or TYPES


def sums(parts: dict[str, Part], *, with_items: bool) -> dict[str, Part]:
    """Pure. The shape since 1.52."""
    names = {"image": "ImageUsage", "container": "ContainerUsage", "volume": "VolumeUsage"}
    return {
        names.get(kind, "BuildCacheUsage"): {
            name: value for name, value in part.items() if with_items or name != "Items"
        }
        for kind, part in parts.items()
    }


def older(parts: dict[str, Part]) -> dict[str, Any]:
    """Pure. The shape before; null is what was not asked for."""
    names = {"image": "Images", "container": "Containers", "volume": "Volumes", "build-cache": "BuildCache"}
    found = {name: parts[kind]["Items"] if kind in parts else None for kind, name in names.items()}
    return {"LayersSize": parts["image"]["TotalSize"] if "image" in parts else 0, **found, "BuilderSize": 0}


def _part(items: list[Part], active: int, size: int, reclaimable: int) -> Part:
    return {
        "ActiveCount": active,
        "TotalCount": len(items),
        "Reclaimable": reclaimable,
        "TotalSize": size,
        "Items": items,
    }


async def _images(context: Context, use: Part, version: Version) -> Part:
    states = context.engine.list()
    users: dict[str, list[str]] = {}
    for state in states:
        users.setdefault(state.image, []).append(state.id)
    wish = list_wish({}, lambda _name: 0.0, time.time())
    asked = images.AskedList(
        context.engine.images.records(), wish, users, max(version, (1, 51)),
        wants_shared=True, wants_manifests=False,
    )  # fmt: skip
    rows = await asyncio.to_thread(images.rows, context, asked)
    found = use["images"]
    return _part(
        rows, sum(row["Containers"] > 0 for row in rows), found["layer_bytes"], found["reclaimable_bytes"]
    )


async def _containers(context: Context, use: Part) -> Part:
    written = {item["id"]: item["bytes"] for item in use["containers"]["items"]}
    now, paths, networks = time.time(), volume_paths(context), networks_by_name(context)
    items, size, reclaimable, active = [], 0, 0, 0
    for state in context.engine.list():
        own = written.get(state.id, 0)
        image = context.engine.image(state.image) if state.image else None
        root = own + (image.size_bytes if image else 0)
        view = container_view.summary(look_at(context, state, networks), now, paths)
        items.append({**view, "SizeRw": own, "SizeRootFs": root})
        is_live = state.phase in ("running", "paused")
        size, active, reclaimable = size + own, active + is_live, reclaimable + (0 if is_live else own)
    return _part(items, active, size, reclaimable)


async def _volumes(context: Context, use: Part) -> Part:
    sizes = {item["name"]: item["bytes"] for item in use["volumes"]["items"]}
    holders = context.engine.volume_holders()
    items = [
        {
            **volume(state),
            "UsageData": {"Size": sizes.get(state.name, 0), "RefCount": len(holders.get(state.name, ()))},
        }
        for state in context.engine.list_volumes()
        if not state.options  # what they have mounted lies elsewhere: dockerd leaves them out, too
    ]
    free = [item["UsageData"]["Size"] for item in items if not item["UsageData"]["RefCount"]]
    return _part(items, len(items) - len(free), sum(sizes.values()), sum(free))


async def _cache(context: Context) -> Part:
    steps: tuple[CachedStep, ...] = tuple(await asyncio.to_thread(context.engine.images.build_steps))
    items = [step_view(step) for step in steps]
    size = sum(item["Size"] for item in items)
    return _part(items, 0, size, size)


def step_view(step: CachedStep) -> Part:
    """Pure. It is known when a step was needed last, and not when it was made."""
    at = rfc3339(step.used_at)
    return {
        "ID": step.key,
        "Type": "regular",
        "Description": "",
        "InUse": False,
        "Shared": False,
        "Size": size_of(step),
        "CreatedAt": at,
        "LastUsedAt": at,
        "UsageCount": 1,
    }
