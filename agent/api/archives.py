"""The handlers that give archives away: images, a container's root, and what changed in it; and the one that
makes an image of a container.

An archive comes as frames (see `agent.wire`): stream 1 its bytes, an empty one its end. Without that end,
or with an error, what was received is no archive.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from agent.api import errors
from agent.api.context import Context
from agent.api.openapi.shapes.images import CommitOrder
from agent.api.pieces import write_pieces
from agent.api.requests import choice, context_of, flag_of, json_of, key_of, strings_of, text_of, whole
from agent.api.streams import PROGRESS_QUEUE, follow, progress_view, write_lines
from agent.api.things import containers_of
from agent.api.upgrade import FRAME
from agent.reconcile.convert import LABEL_INDEX
from agent.wire import ERROR, STDOUT
from runtime.errors import Conflict, Invalid, NotFound
from runtime.images.saver import FORMS
from runtime.model import ContainerState, ImageInfo

MAX_NAMES = 1000
MAX_TEXT_BYTES = 16384  # of all changes, the message and the author: they go through a pipe at once
_END: Any = object()


async def save_images(request: web.Request) -> web.StreamResponse:
    """An archive of images, as others load it. ?names= is a JSON list; ?form= one of `saver.FORMS`."""
    context, form = context_of(request), choice(request, "form", FORMS, FORMS[0])
    archive = await asyncio.to_thread(context.engine.images.save, _names(request), form)
    chunks = archive.chunks()

    async def pieces() -> AsyncIterator[bytes]:
        while (chunk := await asyncio.to_thread(next, chunks, _END)) is not _END:
            yield chunk

    return await _write_archive(request, pieces())


def _names(request: web.Request) -> list[str]:
    try:
        names = json.loads(request.query.get("names", ""))
    except ValueError:
        names = None
    if not isinstance(names, list) or not 0 < len(names) <= MAX_NAMES:
        raise Invalid("save image", "", f"names is no JSON list of 1 to {MAX_NAMES} names")
    if not all(isinstance(name, str) for name in names):
        raise Invalid("save image", "", "names is no JSON list of names")
    return names


async def export(request: web.Request) -> web.StreamResponse:
    """The tar of the root of a container of the object that the path names, of ?replica=."""
    state = _container(request, "export")
    return await _write_archive(request, context_of(request).engine.files.export(state.id))


async def diff(request: web.Request) -> web.Response:
    """What a container changed of its image's files, sorted."""
    state = _container(request, "diff")
    found = await context_of(request).engine.files.changes(state.id)
    return web.json_response([{"kind": kind, "path": path} for kind, path in found])


async def commit(request: web.Request) -> web.StreamResponse:
    """Make an image of a container. "changes" are instructions; "pause" holds it meanwhile, by default.
    Lines: progress, then {"images": […]}. A client that goes away stops hearing of it, and it goes on."""
    from runtime.images.container_commit import Commit

    context, state = context_of(request), _container(request, "commit")
    body = await json_of(request, CommitOrder)
    name, changes = text_of(body, "name"), strings_of(body, "changes")
    message, author = text_of(body, "message"), text_of(body, "author")
    if not name:
        raise Invalid("commit", state.name, "no name for the image", "setpoint commit shop/web lab/web:1")
    if sum(len(text.encode()) for text in (*changes, message, author)) > MAX_TEXT_BYTES:
        raise Invalid("commit", state.name, f"over {MAX_TEXT_BYTES} bytes of changes, message and author")
    context.loop.check_image("commit", name)
    wanted = Commit("", "", "", name, changes, message, author, moves_name=flag_of(body, "force"))
    queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def report(progress: Any) -> None:
        if queue.qsize() < PROGRESS_QUEUE:
            loop.call_soon_threadsafe(queue.put_nowait, progress_view(progress))

    async def work() -> tuple[ImageInfo, ...]:
        pauses = flag_of(body, "pause", default=True)
        return (await context.engine.files.commit(state.id, wanted, pauses=pauses, report=report),)

    return await write_lines(request, follow(context, asyncio.ensure_future(work()), queue, _nothing))


def _nothing() -> None:
    return None


def _container(request: web.Request, op: str) -> ContainerState:
    """The newest container of the object; of several replicas one must be named."""
    context: Context = context_of(request)
    key, replica = str(key_of(request)), whole(request, "replica", least=1)
    found = containers_of(context, key, replica)
    if not found:
        raise NotFound(op, key, "it has no container", "setpoint describe tells why")
    if len({state.labels.get(LABEL_INDEX) for state in found}) > 1:
        raise Conflict(op, key, f"it has {len(found)} replicas", "say which: --replica 1")
    return found[-1]


async def _write_archive(request: web.Request, pieces: AsyncIterator[bytes]) -> web.StreamResponse:
    """In frames; without the empty one at its end an archive is cut off."""

    def told(error: Exception) -> bytes:
        return _framed(json.dumps(errors.to_json(error)).encode(), ERROR)

    end = _framed(b"")
    return await write_pieces(request, "application/octet-stream", pieces, _framed, told, end=end)


def _framed(piece: bytes, stream: int = STDOUT) -> bytes:
    return FRAME.pack(stream, len(piece)) + piece
