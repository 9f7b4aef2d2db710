"""Images as an archive: `docker save`. Streamed, whatever its size."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiohttp import web

from agent.api.context import Context
from agent.api.docker import image_events
from agent.api.docker.image_finding import check_platform, find_image
from agent.api.docker.image_names import has_tag, read_name
from agent.api.docker.platforms import read_one
from agent.api.requests import context_of
from runtime.errors import Invalid, SetpointError
from runtime.images.reference import parse_reference

log = logging.getLogger("setpoint.api")

MAX_NAMES = 1000
_END: Any = object()


async def save(request: web.Request) -> web.StreamResponse:
    """?names=, several."""
    return await _save(request, request.query.getall("names", []))


async def save_one(request: web.Request) -> web.StreamResponse:
    return await _save(request, [request.match_info["name"]])


async def _save(request: web.Request, names: list[str]) -> web.StreamResponse:
    """With its length, so that a client knows an archive that was cut off from a whole one."""
    context, platform = context_of(request), read_one(request.query.getall("platform", []))
    if not 0 < len(names) <= MAX_NAMES:
        raise Invalid("", "", f"no names of images, or over {MAX_NAMES}")
    wanted = [each for name in names for each in _saved(context, name, platform)]
    archive = await asyncio.to_thread(context.engine.images.save, wanted, "docker-save")
    response = web.StreamResponse(headers={"Content-Type": "application/x-tar"})
    response.content_length = archive.size_bytes
    for name in wanted:  # as dockerd, before the first byte: with the last one a client goes on
        image_events.note(context, image_events.SAVED, find_image(context, name).info.id, name)
    await response.prepare(request)
    chunks = archive.chunks()
    try:
        while (chunk := await asyncio.to_thread(next, chunks, _END)) is not _END:
            await response.write(chunk)
    except SetpointError as error:  # a blob is damaged: nobody may take what was sent for an archive
        log.warning("saving %s: %s", ", ".join(names)[:300], error)
        if request.transport is not None:
            request.transport.abort()
    return response


def _saved(context: Context, name: str, platform: str) -> list[str]:
    """What the archive is to hold, as the store calls it. A name without a tag means all of its repository;
    an id means an image without a name."""
    for each in (found := [] if has_tag(name) else _of_repository(context, name)) or [name]:
        image = find_image(context, each)
        check_platform(image, platform)
    return found or [image.name or image.info.id]


def _of_repository(context: Context, name: str) -> list[str]:
    try:
        repository = parse_reference(name).repository
    except Invalid:
        return []  # the digits of an id
    named = (
        (record.name, read_name(record.name)) for record in context.engine.images.records() if record.name
    )
    return sorted(name for name, ref in named if ref.repository == repository and not ref.digest)
