"""Pipes between the event loop and a process of ours: read piece by piece, written to without blocking."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Callable

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
            await until_writable(pipe)


async def until_readable(descriptor: int) -> None:
    """Something is there to be read, or it is at its end."""
    loop = asyncio.get_running_loop()
    await _until(descriptor, loop.add_reader, loop.remove_reader)


async def until_writable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    await _until(descriptor, loop.add_writer, loop.remove_writer)


async def _until(descriptor: int, add: Callable[..., object], remove: Callable[[int], object]) -> None:
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def settle() -> None:
        if not ready.done():
            ready.set_result(None)

    add(descriptor, settle)
    try:
        await ready
    finally:
        remove(descriptor)
