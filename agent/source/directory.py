"""A plain directory as a source: what is saved in it is what is wanted.

    events ─> settle ─> look at the paths named ─┐
    every 60 s ────────> look at everything ─────┴─> a revision, if anything changed

The slow look finds what no event told (overflow, watch limit, a network file system); when it does,
or when watching does not work at all, it is made every 2 s from then on.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from agent.manifest.objects import Revision
from agent.source.prints import Prints
from agent.source.source import SourceStatus, Unreadable, is_wanted
from agent.source.tree import Tree, forget, list_wanted, open_root, to_revision, update
from agent.source.watch import Watch


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. settle: quiet time after an event before looking; longest_settle: but look after this
    time; patience: how long a file may be held open for writing before it is read all the same."""

    settle: float = 0.05
    longest_settle: float = 2.0
    relist: float = 60.0
    poll: float = 2.0
    patience: float = 10.0


class DirectorySource:
    """path: an absolute directory; it need not exist yet."""

    def __init__(self, path: Path, timing: Timing = Timing()) -> None:
        self.path = path.absolute()
        self.timing = timing
        self._status = SourceStatus(str(self.path))
        self._wake = asyncio.Event()
        self._look_at_all = True
        self._tree = Tree()
        self._busy_since: dict[str, float] = {}
        self._watch = Watch(self._wake.set, self._is_relevant)
        self._prints = Prints(self.path)  # of what is built of
        self._root: tuple[int, int] | None = None  # device and inode of what is watched
        self._is_timer = False
        self.is_polling = False

    @property
    def status(self) -> SourceStatus:
        return self._status

    def sync(self) -> None:
        self._look_at_all = True
        self._wake.set()

    async def revisions(self) -> AsyncIterator[Revision]:
        last = ""
        try:
            while True:
                revision = await self._look()
                if revision is not None and revision.id != last:
                    last = revision.id
                    yield revision
                await self._wait()
        finally:
            await asyncio.to_thread(self._watch.stop)

    # waiting

    async def _wait(self) -> None:
        """Until something may have changed, and then until it is quiet."""
        timeout = self._timeout()
        try:
            await asyncio.wait_for(self._wake.wait(), timeout)
        except TimeoutError:
            self._is_timer = not self._busy_since
            self._look_at_all |= self._is_timer
            return
        deadline = time.monotonic() + self.timing.longest_settle
        while self._wake.is_set() and time.monotonic() < deadline and not self._look_at_all:
            self._wake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self.timing.settle)
        self._wake.clear()

    def _timeout(self) -> float:
        if self._busy_since:
            return self.timing.settle
        return self.timing.poll if self.is_polling or self._status.error else self.timing.relist

    def _is_relevant(self, path: str) -> bool:
        below = self._relative(path)
        return is_wanted(below) or self._prints.is_relevant(below)

    def _relative(self, path: str) -> str:
        """An event's path, which starts with the watched directory's."""
        return path[len(str(self.path)) :].strip("/")

    # looking

    async def _look(self) -> Revision | None:
        """Bring the tree up to date. None when that is not possible (the status says why), and when
        nothing changed."""
        await self._watch_root()
        burst = self._watch.take()
        everything = self._look_at_all or burst.everything
        is_untold = self._is_timer and not burst and bool(self._status.revision)
        self._look_at_all = self._is_timer = False
        paths = {self._relative(path) for path in burst.paths}
        try:
            changed, is_built_of = await asyncio.to_thread(self._update, everything, paths)
        except Unreadable as error:
            self._look_at_all = True
            self._status = replace(self._status, error=str(error))
            return None
        self.is_polling |= changed and is_untold
        warnings = (*self._tree.warnings.values(), *self._prints.warnings())
        self._status = replace(self._status, seen_at=time.time(), error="", warnings=warnings)
        if not (changed or is_built_of) and self._status.revision:
            return None
        if not self._status.revision and self._tree.busy:
            return None  # the first look must not leave out what is being written
        revision = to_revision(self.path, self._tree, self._prints)
        self._status = replace(self._status, revision=revision.id)
        return revision

    def _update(self, everything: bool, told: set[str]) -> tuple[bool, bool]:
        """Whether a manifest changed, and what something is built of. Runs in a thread: a file system may be
        slow."""
        tree = self._tree
        root = open_root(self.path)
        try:
            links: set[str] = tree.links
            paths = {path for path in told if is_wanted(path)}
            if everything:
                wanted = list_wanted(root)
                links = {path for path, is_link in wanted.items() if is_link}
                paths = paths | wanted.keys() | tree.files.keys() | tree.warnings.keys()
            hurried = self._hurried()
            changed = update(tree, root, hurried, links, patient=False)
            changed |= update(tree, root, (paths | links | tree.busy) - hurried, links)
            for path in [path for path in tree.files if everything and path not in wanted]:
                changed |= forget(tree, path)
            is_built_of = self._prints.look(None if everything else told, hurried)
            self._note_busy()
            return changed, is_built_of
        finally:
            os.close(root)

    def _note_busy(self) -> None:
        now = time.monotonic()
        busy = self._tree.busy | self._prints.busy
        self._busy_since = {path: self._busy_since.get(path, now) for path in busy}

    def _hurried(self) -> set[str]:
        """Files that have been held open for writing too long to wait any more."""
        now = time.monotonic()
        return {path for path, since in self._busy_since.items() if now - since > self.timing.patience}

    async def _watch_root(self) -> None:
        """Watch the directory; watch it anew when another one has taken its place."""
        try:
            status = await asyncio.to_thread(self.path.stat)  # a file system may be slow, or hang
            identity = (status.st_dev, status.st_ino)
        except OSError:
            identity = None
        if identity == self._root:
            return
        self._root = identity
        await asyncio.to_thread(self._watch.stop)
        self._look_at_all = True
        if identity is not None:
            loop = asyncio.get_running_loop()
            self.is_polling = bool(await asyncio.to_thread(self._watch.start, loop, [(self.path, True)]))
