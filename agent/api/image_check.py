"""The handler that compares images with their digests, and with ?repair= has them made whole: from what is
here, else by a pull. Its answer is lines of JSON, as those of `streams`."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from aiohttp import web

from agent.api.context import Context
from agent.api.requests import context_of, flag
from agent.api.streams import progress_view, write_lines
from runtime.errors import Invalid, NotFound, SetpointError


async def check_images(request: web.Request) -> web.StreamResponse:
    """Compare images with their digests, and have them made whole with ?repair=1. ?names= is a JSON list,
    empty for all. Lines: progress, {"finding": …} each, {"checked": count}."""
    context = context_of(request)
    try:
        names = json.loads(request.query.get("names", "[]"))
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Invalid("check images", "", "names is no JSON list of names")
    ids = [_id_of(context, name) for name in names]
    return await write_lines(request, _check(context, ids, repair=flag(request, "repair")))


def _id_of(context: Context, name: str) -> str:
    image = context.engine.image(name)
    if image is None:
        raise NotFound("check images", name[:300], "no such image here", "see `setpoint image ls`")
    return str(image.id)


async def _check(context: Context, ids: Sequence[str], *, repair: bool) -> AsyncIterator[dict[str, Any]]:
    queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def report(progress: Any) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, progress_view(progress))

    work = asyncio.ensure_future(_find(context, ids, report, repair=repair))
    context.streams.add(work)
    work.add_done_callback(context.streams.discard)
    work.add_done_callback(lambda _: queue.put_nowait(None))
    while (line := await queue.get()) is not None:
        yield line
    found = await asyncio.shield(work)
    checked = ids or [image.id for image in context.engine.list_images()]
    context.verifier.note({*checked, *(finding.image for finding in found)}, found)
    for finding in found:
        names = context.engine.images.names(finding.image)
        yield {"finding": {**dataclasses.asdict(finding), "names": list(names)}}
    yield {"checked": len(ids) or len(context.engine.list_images())}


async def _find(context: Context, ids: Sequence[str], report: Any, *, repair: bool) -> list[Any]:
    """A pull brings the blobs back; the trees are compared with them by a second check."""
    engine = context.engine
    found = await engine.check_images(ids, repair=repair, report=report)
    lacking = {finding.image for finding in found if finding.repair == "pull"}
    failed = {image: reason for image in lacking if (reason := await _pull(context, image))}
    pulled = sorted(lacking - failed.keys())
    again = await engine.check_images(pulled, repair=True, report=report) if pulled else ()
    still = {(finding.image, finding.subject) for finding in again if finding.repair == "pull"}
    told = []
    for finding in found:
        if finding.repair == "pull":
            is_still = (finding.image, finding.subject) in still
            said = failed.get(finding.image) or ("the pull did not bring it" if is_still else "done")
            finding = dataclasses.replace(finding, repair=said)
        told.append(finding)
    if pulled or any(finding.repair == "done" for finding in found):
        context.loop.image_changed()
    # What is weak was told by the first look.
    return [*told, *(each for each in again if each.repair != "pull" and not each.is_warning)]


async def _pull(context: Context, image_id: str) -> str:
    """Fetch it by the first name that a registry knows; why that failed, or ""."""
    reason = "it has no name that a registry knows: load it again"
    for name in context.engine.images.names(image_id):
        try:
            image = await context.engine.pull_image(name)
        except SetpointError as error:
            reason = f"pulling it failed ({error.reason}): load it again"
            continue
        if image.id == image_id:
            return ""
        reason = f"{name} is another image in its registry now: load it again"
    return reason
