"""Logs of an object's containers as one stream of frames, in the order of their stamps. Pure but for
what `runtime.logs` reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import operator
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from runtime.logs import LogQuery, LogRecord, follow_logs, read_logs

GATHER_SECONDS = 0.02  # while following, what comes within it is put in order
BATCHES = 4  # read ahead of a client, over all replicas; as objects each is ten times its bytes
STREAMS = {"stdout": 1, "stderr": 2}


@dataclass(frozen=True, slots=True)
class LogSource:
    """One container's log. prefix: what its lines begin with, or b""."""

    directory: Path
    prefix: bytes
    is_running: Callable[[], bool]


Line = tuple[str, LogSource, LogRecord]


def read_all(sources: list[LogSource], query: LogQuery) -> Iterator[Line]:
    """What is there now, merged by stamp. tail counts per container."""
    return heapq.merge(*(_lines(source, query) for source in sources), key=operator.itemgetter(0))


def _lines(source: LogSource, query: LogQuery) -> Iterator[Line]:
    return ((record.stamp, source, record) for record in read_logs(source.directory, query))


async def follow_all(sources: list[LogSource], query: LogQuery) -> AsyncIterator[list[Line]]:
    """What is there and what comes, in batches. Ends when no container runs and all is read."""
    queue: asyncio.Queue[list[Line] | None] = asyncio.Queue(BATCHES)
    tasks = [asyncio.ensure_future(_feed(source, query, queue)) for source in sources]
    open_feeds = len(tasks)
    try:
        while open_feeds:
            batch = await queue.get()
            if batch is not None and len(tasks) > 1:
                await asyncio.sleep(GATHER_SECONDS)
            found: list[Line] = []
            while True:
                if batch is None:
                    open_feeds -= 1
                else:
                    found += batch
                try:
                    batch = queue.get_nowait()
                except asyncio.QueueEmpty:
                    break
            if found:
                yield sorted(found, key=operator.itemgetter(0))
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


async def _feed(source: LogSource, query: LogQuery, queue: asyncio.Queue[list[Line] | None]) -> None:
    try:
        async for batch in follow_logs(source.directory, query, source.is_running):
            await queue.put([(record.stamp, source, record) for record in batch])
    finally:
        await queue.put(None)


class Framer:
    """Lines to the frames of `agent.wire`. A line that is cut in pieces gets one prefix, one stamp and
    one newline."""

    def __init__(self, *, timestamps: bool) -> None:
        self._timestamps = timestamps
        self._open: set[tuple[Path, str]] = set()

    def frames(self, lines: list[Line]) -> list[tuple[int, bytes]]:
        """Neighbours of one stream share a frame."""
        found: list[tuple[int, bytearray]] = []
        for _stamp, source, record in lines:
            stream = STREAMS[record.stream]
            if not found or found[-1][0] != stream:
                found.append((stream, bytearray()))
            found[-1][1].extend(self._text(source, record))
        return [(stream, bytes(content)) for stream, content in found]

    def _text(self, source: LogSource, record: LogRecord) -> bytes:
        name = (source.directory, record.stream)
        stamp = f"{record.stamp} ".encode() if self._timestamps else b""
        head = b"" if name in self._open else source.prefix + stamp
        if record.is_partial:
            self._open.add(name)
            return head + record.text
        self._open.discard(name)
        return head + record.text + b"\n"
