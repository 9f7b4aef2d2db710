"""Pulls under way, and why the last ones failed: one download for all who ask for an image. Called by the
engine, in its event loop.

Who asks while another's pull of the same name runs waits for that one, and hears of its progress, too. When
the last who asked has gone away, it is given up.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runtime.begun import Begun, OnEnd
from runtime.errors import Unsupported
from runtime.images.reference import Reference, parse_reference
from runtime.images.registry.credentials import Credential
from runtime.images.registry.origin import asked_as
from runtime.images.stop import Stop
from runtime.images.worker import IsolatedImages
from runtime.model import ImageInfo, PullState

if TYPE_CHECKING:
    from runtime.images.progress import Progress
    from runtime.images.registry.origin import Origin

Report = Callable[["Progress"], None]
FindOrigins = Callable[[Reference, str], "Sequence[Origin]"]


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be fetched. platform: "" is this host's. project: whose logins count first, "" for none's.
    only_newer: not when the registry has what is here, which it is asked for first. credential: who asks, in
    place of who we are to that registry otherwise; a mirror never hears of it."""

    reference: str
    platform: str = ""
    project: str = ""
    only_newer: bool = False
    credential: Credential | None = None


@dataclass(slots=True)
class _Pull:
    """waiting: how many wait for it."""

    work: asyncio.Task[ImageInfo]
    stop: Stop
    reports: list[Report] = field(default_factory=list)
    waiting: int = 0


_Key = tuple[str, str, bool, Credential | None]


class Pulls:
    """find_origins: whom to ask for an image, for a project; it may block. None: there are no registries.
    on_end: hears of each that ended, by the reference that it was begun with, and why it failed."""

    def __init__(self, images: IsolatedImages, find_origins: FindOrigins | None, on_end: OnEnd) -> None:
        self._images = images
        self._find_origins = find_origins
        self._running: dict[_Key, _Pull] = {}
        self._begun = Begun("pull image", on_end)
        self.pushing: Counter[str] = Counter()  # kept by who pushes, by canonical name

    def begin(self, wish: Wish) -> None:
        """Fetch it for nobody in particular; `state` and on_end tell what becomes of it."""
        self.begin_work(wish.reference, lambda: self.pull(wish), wish.project)

    def begin_work(self, reference: str, work: Callable[[], Awaitable[object]], project: str = "") -> None:
        """The same for an image that comes otherwise: one that is built."""
        self._begun.begin(reference, work, project)

    def state(self, reference: str) -> PullState | None:
        return self._begun.state(reference)

    def running(self) -> tuple[str, ...]:
        """The canonical names of what is being fetched, or sent."""
        return (*(name for name, *_ in self._running), *self.pushing)

    async def pull(self, wish: Wish, report: Report | None = None) -> ImageInfo:
        """The image, fetched. Raises as `Images.pull`. report is called in the event loop."""
        asked = parse_reference(wish.reference)
        key = (asked.canonical, wish.platform, wish.only_newer, wish.credential)
        running = self._running.get(key)
        if running is None:
            running = self._running[key] = self._start(key, asked, wish)
        if report is not None:
            running.reports.append(report)
        running.waiting += 1
        try:
            return await asyncio.shield(running.work)
        finally:
            running.waiting -= 1
            if report is not None:
                running.reports.remove(report)
            if not running.waiting and not running.work.done():
                self._forget(key, running)  # who asks from now on begins anew
                running.stop.ask()

    async def close(self) -> None:
        """Give up what is under way, loads too. What was fetched in part goes with the next pull."""
        self._images.give_up()
        await self._begun.close()
        works = [each.work for each in self._running.values()]
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)

    def _start(self, key: _Key, asked: Reference, wish: Wish) -> _Pull:
        reports: list[Report] = []
        stop = Stop()
        work = asyncio.get_running_loop().create_task(self._run(asked, wish, stop, reports))
        pull = _Pull(work, stop, reports)

        def on_done(done: asyncio.Task[ImageInfo]) -> None:
            self._forget(key, pull)
            if not done.cancelled():
                done.exception()  # those who asked have heard it; nobody may be left

        work.add_done_callback(on_done)
        return pull

    def _forget(self, key: _Key, pull: _Pull) -> None:
        if self._running.get(key) is pull:
            del self._running[key]

    async def _run(self, asked: Reference, wish: Wish, stop: Stop, reports: list[Report]) -> ImageInfo:
        if self._find_origins is None:
            raise Unsupported("pull image", asked.familiar, "this engine knows no registries")
        loop, find = asyncio.get_running_loop(), self._find_origins

        def tell(progress: Progress) -> None:
            for report in tuple(reports):
                report(progress)

        def on_progress(progress: Progress) -> None:
            loop.call_soon_threadsafe(tell, progress)

        def work() -> ImageInfo:
            origins = asked_as(wish.credential, find(asked, wish.project))
            if wish.only_newer and (known := self._newest(asked, origins, stop)) is not None:
                return known
            return self._images.pull(
                asked.canonical, origins, on_progress, platform=wish.platform, stop=stop
            )  # fmt: skip

        return await asyncio.to_thread(work)

    def _newest(self, asked: Reference, origins: Sequence[Origin], stop: Stop) -> ImageInfo | None:
        """What is here, when its registry has no other under that name."""
        here = self._images.get(asked.canonical)
        if here is None:
            return None
        found = self._images.ask("digest", asked.canonical, origins, stop)
        return here if found[0]["digest"] in self._images.digests(asked.canonical) else None
