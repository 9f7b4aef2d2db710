"""The handlers that say what an image is, name it, bring it here and to its registry, and ask registries.
Thin: each asks the engine. Those that list, load and remove are in `things` and `streams`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import asdict
from typing import Any

from aiohttp import web

from agent.api.context import Context
from agent.api.requests import context_of, flag, whole
from agent.api.streams import PROGRESS_QUEUE, progress_view, write_lines
from runtime.errors import Invalid, NotFound
from runtime.images.reference import DEFAULT_DOMAIN, parse_reference

MAX_FOUND = 1000
MAX_WORD = 200


async def pull_image(request: web.Request) -> web.StreamResponse:
    """Fetch ?reference= from its registry, for ?platform=. Lines: progress, then {"images": […]}. It ends
    with the client that asked, unless somebody else waits for it."""
    context, reference = context_of(request), _reference(request, "pull image")
    platform = request.query.get("platform", "")
    context.loop.check_image("pull image", reference)

    async def pull(report: Report) -> dict[str, Any]:
        image = await context.engine.pull_image(reference, report, platform=platform)
        context.loop.image_changed()
        return {"images": [{"id": image.id, "names": list(image.names)}]}

    return await write_lines(request, _follow(context, pull))


async def push_image(request: web.Request) -> web.StreamResponse:
    """Bring ?reference= to the registry of its name. Lines: progress, then {"pushed": …}. It ends with the
    client that asked: what was sent is there for the next push."""
    context, reference = context_of(request), _reference(request, "push image")

    async def push(report: Report) -> dict[str, Any]:
        return {"pushed": asdict(await context.engine.push_image(reference, report))}

    return await write_lines(request, _follow(context, push))


Report = Callable[[Any], None]


async def _follow(
    context: Context, begin: Callable[[Report], Coroutine[Any, Any, dict[str, Any]]]
) -> AsyncIterator[dict[str, Any]]:
    """Progress, then what the work gives. To stop listening stops it."""
    queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    def report(progress: Any) -> None:
        if queue.qsize() < PROGRESS_QUEUE:
            queue.put_nowait(progress_view(progress))

    work = asyncio.ensure_future(begin(report))
    context.streams.add(work)
    work.add_done_callback(context.streams.discard)
    work.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        while (line := await queue.get()) is not None:
            yield line
        yield await work
    finally:
        work.cancel()


async def tag_image(request: web.Request) -> web.Response:
    """Give ?source= the name ?reference=."""
    context, reference = context_of(request), _reference(request, "tag image")
    source = request.query.get("source", "")
    await asyncio.to_thread(context.engine.images.tag, source, reference)
    context.loop.image_changed(reference)
    return web.json_response({"source": source, "reference": parse_reference(reference).familiar})


async def inspect_image(request: web.Request) -> web.Response:
    """All that is known of ?reference=, which is here; with ?remote=1 as its registry has it now, for
    ?platform=."""
    context, reference = context_of(request), _reference(request, "inspect image")
    if flag(request, "remote"):
        platform = request.query.get("platform", "")
        return web.json_response(await context.engine.registries.describe(reference, platform))
    images = context.engine.images
    info = context.engine.image(reference)
    if info is None:
        raise NotFound("inspect image", reference[:300], "no such image here", "see `setpoint image ls`")
    details = await asyncio.to_thread(images.details, info.id)
    users = sorted(state.name for state in context.engine.list() if state.image == info.id)
    return web.json_response({
        "names": list(info.names), "size_bytes": info.size_bytes, "created_at": info.created_at,
        **asdict(details), "containers": users,
    })  # fmt: skip


async def list_tags(request: web.Request) -> web.Response:
    """The tags that the registry of ?reference= has of it, at most ?limit=."""
    context, reference = context_of(request), _reference(request, "list tags")
    most = whole(request, "limit", MAX_FOUND, least=1, most=100_000) or MAX_FOUND
    return web.json_response({"tags": await context.engine.registries.tags(reference, most)})


async def search_images(request: web.Request) -> web.Response:
    """Repositories with ?word= in them, of ?registry= (the hub's by default), at most ?limit=."""
    context, word = context_of(request), request.query.get("word", "")
    domain = request.query.get("registry", "") or DEFAULT_DOMAIN
    most = whole(request, "limit", 25, least=1, most=MAX_FOUND) or 25
    if len(word) > MAX_WORD or not word.isprintable():
        raise Invalid("search images", repr(word[:80]), "not a word to search for")
    parse_reference(f"{domain}/x/y")  # a host, or `Invalid`
    return web.json_response(await context.engine.registries.search(domain, word, most))


def _reference(request: web.Request, op: str) -> str:
    reference = request.query.get("reference", "")
    if not reference:
        raise Invalid(op, "", "no reference")
    return reference
