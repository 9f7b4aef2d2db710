"""Images out of archives: load, and import of a root file system. An archive is never in memory: it is
received into a file without a name, and read from there by a process that may take only so much.

A client that goes away before all of it came leaves nothing; from then on the work goes on without it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path

from aiohttp import web

from agent.api.context import Context
from agent.api.docker import image_events
from agent.api.docker.image_commit import changes_of
from agent.api.docker.image_names import new_name, read_name
from agent.api.docker.image_query import is_on
from agent.api.docker.json_lines import Report, Work, write_json_lines
from agent.api.docker.platforms import read_one, read_platform
from agent.api.docker.progress_lines import Line, LoadLines, NoLines, status
from agent.api.docker.wanted_images import wanted_names
from agent.api.requests import context_of
from agent.api.sockets.images import is_listed
from agent.api.unnamed_file import receive
from runtime.errors import Conflict, Invalid, SetpointError, Unsupported
from runtime.images.images import host_platform
from runtime.images.progress import NAMED, Progress
from runtime.images.reference import parse_reference
from runtime.model import ImageInfo

MAX_ARCHIVE_BYTES = 64 * 1024**3


async def load(request: web.Request) -> web.StreamResponse:
    """The body is the archive. A name that another image has moves to the new one, and that is told; but not
    one that a manifest runs, since whoever made the archive chose its names."""
    context = context_of(request)
    check_host(read_one(request.query.getall("platform", [])))
    quiet = is_on(request, "quiet", default=True)
    descriptor = await receive(request, context.settings.layout.data, "load image", MAX_ARCHIVE_BYTES)
    path = _path_of(descriptor)

    async def begin(report: Report) -> tuple[ImageInfo, ...]:
        named: list[str] = []

        def hear(progress: Progress) -> None:
            if progress.step == NAMED:
                named.append(progress.subject)
            report(progress)

        try:
            if not os.fstat(descriptor).st_size:
                raise Invalid("load image", "", "an empty archive")
            images = await asyncio.to_thread(
                context.engine.images.load, path, hear, moves_names=True, kept=frozenset(places)
            )
            _note_loaded(context, images, named)  # here: it is so, whether or not anybody listens still
            return tuple(images)
        except SetpointError as error:
            raise of_archive(error, path, places) from None
        finally:
            os.close(descriptor)

    places = {**_not_to_be_moved(request), **wanted_names(context)}
    lines = LoadLines(_ids_by_name(context), quiet=quiet)
    work = Work(request, lines, begin, goes_on=True)
    try:
        return await write_json_lines(request, _load(work, lines), begins=True)
    finally:
        if not work.has_begun:
            os.close(descriptor)


async def _load(work: Work[tuple[ImageInfo, ...]], lines: LoadLines) -> AsyncIterator[Line]:
    async for line in work.told():
        yield line
    for image in work.result:
        for line in lines.loaded(image.id, image.names):
            yield line


def _note_loaded(context: Context, images: Iterable[ImageInfo], named: Sequence[str]) -> None:
    for image in images:
        for name in [name for name in image.names if name in named] or [""]:
            image_events.note(context, image_events.LOADED, image.id, name)


def _ids_by_name(context: Context) -> dict[str, str]:
    """Familiar name -> image."""
    records = (record for record in context.engine.images.records() if record.name)
    return {read_name(record.name).familiar: record.image_id for record in records}


def check_host(platform: str) -> None:
    """Of an archive with several platforms this host's image is taken, and no other."""
    if platform and platform != str(host_platform()):
        raise Unsupported(
            "load image", platform, f"what is loaded here is for {host_platform()}", "pull it with --platform"
        )


def _not_to_be_moved(request: web.Request) -> dict[str, str]:
    """Names that are here and that the limits of a scoped socket do not have."""
    names = (record.name for record in context_of(request).engine.images.records())
    return {name: "" for name in names if name and not is_listed(request, name)}


def of_archive(error: SetpointError, path: Path, places: Mapping[str, str] | None = None) -> SetpointError:
    """The same, without a path that its client does not know. places: of names that may not move."""
    if str(path) in error.subject:
        error.subject = "the archive"
    if isinstance(error, Conflict) and places:
        place = places.get(parse_reference(error.subject).canonical, "a manifest")
        why = f"{place} runs it" if place else "it is not in the limits of this socket"
        reason = f"{why}, and the archive has another image of that name"
        return Conflict("load image", error.subject, reason, "setpoint image load --force")
    return error


def _path_of(descriptor: int) -> Path:
    return Path(f"/proc/{os.getpid()}/fd/{descriptor}")  # not /proc/self: a worker opens it


# --- import ---------------------------------------------------------------------------------------


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
    path = _path_of(descriptor)

    async def begin(report: Report) -> ImageInfo:
        try:
            image: ImageInfo = await asyncio.to_thread(
                lambda: context.engine.images.import_rootfs(
                    path, name, config, report, moves_names=True, platform=platform, comment=message
                )
            )
        except SetpointError as error:
            raise of_archive(error, path) from None
        finally:
            os.close(descriptor)
        if name:
            image_events.note(context, image_events.TAGGED, image.id, read_name(name).familiar)
        image_events.note(context, image_events.IMPORTED, image.id)
        return image

    work = Work(request, NoLines(), begin, goes_on=True)
    try:
        return await write_json_lines(request, _import(work))
    finally:
        if not work.has_begun:
            os.close(descriptor)


async def _import(work: Work[ImageInfo]) -> AsyncIterator[Line]:
    async for line in work.told():
        yield line
    yield status(work.result.id)
