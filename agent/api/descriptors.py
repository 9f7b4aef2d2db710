"""Pipes and terminals read and written from asyncio without a thread and without a transport: the few
lines that exec needs. Descriptors are made non-blocking here and closed by their owner.
"""

from __future__ import annotations

import asyncio
import os

READ_BYTES = 1 << 16


async def read_some(descriptor: int) -> bytes:
    """What is there, at least a byte; b"" at the end. A pty says EIO when its last process closed it."""
    while True:
        try:
            return os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            await _ready(descriptor, is_write=False)
        except OSError:
            return b""


async def write_all(descriptor: int, data: bytes) -> bool:
    """Write all of it; False when nobody reads any more."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            await _ready(descriptor, is_write=True)
        except OSError:
            return False
    return True


async def _ready(descriptor: int, *, is_write: bool) -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    add, remove = (loop.add_writer, loop.remove_writer) if is_write else (loop.add_reader, loop.remove_reader)
    add(descriptor, _finish, future)
    try:
        await future
    finally:
        remove(descriptor)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
