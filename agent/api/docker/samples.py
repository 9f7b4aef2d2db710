"""Looks at what containers use, once a second for each that somebody follows, however many follow it.

    Samples ── one task ──> engine.detailed_stats ─> (before, now) ─> every follower that is waiting

A follower that is slow misses samples, and holds up nobody. The task ends with the last follower.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import NamedTuple

from agent.api.docker.stats_view import Sample
from runtime.engine import NativeEngine
from runtime.errors import SetpointError

EVERY_SECONDS = 1.0
_TICKS = os.sysconf("SC_CLK_TCK")


class Pair(NamedTuple):
    """now is None while the container does not run; before is None at the first look."""

    before: Sample | None
    now: Sample | None


class Samples:
    """The followed containers of one agent."""

    def __init__(self, engine: NativeEngine) -> None:
        self._engine = engine
        self._followers: Counter[str] = Counter()
        self._pairs: dict[str, Pair] = {}
        self._ticked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None

    def once(self, id: str) -> Sample | None:
        """A look of its own."""
        state = self._engine.state(id)
        if state is None or state.phase not in ("running", "paused"):
            return None
        try:
            stats = self._engine.detailed_stats(id)
        except (SetpointError, OSError):  # it ends just now
            return None
        return Sample(stats, system_nanoseconds(), os.cpu_count() or 1, _memory_bytes())

    async def follow(self, id: str) -> AsyncGenerator[Pair, None]:
        """At once what is known, then each look until the container is deleted. To be closed."""
        self._followers[id] += 1
        try:
            if id not in self._pairs:
                self._pairs[id] = Pair(None, self.once(id))
            if self._task is None:
                self._task = asyncio.create_task(self._run())
            while (pair := self._pairs.get(id)) is not None:
                ticked = self._ticked
                yield pair
                await asyncio.shield(ticked)
        finally:
            self._leave(id)

    def _leave(self, id: str) -> None:
        self._followers[id] -= 1
        if not self._followers[id]:
            del self._followers[id]
            self._pairs.pop(id, None)
        if not self._followers and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        next_at = time.monotonic()
        while True:
            next_at = max(next_at + EVERY_SECONDS, time.monotonic())
            await asyncio.sleep(next_at - time.monotonic())
            for id in list(self._followers):
                self._look(id)
                await asyncio.sleep(0)  # others get their turn between two containers
            ticked, self._ticked = self._ticked, asyncio.get_running_loop().create_future()
            ticked.set_result(None)

    def _look(self, id: str) -> None:
        if self._engine.state(id) is None:
            self._pairs.pop(id, None)
        elif id in self._pairs:
            self._pairs[id] = Pair(self._pairs[id].now, self.once(id))


def system_nanoseconds() -> int:
    """Processor time of all of the host's processors since its start: of the first line of proc(5) stat,
    user to steal. guest and guest_nice are in user and nice already."""
    line = Path("/proc/stat").read_bytes().partition(b"\n")[0]
    return sum(map(int, line.split()[1:9])) * 10**9 // _TICKS


def _memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
