"""A build while it runs, as a stream of what it says. Called by the handlers of all three ways to ask for one
(ours, Docker's, BuildKit's). The engine builds (`runtime.builds`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.api.context import Context
from runtime.build_caller import NOBODY, BuildCaller
from runtime.build_steps import StepLimits
from runtime.images.build.order import BuildOrder
from runtime.model import ImageInfo

QUEUE = 10_000  # events that a slow client may be behind; output beyond that it finds in the build's log
LOOK_SECONDS = 1.0
EVENTS_AT_ONCE = 512
_SPARE = 100  # of the queue, for what is not output
Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ordered:
    """A build to be run."""

    order: BuildOrder
    limits: StepLimits = field(default_factory=StepLimits)
    caller: BuildCaller = NOBODY


async def run_build(
    context: Context, ordered: Ordered, is_gone: Callable[[], bool]
) -> AsyncGenerator[Event | ImageInfo, None]:
    """Events, then the image. is_gone: whether nobody listens any more, which ends the build, as does closing
    this. Raises what the build does, and ConnectionResetError."""
    queue: asyncio.Queue[Event] = asyncio.Queue()

    def report(event: Event) -> None:
        if queue.qsize() < QUEUE - (_SPARE if event.get("kind") == "log" else 0):
            queue.put_nowait(dict(event))

    builds = context.engine.builds
    work = asyncio.ensure_future(builds.run(ordered.order, report, ordered.limits, ordered.caller))
    context.streams.add(work)
    work.add_done_callback(context.streams.discard)
    try:
        while not (work.done() and queue.empty()):
            for event in await _next_events(queue, work):
                yield event
            if is_gone():
                raise ConnectionResetError("nobody waits for the build")
        image: ImageInfo = await work
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    for name in image.names:
        context.loop.image_changed(name)
    yield image


async def _next_events(queue: asyncio.Queue[Event], work: asyncio.Task[Any]) -> list[Event]:
    """What there is, after waiting for it a while."""
    first: list[Event] = []
    if queue.empty() and not work.done():
        getting = asyncio.ensure_future(queue.get())
        try:
            await asyncio.wait({getting, work}, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not getting.done():
                getting.cancel()
        if not getting.done() or getting.cancelled():
            return []
        first.append(getting.result())
    while not queue.empty() and len(first) < EVENTS_AT_ONCE:
        first.append(queue.get_nowait())
    return first
