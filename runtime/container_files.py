"""What is read of containers' root file systems: the whole as a tar, what changed, an image of it.

    index ─> the directories of its layers ─> a worker reads them (`copies.worker`), and puts the image into
                                              the store; what few changes there are, a thread of our own

Called by the agent through the engine. Nothing here enters a container or its mounts: a container that runs
is read as it changes, and paused while an image is made of it, unless that is not wanted.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from runtime import pipes
from runtime.container_index import ContainerIndex
from runtime.containers import Entry
from runtime.copies.inlet import written
from runtime.copies.lines import Given, Lines
from runtime.copies.nursery import Nursery
from runtime.errors import Conflict, NotFound, SetpointError, Temporary
from runtime.images.progress import WRITTEN, Progress
from runtime.images.snapshots import UPPER
from runtime.images.staging_directory import remove_dead_stages
from runtime.images.worker import IsolatedImages
from runtime.layout import Layout
from runtime.life import Life
from runtime.model import ImageInfo

if TYPE_CHECKING:
    from runtime.images.container_commit import Commit

Report = Callable[[Progress], None]
_Found = TypeVar("_Found")
PAUSED = "paused-for-commit"
AT_ONCE = 8  # exports, diffs and commits under way; more of them wait


class ContainerFiles:
    def __init__(
        self, layout: Layout, index: ContainerIndex, images: IsolatedImages, life: Life, nursery: Nursery
    ) -> None:
        self._layout = layout
        self._index = index
        self._images = images
        self._life = life
        self._nursery = nursery
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._threads = ThreadPoolExecutor(AT_ONCE, "container-files")  # of our own: what waits for a disk
        self._lookers = ThreadPoolExecutor(2, "container-changes")  # must not keep those that all share

    async def changes(self, id: str) -> list[tuple[str, str]]:
        """(A, C or D; path) of what a container changed of its image's files, sorted by path. What is no
        UTF-8 in a path is escaped as by os.fsdecode."""
        entry = self._index.get("diff", id)
        layers = self._layers("diff", entry)
        look = functools.partial(_quick_changes, layers, entry.config.name)
        found = await asyncio.get_running_loop().run_in_executor(self._lookers, look)
        if found is None:
            found = await self._many_changes(entry, layers)
        self._check_there("diff", entry)
        return found

    async def _many_changes(self, entry: Entry, layers: Sequence[str]) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        async with self._begun("diff", entry.config.name, {"layers": layers}, {}) as lines:
            while "changes" in (line := await lines.line()):
                found += map(tuple, line["changes"])
        return found

    @contextlib.asynccontextmanager
    async def exporting(self, id: str) -> AsyncIterator[Given]:
        """The tar of a container's root, without its mounts. A reader that is slow, or goes away, holds up
        nothing but the worker."""
        entry = self._index.get("export", id)
        layers = self._layers("export", entry)
        reading, writing = pipes.wide()
        try:
            async with self._begun(
                "export", entry.config.name, {"layers": layers}, {"pipe": writing}
            ) as lines:
                os.close(writing)
                writing = -1

                async def end() -> None:
                    await lines.line()
                    self._check_there("export", entry)

                yield Given(reading, end)
        finally:
            for descriptor in (reading, writing):
                if descriptor >= 0:
                    os.close(descriptor)

    async def export(self, id: str) -> AsyncGenerator[bytes, None]:
        """The same, piece by piece. An error may come after the first pieces: what was given so far is no
        archive then."""
        async with self.exporting(id) as given, contextlib.aclosing(given.pieces()) as pieces:
            async for piece in pieces:
                yield piece

    @contextlib.asynccontextmanager
    async def _begun(
        self, verb: str, name: str, more: Mapping[str, object], passed: Mapping[str, int]
    ) -> AsyncIterator[Lines]:
        """A worker that reads layers; it is ended with the block."""
        async with self._slots:
            oom_kills = self._nursery.fence.oom_kills()
            told = {"verb": verb, "name": name, **more}
            reading, worker = await self._nursery.start(told, passed)
            async with self._nursery.ending(worker), pipes.reader_of(reading) as lines:
                yield Lines(lines, verb, name, self._nursery.fence, oom_kills)

    async def commit(
        self, id: str, wanted: Commit, *, pauses: bool = True, report: Report | None = None
    ) -> ImageInfo:
        """Make an image of a container: wanted without what follows from it (container, upper, image, at).
        pauses: it stands still while its files are read. `Conflict` when another image has the name."""
        entry = self._index.get("commit", id)
        name, upper = entry.config.name, self._layers("commit", entry)[0]
        wanted = replace(wanted, container=name, upper=upper, image=entry.config.image, at=time.time())
        is_read = asyncio.Event()

        def told(progress: Progress) -> None:
            if progress.step == WRITTEN:
                is_read.set()
            elif report is not None:
                report(progress)

        async with self._standing_still(entry, pauses=pauses):
            work = asyncio.ensure_future(self._commit(wanted, told))
            # Nobody may wait for it: a container that is removed meanwhile, a client that breaks off.
            work.add_done_callback(lambda done: done.cancelled() or done.exception())
            read = asyncio.ensure_future(is_read.wait())
            try:
                await asyncio.wait({work, read}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                read.cancel()
            self._check_there("commit", entry)
        return await work

    async def _commit(self, wanted: Commit, told: Report) -> ImageInfo:
        try:
            id = await self._committed(wanted, told)
        except Temporary:  # a worker that was ended leaves what it had staged, which may be large
            with contextlib.suppress(OSError, SetpointError):
                await self._in_thread(functools.partial(remove_dead_stages, self._layout.images))
            raise
        image = self._images.get(id)
        if image is None:
            raise NotFound("commit", wanted.container, "its image was removed at once", "do it again")
        return image

    async def _committed(self, wanted: Commit, told: Report) -> str:
        """The id of the image that a worker made."""
        reading, writing = os.pipe2(os.O_CLOEXEC)
        asked = written(json.dumps(asdict(wanted)).encode())
        store = os.fspath(self._layout.images)
        more = {"upper": wanted.upper, "store": store, "has_changes": bool(wanted.changes)}
        passed = {"wanted": asked, "answers": reading}
        try:
            async with self._begun("commit", wanted.container, more, passed) as lines:
                while "done" not in (line := await lines.line()):
                    if "ask" in line:
                        answer = await self._in_thread(functools.partial(self._images.judged, line))
                        with contextlib.suppress(BrokenPipeError):  # it ended: its lines say why
                            os.write(writing, json.dumps(answer).encode() + b"\n")
                    else:
                        told(Progress(**line["progress"]))
                return str(line["done"])
        finally:
            for descriptor in (asked, reading, writing):
                os.close(descriptor)

    async def _in_thread(self, work: Callable[[], _Found]) -> _Found:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    @contextlib.asynccontextmanager
    async def _standing_still(self, entry: Entry, *, pauses: bool) -> AsyncIterator[None]:
        """The mark says that nobody asked for the pause, should we be killed meanwhile."""
        id = entry.config.id
        if not pauses or not entry.is_running or entry.is_paused:
            yield
            return
        mark = self._mark(id)
        mark.touch(mode=0o600)
        try:
            await self._life.pause(id)
            yield
        finally:
            with contextlib.suppress(Conflict, NotFound):  # it ended, or somebody let it go on
                await self._life.resume(id)
            mark.unlink(missing_ok=True)

    async def open(self) -> None:
        """Let go on what an earlier agent paused for a commit and did not live to."""
        for entry in self._index:
            mark = self._mark(entry.config.id)
            if mark.exists():
                with contextlib.suppress(Conflict, NotFound):
                    await self._life.resume(entry.config.id)
                mark.unlink(missing_ok=True)

    def _mark(self, id: str) -> Path:
        return self._layout.run_containers / id / PAUSED

    def _layers(self, op: str, entry: Entry) -> list[str]:
        """Directories, topmost first: what it wrote, its image's, the places for mounts."""
        config = entry.config
        if not config.image:
            raise Conflict(op, config.name, "it is a step of a build", "take the image that is built")
        upper = os.fspath(self._layout.containers / config.id / UPPER)
        lower = self._images.stack(config.image).lower
        return [upper, *lower, os.fspath(self._layout.mount_points)]

    def _check_there(self, op: str, entry: Entry) -> None:
        """What is deleted while it is read has fewer and fewer files."""
        if self._index.find(entry.config.id) is not entry:
            raise NotFound(op, entry.config.name, "it was deleted meanwhile", "do it again with the new one")


def _quick_changes(layers: Sequence[str], name: str) -> list[tuple[str, str]] | None:
    from runtime.images.root_diff import quick_changes  # late: few agents are ever asked

    upper, *lowers = map(Path, layers)
    found = quick_changes(upper, lowers, name)
    return None if found is None else [(change.kind, os.fsdecode(change.path)) for change in found]
