"""Pipes between the event loop and a process of ours: read piece by piece, written to without blocking."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator

READ_BYTES = 1 << 18
_WIDE_BYTES = 1 << 20


def wide() -> tuple[int, int]:
    """A new pipe (reading, writing) that holds more than usual, where that is allowed."""
    ends = os.pipe2(os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # over what a user may have in pipes
        fcntl.fcntl(ends[0], fcntl.F_SETPIPE_SZ, _WIDE_BYTES)
    return ends


@contextlib.asynccontextmanager
async def reader_of(descriptor: int) -> AsyncIterator[asyncio.StreamReader]:
    """The reading end of a pipe, closed at the end."""
    reader = asyncio.StreamReader(READ_BYTES)
    pipe = os.fdopen(descriptor, "rb", 0)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    try:
        yield reader
    finally:
        transport.close()


async def feed(pipe: int, pieces: AsyncIterator[bytes]) -> None:
    """Write all of it into a pipe that does not block. Back early when nobody reads it any more."""
    try:
        async for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[await _write(pipe, view) :]
    except BrokenPipeError:
        return


async def _write(pipe: int, view: memoryview) -> int:
    while True:
        try:
            return os.write(pipe, view)
        except BlockingIOError:
            await _until_there_is_room(pipe)


async def _until_there_is_room(pipe: int) -> None:
    loop = asyncio.get_running_loop()
    room: asyncio.Future[None] = loop.create_future()

    def settle() -> None:
        if not room.done():
            room.set_result(None)

    loop.add_writer(pipe, settle)
    try:
        await room
    finally:
        loop.remove_writer(pipe)
