"""The handlers whose answer is a stream: logs, exec, archives on their way in, the way down.

Logs and exec are frames (see `agent.wire`), the others lines of JSON, of which the last says how it
ended: {"error": …} as in any other answer, since the status code is long sent.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from agent.api import errors
from agent.api.context import Context
from agent.api.logs import Framer, LogSource, follow_all, read_all
from agent.api.pieces import write_pieces
from agent.api.requests import MAX_MOMENT, context_of, flag, is_root, key_of, number, whole
from agent.api.things import containers_of
from agent.api.unnamed_file import receive
from agent.api.upgrade import FRAME
from agent.down import remove_everything
from agent.reconcile.convert import LABEL_KEY
from agent.wire import ERROR
from runtime.errors import Invalid, NotFound, SetpointError
from runtime.logs import LogQuery
from runtime.model import ContainerState, ImageInfo
from store.records import Batch, Key

log = logging.getLogger("setpoint.api")

LINES_AT_ONCE = 512
ENDED = frozenset({"Stalled", "Failed", "Completed", "Stopped", "Suspended", "Removing"})
MAX_ARCHIVE_BYTES = 64 * 1024**3
PROGRESS_QUEUE = 1000
DOWN_SECONDS = 120.0


# --- logs -----------------------------------------------------------------------------------------


async def logs(request: web.Request) -> web.StreamResponse:
    """What the containers of an object, or of all of a project, print, in the order of their times."""
    context, replica = context_of(request), whole(request, "replica", least=1)
    states = [state for key in _logged(request) for state in containers_of(context, str(key), replica)]
    if not states:
        name = request.match_info["key"]
        raise NotFound("read logs", name, "it has no container", "setpoint describe tells why")
    wants_prefix = flag(request, "prefix")
    sources = [_log_source(context, state, with_prefix=wants_prefix) for state in states]
    query = LogQuery(
        since=number(request, "since", most=MAX_MOMENT),
        until=number(request, "until", most=MAX_MOMENT),
        tail=whole(request, "tail"),
    )
    framer, follows = Framer(timestamps=flag(request, "timestamps")), flag(request, "follow")
    response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
    await response.prepare(request)
    try:
        if follows:
            async for batch in follow_all(sources, query):
                await _write_frames(response, framer.frames(batch))
        else:
            lines = read_all(sources, query)
            while batch := await asyncio.to_thread(lambda: list(itertools.islice(lines, LINES_AT_ONCE))):
                await _write_frames(response, framer.frames(batch))
    except (SetpointError, OSError) as error:
        if not isinstance(error, ConnectionError):
            await _write_frames(response, [(ERROR, json.dumps(errors.to_json(error)).encode())])
    return response


def _logged(request: web.Request) -> list[Key]:
    """The object that the path names, or every container of the project."""
    name, keys = request.match_info["key"].strip("/"), context_of(request).keys()
    return [key for key in keys if key.project == name and key.kind == "container"] or [key_of(request)]


def _log_source(context: Context, state: ContainerState, *, with_prefix: bool) -> LogSource:
    engine, id = context.engine, state.id

    def is_running() -> bool:
        now = engine.state(id)
        return now is not None and (now.phase in ("running", "paused") or _starts_again(context, now))

    directory = engine.log_directory(id)
    return LogSource(directory, f"{state.name} | ".encode() if with_prefix else b"", is_running)


def _starts_again(context: Context, state: ContainerState) -> bool:
    """It ended, and is to run: who follows its log sees the next run in the same stream. An end that has
    not been looked at yet still has the phase of before."""
    try:
        status = context.loop.statuses().get(Key.parse(state.labels.get(LABEL_KEY, "")))
    except ValueError:
        return False
    return status is not None and status.phase not in ENDED


async def _write_frames(response: web.StreamResponse, frames: list[tuple[int, bytes]]) -> None:
    for stream, content in frames:
        await response.write(FRAME.pack(stream, len(content)) + content)


# --- lines of JSON --------------------------------------------------------------------------------


async def write_lines(request: web.Request, lines: AsyncIterator[dict[str, Any]]) -> web.StreamResponse:
    """Answer with the lines as they come; an error before the first is an answer of its own."""
    return await write_pieces(request, "application/x-ndjson", lines, _packed, _told)


def _told(error: Exception) -> bytes:
    return _packed({"error": errors.to_json(error)})


def _packed(line: dict[str, Any]) -> bytes:
    return json.dumps(line).encode() + b"\n"


# --- images ---------------------------------------------------------------------------------------


async def load_image(request: web.Request) -> web.StreamResponse:
    """Take images from an archive. The body is the archive, or ?path= names it on this host (root only).
    ?force=1: a name that another image has moves to the new one."""
    context, moves = context_of(request), flag(request, "force")

    def load(path: Path, report: Callable[[Any], None]) -> tuple[ImageInfo, ...]:
        return tuple(context.engine.images.load(path, report, moves_names=moves))

    return await _take_archive(request, load)


async def import_image(request: web.Request) -> web.StreamResponse:
    """Make an image of the tar of a root file system, sent as for load. ?name= is the image's, ?changes= a
    JSON list of instructions that make its config."""
    context, name = context_of(request), request.query.get("name", "")
    if not name:
        raise Invalid("import image", "", "no name for it")
    context.loop.check_image("import image", name)
    config, moves = _changed(request), flag(request, "force")

    def load(path: Path, report: Callable[[Any], None]) -> tuple[ImageInfo, ...]:
        return (context.engine.images.import_rootfs(path, name, config, report, moves_names=moves),)

    return await _take_archive(request, load)


def _changed(request: web.Request) -> dict[str, Any]:
    """The config that ?changes= make."""
    from runtime.images.config_changes import changed

    try:
        changes = json.loads(request.query.get("changes", "[]"))
    except ValueError:
        changes = None
    if not isinstance(changes, list) or not all(isinstance(change, str) for change in changes):
        raise Invalid("import image", "", "changes is no JSON list of instructions")
    return changed({}, changes)


Load = Callable[[Path, Callable[[Any], None]], tuple[ImageInfo, ...]]


async def _take_archive(request: web.Request, load: Load) -> web.StreamResponse:
    context, given = context_of(request), request.query.get("path")
    if given is None:
        directory = context.settings.layout.data
        descriptor = await receive(request, directory, "load image", MAX_ARCHIVE_BYTES)
        if not os.fstat(descriptor).st_size:
            os.close(descriptor)
            raise Invalid("load image", "", "an empty archive")
        path = Path(f"/proc/{os.getpid()}/fd/{descriptor}")  # not /proc/self: a worker opens it
        lines = _start_load(context, path, load, lambda: os.close(descriptor))
        return await write_lines(request, lines)
    if not is_root(request):
        raise Invalid("load image", given, "only root may name a path", "send the archive itself")
    if not os.path.isabs(given):  # noqa: PTH117
        raise Invalid("load image", given, "not an absolute path")
    return await write_lines(request, _start_load(context, Path(given), load, lambda: None))


def _start_load(
    context: Context, path: Path, load: Load, end: Callable[[], None]
) -> AsyncIterator[dict[str, Any]]:
    """Begin the work, in a thread: a client that goes away stops hearing of it, and it goes on."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    def report(progress: Any) -> None:
        if queue.qsize() < PROGRESS_QUEUE:
            loop.call_soon_threadsafe(queue.put_nowait, progress_view(progress))

    return follow(context, asyncio.ensure_future(asyncio.to_thread(load, path, report)), queue, end)


