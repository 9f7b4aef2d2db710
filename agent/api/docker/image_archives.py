"""Images as archives: save, load, and import of a root file system. An archive is never in memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from agent.api.context import Context
from agent.api.docker import image_events
from agent.api.docker.image_commit import changes_of
from agent.api.docker.image_finding import check_platform, find_image
from agent.api.docker.image_names import has_tag, new_name, read_name
from agent.api.docker.image_query import is_on
from agent.api.docker.json_lines import Report, Work, log, write_json_lines
from agent.api.docker.platforms import read_one, read_platform
from agent.api.docker.progress_lines import Line, LoadLines, NoLines, status
from agent.api.requests import context_of
from agent.api.unnamed_file import receive
from runtime.errors import Invalid, NotFound, SetpointError, Unsupported
from runtime.model import ImageInfo

MAX_ARCHIVE_BYTES = 64 * 1024**3
MAX_NAMES = 1000
_END: Any = object()


# --- out ------------------------------------------------------------------------------------------


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
    archive = await asyncio.to_thread(context.engine.images.save, wanted, "docker-archive")
    response = web.StreamResponse(headers={"Content-Type": "application/x-tar"})
    response.content_length = archive.size_bytes
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
    for name in names:
        image_events.note(context, image_events.SAVED, find_image(context, wanted[0]).info.id, name)
    return response


def _saved(context: Context, name: str, platform: str) -> list[str]:
    """A name without a tag means all of its repository; an id means an image without a name."""
    if not has_tag(name):
        repository = read_name(name).repository
        named = sorted(record.name for record in context.engine.images.records() if record.name)
        found = [
            each for each in named if (ref := read_name(each)).repository == repository and not ref.digest
        ]
        if found:
            return found
    image = find_image(context, name)
    check_platform(image, platform)
    return [image.name or image.info.id]


# --- in -------------------------------------------------------------------------------------------


async def load(request: web.Request) -> web.StreamResponse:
    """The body is the archive. A name that another image has moves to the new one, and that is told."""
    context = context_of(request)
    platform = read_one(request.query.getall("platform", []))
    quiet = is_on(request, "quiet", default=True)
    descriptor = await receive(request, context.settings.layout.data, "load image", MAX_ARCHIVE_BYTES)
    return await write_json_lines(request, _load(request, context, descriptor, platform, quiet=quiet))


async def _load(
    request: web.Request, context: Context, descriptor: int, platform: str, *, quiet: bool
) -> AsyncIterator[Line]:
    path = Path(f"/proc/{os.getpid()}/fd/{descriptor}")  # not /proc/self: a worker opens it
    before = _ids_by_name(context)

    async def begin(report: Report) -> tuple[ImageInfo, ...]:
        try:
            if not os.fstat(descriptor).st_size:
                raise Invalid("load image", "", "an empty archive")
            return tuple(await asyncio.to_thread(context.engine.images.load, path, report, moves_names=True))
        finally:
            os.close(descriptor)

    work = Work(request, NoLines() if quiet else LoadLines(), begin, goes_on=True)
    async for line in work.told():
        yield line
    for image in work.result:
        check_loaded(image, platform)
        for line in loaded_lines(image, before):
            yield line
        for name in image.names or ("",):
            image_events.note(context, image_events.LOADED, image.id, name)


def _ids_by_name(context: Context) -> dict[str, str]:
    """Familiar name -> image."""
    records = (record for record in context.engine.images.records() if record.name)
    return {read_name(record.name).familiar: record.image_id for record in records}


def check_loaded(image: ImageInfo, platform: str) -> None:
    if platform and not f"{platform}/".startswith(f"{image.os}/{image.architecture}/"):
        raise NotFound("", "", f"the archive has no image for {platform}, but for {image.architecture}")


def loaded_lines(image: ImageInfo, before: Mapping[str, str]) -> list[Line]:
    """The names that it got by this; all that it has when it had them before."""
    names = [name for name in image.names if before.get(name) != image.id] or list(image.names)
    lines = []
    for name in names:
        old = before.get(name, image.id)
        if old != image.id:
            lines.append(
                f"The image {name} already exists, renaming the old one with ID {old} to empty string"
            )
        lines.append(f"Loaded image: {name}")
    return [{"stream": f"{text}\n"} for text in lines or [f"Loaded image ID: {image.id}"]]


async def import_image(request: web.Request) -> web.StreamResponse:
    """?fromSrc=- : the body is the tar of a root file system. ?repo= ?tag= ?message= ?changes= ?platform="""
    from runtime.images.config_changes import changed

    context, query = context_of(request), request.query
    if query.get("fromSrc", "") != "-":
        raise Unsupported(
            "import image", query.get("fromSrc", "")[:200], "this engine fetches no archives",
            "fetch it yourself, and send it: curl … | docker import -",
        )  # fmt: skip
    name = new_name(query.get("repo", ""), query.get("tag", ""))
    config = changed({}, changes_of(query.getall("changes", [])))
    platform = read_platform(query.get("platform", ""))
    message = query.get("message", "") or "Imported from -"
    if name:
        context.loop.check_image("import image", name)
    descriptor = await receive(request, context.settings.layout.data, "import image", MAX_ARCHIVE_BYTES)
    path = Path(f"/proc/{os.getpid()}/fd/{descriptor}")

    async def begin(report: Report) -> ImageInfo:
        try:
            return await asyncio.to_thread(
                lambda: context.engine.images.import_rootfs(
                    path, name, config, report, moves_names=True, platform=platform, comment=message
                )
            )
        finally:
            os.close(descriptor)

    async def lines() -> AsyncIterator[Line]:
        work = Work(request, NoLines(), begin, goes_on=True)
        async for line in work.told():
            yield line
        image_events.note(context, image_events.IMPORTED, work.result.id, name)
        yield status(work.result.id)

    return await write_json_lines(request, lines())
