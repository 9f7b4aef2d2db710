"""Bytes between a client and descriptors, each piece read once and sent once, with nothing kept beyond what
the sockets hold and one piece: whoever does not read holds back only what is meant for him.

A buffer belongs to one stream from the read into it until its `send` has ended: from Python 3.12 on a
transport keeps what it was given, and not a copy, of what the kernel does not take at once.
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal

from agent.api.descriptors import write_all
from agent.api.docker.detach_keys import DetachFinder

CHUNK_BYTES = 1 << 16
DRAIN_SECONDS = 0.002  # between two looks at what nobody wants: a flood costs little of this process
FRAME = struct.Struct("!BxxxI")  # stream (1 stdout, 2 stderr), length
MAX_SPARE = 4
Send = Callable[[memoryview], Awaitable[None]]  # keeps nothing of it once it has ended
_spare: list[bytearray] = []  # buffers that nothing is sent from
_nobodys = bytearray(CHUNK_BYTES)  # what is thrown away


async def send_output(
    descriptor: int, send: Send, stream: int = 0, ended: asyncio.Future[Any] | None = None
) -> None:
    """To its end, framed unless stream is 0. ended: once it is done, what is there is the last, since others
    may hold the pipe open for long."""
    os.set_blocking(descriptor, False)
    while True:
        is_last = ended is not None and ended.done()
        buffer = _spare.pop() if _spare else bytearray(FRAME.size + CHUNK_BYTES)
        count = _read(descriptor, memoryview(buffer)[FRAME.size :])
        if count > 0:
            await _send_piece(buffer, count, send, stream)
            await asyncio.sleep(0)  # a fast program and a fast client do not have this loop for themselves
            continue
        _put_back(buffer)
        if is_last or not count:
            return
        await _readable(descriptor, ended)


def _read(descriptor: int, into: memoryview) -> int:
    """How much was read: 0 at the end, -1 when there is nothing now."""
    try:
        return os.readv(descriptor, [into])
    except BlockingIOError:
        return -1
    except OSError:  # EIO: the last process closed its end of the terminal
        return 0


async def _send_piece(buffer: bytearray, count: int, send: Send, stream: int) -> None:
    """A buffer whose sending is cancelled is used no more: what a connection holds of it is sent later."""
    FRAME.pack_into(buffer, 0, stream, count)
    await send(memoryview(buffer)[0 if stream else FRAME.size : FRAME.size + count])
    _put_back(buffer)


def _put_back(buffer: bytearray) -> None:
    if len(_spare) < MAX_SPARE:
        _spare.append(buffer)


async def _readable(descriptor: int, ended: asyncio.Future[Any] | None) -> None:
    """Until there is something to read, or `ended` is done."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def finish(*_arguments: object) -> None:
        if not future.done():
            future.set_result(None)

    loop.add_reader(descriptor, finish)
    if ended is not None:
        ended.add_done_callback(finish)
    try:
        await future
    finally:
        loop.remove_reader(descriptor)
        if ended is not None:
            ended.remove_done_callback(finish)


InputEnd = Literal["end", "detached"]


async def take_input(read: Callable[[], Awaitable[bytes]], descriptor: int, keys: bytes | None) -> InputEnd:
    """What the client says, to the descriptor (-1: to nobody), until it says no more or types the keys."""
    if descriptor >= 0:
        os.set_blocking(descriptor, False)
    finder = DetachFinder(keys) if keys else None
    is_open = descriptor >= 0
    while data := await read():
        is_detached = False
        if finder is not None:
            data, is_detached = finder.feed(data)
        if is_open and data:
            is_open = await write_all(descriptor, data)
        if is_detached:
            return "detached"
    if finder is not None and is_open:
        await write_all(descriptor, finder.rest())
    return "end"


class Drain:
    """Reads and throws away what descriptors say: a program whose output nobody wants any more neither waits
    nor breaks. on_end: called when all have ended, unless that was so at first; they are the caller's."""

    def __init__(self, descriptors: Iterable[int], on_end: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._open: set[int] = set()
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._on_end = on_end
        for descriptor in descriptors:
            os.set_blocking(descriptor, False)
            if not _is_at_end(descriptor):
                self._open.add(descriptor)
                self._listen(descriptor)

    @property
    def is_over(self) -> bool:
        return not self._open

    def _listen(self, descriptor: int) -> None:
        self._timers.pop(descriptor, None)
        self._loop.add_reader(descriptor, self._read, descriptor)

    def _read(self, descriptor: int) -> None:
        self._loop.remove_reader(descriptor)
        if not _is_at_end(descriptor):
            self._timers[descriptor] = self._loop.call_later(DRAIN_SECONDS, self._listen, descriptor)
            return
        self._open.discard(descriptor)
        if not self._open:
            self._on_end()

    def stop(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        for descriptor in self._open:
            self._loop.remove_reader(descriptor)
        self._open.clear()


def _is_at_end(descriptor: int) -> bool:
    """One piece is read and thrown away. Not blocking."""
    try:
        return not os.readv(descriptor, [_nobodys])
    except BlockingIOError:
        return False
    except OSError:  # EIO: the last process closed its end of the terminal
        return True