def follow(
    context: Context,
    work: asyncio.Task[tuple[ImageInfo, ...]],
    queue: asyncio.Queue[dict[str, Any] | None],
    end: Callable[[], None],
) -> AsyncIterator[dict[str, Any]]:
    """What comes into the queue while the work lasts, then the images that it made. end: called with it."""

    def finish(work: asyncio.Task[tuple[ImageInfo, ...]]) -> None:
        context.streams.discard(work)
        end()
        if not work.cancelled() and work.exception() is None:
            context.loop.image_changed()
        queue.put_nowait(None)

    context.streams.add(work)
    work.add_done_callback(finish)
    return _follow_load(work, queue)


async def _follow_load(
    work: asyncio.Task[tuple[ImageInfo, ...]], queue: asyncio.Queue[dict[str, Any] | None]
) -> AsyncIterator[dict[str, Any]]:
    """Progress, then {"images": [...]}."""
    while (line := await queue.get()) is not None:
        yield line
    images = await asyncio.shield(work)
    yield {"images": [{"id": image.id, "names": list(image.names)} for image in images]}


def progress_view(progress: Any) -> dict[str, Any]:
    return {name: getattr(progress, name) for name in progress.__dataclass_fields__}


# --- down -----------------------------------------------------------------------------------------


async def down(request: web.Request) -> web.StreamResponse:
    """Remove what the instance runs, and end the agent. In the order that dependencies ask for, then what
    nobody wanted (with ?volumes=1 volumes too). ?timeout= seconds for the orderly part."""
    context = context_of(request)
    seconds = number(request, "timeout", DOWN_SECONDS, most=86400.0) or DOWN_SECONDS
    return await write_lines(request, _down(context, seconds, with_volumes=flag(request, "volumes")))


async def _down(context: Context, seconds: float, *, with_volumes: bool) -> AsyncIterator[dict[str, Any]]:
    before = set(context.loop.objects())
    work = asyncio.ensure_future(asyncio.wait_for(context.loop.down(), seconds))
    context.streams.add(work)
    try:
        while not work.done():
            changed = asyncio.ensure_future(context.loop.wait_changed())
            await asyncio.wait({work, changed}, return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
            left = set(context.loop.objects())
            for key in sorted(before - left):
                yield {"removed": str(key)}
            before = left
        if isinstance(work.exception(), TimeoutError):
            log.warning("%d objects were not gone after %g s", len(before), seconds)
        else:
            work.result()
    finally:
        context.streams.discard(work)
        work.cancel()
    records = dict(context.loop.objects())
    await context.loop.stop()
    async for removed in remove_everything(context.engine, records, with_volumes=with_volumes):
        yield {"removed": removed}
    await asyncio.to_thread(context.store.write, Batch(removed=tuple(context.keys())))
    yield {"done": True}
    asyncio.get_running_loop().call_later(0.05, context.stop)
