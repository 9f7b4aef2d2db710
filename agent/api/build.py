"""The handlers of builds: one that builds an image and tells of it line by line, and those that tell of
builds that were. Thin: the engine builds (`runtime.builds`).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections.abc import AsyncIterator, Mapping
from typing import Any

from aiohttp import web

from agent.api.context import Context
from agent.api.requests import context_of, is_root
from agent.api.streams import write_lines
from agent.api.unnamed_file import receive
from runtime.build_steps import StepLimits
from runtime.builds import new_id
from runtime.errors import Invalid
from runtime.images.build.order import BuildOrder, from_json

MAX_ORDER_BYTES = 8 << 20
MAX_CONTEXT_BYTES = 16 << 30
QUEUE = 10_000  # events that a slow client may be behind; output beyond that it finds in the build's log
LOOK_SECONDS = 1.0
LINES_AT_ONCE = 512
_SPARE = 100  # of the queue, for what is not output
_CPU_PERIOD_US = 100_000


async def build_image(request: web.Request) -> web.StreamResponse:
    """The body is a line of JSON, the order, and behind it the context as a tar where the order says so.
    Lines: {"build": id}, the events, {"images": [...]}. A client that goes away ends its build."""
    context = context_of(request)
    head, rest = await _read_order(request)
    if not isinstance(head, dict):
        raise Invalid("build image", "", "no order")
    head |= {"id": new_id(), "is_trusted": is_root(request)}
    descriptor = -1
    if head.get("context_kind") == "tar":
        directory = context.settings.layout.data
        descriptor = await receive(
            request, directory, "build image", MAX_CONTEXT_BYTES, "a context of ", rest
        )
        head["context"] = f"/proc/{os.getpid()}/fd/{descriptor}"
    try:
        order = from_json(head)
        _check_paths(request, order)
        return await write_lines(request, _build(request, context, order, _limits(head)))
    finally:
        if descriptor >= 0:
            os.close(descriptor)


async def _read_order(request: web.Request) -> tuple[Any, bytes]:
    """The first line as JSON, and what was read behind it."""
    data = b""
    async for piece in request.content.iter_any():
        data += piece
        if b"\n" in piece:
            break
        if len(data) > MAX_ORDER_BYTES:
            raise Invalid("build image", "", f"an order of over {MAX_ORDER_BYTES} bytes")
    line, _, rest = data.partition(b"\n")
    try:
        return json.loads(line), rest
    except ValueError:
        raise Invalid("build image", "", "the order is no JSON") from None


def _check_paths(request: web.Request, order: BuildOrder) -> None:
    """The agent reads as root what an order names."""
    if is_root(request):
        return
    if order.context_kind == "directory":
        raise Invalid("build image", order.context, "only root may name a directory", "send it as a tar")
    if order.ssh:
        raise Invalid("build image", "ssh", "only root may name a socket", "")
    if order.network == "host":
        raise Invalid("build image", "network", "only root may build in the host's network", "")


def _limits(head: Mapping[str, Any]) -> StepLimits:
    memory, cpus = head.get("memory_bytes"), head.get("cpus")
    try:
        quota = None if cpus is None else max(1000, round(float(cpus) * _CPU_PERIOD_US))
        return StepLimits(None if memory is None else int(memory), quota)
    except (TypeError, ValueError, OverflowError):
        raise Invalid("build image", "limits", "memory_bytes and cpus are numbers") from None


async def _build(
    request: web.Request, context: Context, order: BuildOrder, limits: StepLimits
) -> AsyncIterator[dict[str, Any]]:
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def report(event: Mapping[str, Any]) -> None:
        if queue.qsize() < QUEUE - (_SPARE if event.get("kind") == "log" else 0):
            queue.put_nowait(dict(event))

    yield {"build": order.id}
    work = asyncio.ensure_future(context.engine.builds.run(order, report, limits))
    context.streams.add(work)
    work.add_done_callback(context.streams.discard)
    try:
        while not (work.done() and queue.empty()):
            for line in await _next_lines(queue, work):
                yield line
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError
        image = await work
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    for name in image.names:
        context.loop.image_changed(name)
    yield {"images": [{"id": image.id, "names": list(image.names)}]}


async def _next_lines(queue: asyncio.Queue[dict[str, Any]], work: asyncio.Task[Any]) -> list[dict[str, Any]]:
    """What there is, after waiting for it a while."""
    if queue.empty() and not work.done():
        getting = asyncio.ensure_future(queue.get())
        await asyncio.wait({getting, work}, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not getting.done():
            getting.cancel()
            return []
        first = [getting.result()]
    else:
        first = []
    while not queue.empty() and len(first) < LINES_AT_ONCE:
        first.append(queue.get_nowait())
    return first


async def list_builds(request: web.Request) -> web.Response:
    """Newest first."""
    return web.json_response(await asyncio.to_thread(context_of(request).engine.builds.history.all))


async def build_log(request: web.Request) -> web.StreamResponse:
    """What the build of the path said: lines {"build": {…}}, then its events."""
    history = context_of(request).engine.builds.history
    found = await asyncio.to_thread(history.find, request.match_info["id"])
    return await write_lines(request, _log(history, found))


async def _log(history: Any, found: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    yield {"build": found}
    events = history.log(str(found["id"]))
    while batch := await asyncio.to_thread(lambda: list(itertools.islice(events, LINES_AT_ONCE))):
        for event in batch:
            yield event
