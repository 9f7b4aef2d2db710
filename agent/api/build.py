"""The handlers of builds: one that builds an image and tells of it line by line, and those that tell of
builds that were. Thin: the engine builds (`runtime.builds`).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Mapping
from typing import Any

from aiohttp import web

from agent.api.build_events import Ordered, run_build
from agent.api.context import Context
from agent.api.docker.bodies import read_json
from agent.api.requests import context_of, is_root
from agent.api.streams import write_lines
from agent.api.unnamed_file import receive
from runtime.build_steps import StepLimits
from runtime.builds import new_id
from runtime.errors import Invalid
from runtime.images.build.order import BuildOrder, from_json
from runtime.model import ImageInfo

MAX_ORDER_BYTES = 8 << 20
MAX_CONTEXT_BYTES = 16 << 30
LINES_AT_ONCE = 512
_CPU_PERIOD_US = 100_000


async def build_image(request: web.Request) -> web.StreamResponse:
    """Build an image. The body is a line of JSON, the order, and behind it the context where that is a tar.
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
        return await write_lines(request, _build(request, context, Ordered(order, _limits(head))))
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
    return read_json(line), rest


def _check_paths(request: web.Request, order: BuildOrder) -> None:
    """The agent reads as root what an order names."""
    if is_root(request):
        return
    if order.context_kind == "directory":
        raise Invalid("build image", order.context, "only root may name a directory", "send it as a tar")
    if any(kind != "image" for kind, _ in order.contexts.values()):
        raise Invalid("build image", "contexts", "only root may name a directory", "name an image")
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


async def _build(request: web.Request, context: Context, ordered: Ordered) -> AsyncIterator[dict[str, Any]]:
    yield {"build": ordered.order.id}
    events = run_build(context, ordered, lambda: is_gone(request))
    async with contextlib.aclosing(events):
        async for event in events:
            if isinstance(event, ImageInfo):
                yield {"images": [{"id": event.id, "names": list(event.names)}]}
            else:
                yield dict(event)


def is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


async def list_builds(request: web.Request) -> web.Response:
    """The builds that were, newest first."""
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
