"""News for those who wait: that a status or what is ready changed, and each event as it happens.

Called by `loop`; followed by the API's handlers. A slow reader loses the oldest, never memory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from store.records import EventRecord

MAX_LAG = 1000


class Feed:
    def __init__(self) -> None:
        self._changed: asyncio.Future[None] | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._readers: set[_Reader] = set()
        self._is_closed = False

    def changed(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            _end(each)

    def next_change(self) -> asyncio.Future[None]:
        """Done at the next `changed`, or when the feed is closed. Shared: not to be cancelled. Who takes it
        before looking, and waits for it after, misses nothing."""
        if self._changed is None or (self._changed.done() and not self._is_closed):
            self._changed = asyncio.get_running_loop().create_future()
            if self._is_closed:
                self._changed.set_result(None)
        return self._changed

    async def wait_changed(self) -> None:
        await asyncio.shield(self.next_change())

    async def wait_within(self, seconds: float | None) -> None:
        """Until the next `changed`, and for so long at most. For who looks, and waits in the same turn: a
        future of his own wakes him a turn sooner than one that is shared, waited for by asyncio.wait."""
        loop = asyncio.get_running_loop()
        changed: asyncio.Future[None] = loop.create_future()
        self._waiting.append(changed)
        timer = loop.call_later(seconds, _end, changed) if seconds is not None else None
        try:
            await changed
        finally:
            if timer is not None:
                timer.cancel()

    def event(self, event: EventRecord) -> None:
        for reader in self._readers:
            reader.give(event)

    async def follow(self) -> AsyncIterator[EventRecord]:
        reader = _Reader()
        self._readers.add(reader)
        try:
            while not self._is_closed:
                for event in reader.take():
                    yield event
                await reader.wait()
        finally:
            self._readers.discard(reader)

    def close(self) -> None:
        self._is_closed = True
        self.changed()
        for reader in self._readers:
            reader.wake()


class _Reader:
    def __init__(self) -> None:
        self._events: deque[EventRecord] = deque(maxlen=MAX_LAG)
        self._news = asyncio.Event()

    def give(self, event: EventRecord) -> None:
        self._events.append(event)
        self._news.set()

    def take(self) -> list[EventRecord]:
        taken = list(self._events)
        self._events.clear()
        self._news.clear()
        return taken

    async def wait(self) -> None:
        await self._news.wait()

    def wake(self) -> None:
        self._news.set()


def _end(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
