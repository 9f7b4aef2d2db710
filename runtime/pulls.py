"""Pulls under way, and why the last ones failed: one download for all who ask for an image. Called by the
engine, in its event loop.

Who asks while another's pull of the same name runs waits for that one, and hears of its progress, too.
A pull goes on when those who asked have gone: what it fetched is wanted by somebody.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runtime.errors import SetpointError, Unsupported
from runtime.images.reference import Reference, parse_reference
from runtime.images.worker import IsolatedImages
from runtime.model import ImageInfo, PullState

if TYPE_CHECKING:
    from runtime.images.progress import Progress
    from runtime.images.registry.origin import Origin

log = logging.getLogger(__name__)

Report = Callable[["Progress"], None]
OnEnd = Callable[[str, SetpointError | None], None]
FindOrigins = Callable[[Reference], "Sequence[Origin]"]


@dataclass(slots=True)
class _Pull:
    work: asyncio.Task[ImageInfo]
    reports: list[Report] = field(default_factory=list)


class Pulls:
    """find_origins: whom to ask for an image; it may block. None: there are no registries. on_end: hears
    of each that ended, by the reference that it was begun with, and why it failed."""

    def __init__(self, images: IsolatedImages, find_origins: FindOrigins | None, on_end: OnEnd) -> None:
        self._images = images
        self._find_origins = find_origins
        self._on_end = on_end
        self._running: dict[str, _Pull] = {}
        self._begun: dict[str, asyncio.Task[None]] = {}
        self._failed: dict[str, SetpointError] = {}

    def begin(self, reference: str) -> None:
        """Fetch it for nobody in particular; `state` and on_end tell what becomes of it."""
        if reference in self._begun:
            return
        self._failed.pop(reference, None)
        self._begun[reference] = asyncio.get_running_loop().create_task(self._fetch(reference))

    def state(self, reference: str) -> PullState | None:
        if reference in self._begun:
            return PullState()
        error = self._failed.get(reference)
        return PullState(error) if error is not None else None

    def running(self) -> tuple[str, ...]:
        """The canonical names of what is being fetched."""
        return tuple(self._running)

    async def _fetch(self, reference: str) -> None:
        error: SetpointError | None = None
        try:
            await self.pull(reference)
        except SetpointError as failure:
            error = self._failed[reference] = failure
        except Exception as failure:  # a bug of ours is said on the object, and tried again
            log.exception("pulling %s failed", reference)
            reason = f"internal error, please report it: {failure!r}"
            error = self._failed[reference] = SetpointError("pull image", reference, reason)
        finally:
            del self._begun[reference]
        self._on_end(reference, error)

    async def pull(self, reference: str, report: Report | None = None) -> ImageInfo:
        """The image, fetched. Raises as `Images.pull`. report is called in the event loop."""
        asked = parse_reference(reference)
        running = self._running.get(asked.canonical)
        if running is None:
            running = self._running[asked.canonical] = self._start(asked)
        if report is not None:
            running.reports.append(report)
        try:
            return await asyncio.shield(running.work)
        finally:
            if report is not None:
                running.reports.remove(report)

    async def close(self) -> None:
        """Give up what is under way, loads too. What was fetched in part goes with the next pull."""
        self._images.give_up()
        works = [*self._begun.values(), *(each.work for each in self._running.values())]
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)

    def _start(self, asked: Reference) -> _Pull:
        loop = asyncio.get_running_loop()
        work = loop.create_task(self._run(asked))
        pull = _Pull(work)

        def on_done(done: asyncio.Task[ImageInfo]) -> None:
            self._running.pop(asked.canonical, None)
            if not done.cancelled():
                done.exception()  # those who asked have heard it; nobody may be left

        work.add_done_callback(on_done)
        return pull

    async def _run(self, asked: Reference) -> ImageInfo:
        if self._find_origins is None:
            raise Unsupported("pull image", asked.familiar, "this engine knows no registries")
        loop, find = asyncio.get_running_loop(), self._find_origins

        def on_progress(progress: Progress) -> None:
            loop.call_soon_threadsafe(self._tell, asked.canonical, progress)

        def work() -> ImageInfo:
            return self._images.pull(asked.canonical, find(asked), on_progress)

        return await asyncio.to_thread(work)

    def _tell(self, name: str, progress: Progress) -> None:
        running = self._running.get(name)
        for report in running.reports if running else ():
            report(progress)
