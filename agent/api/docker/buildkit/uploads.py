"""A tar that the client sends by its session (`docker build - < context.tar`), to a file without a name."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from agent.api.docker.buildkit.grpc import Call, open_call
from agent.api.docker.buildkit.http2 import Http2
from agent.api.docker.buildkit.wire import Message
from runtime.errors import Invalid, Temporary

METHOD = "/moby.upload.v1.Upload/Pull"
MAX_BYTES = 16 << 30
_BATCH_BYTES = 1 << 20


async def fetch_upload(http2: Http2, id: str, directory: Path) -> int:
    """A descriptor that the caller closes."""
    descriptor = os.open(directory, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    try:
        async with open_call(http2, METHOD, [("urlpath", f"/{id}")]) as call:
            await _receive(call, descriptor)
        os.lseek(descriptor, 0, os.SEEK_SET)
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, OSError) and not isinstance(error, ConnectionError):
            raise Temporary("read context", str(directory), error.strerror or str(error)) from error
        raise
    return descriptor


async def _receive(call: Call, descriptor: int) -> None:
    batch, total = bytearray(), 0
    while (message := await call.receive()) is not None:
        data = Message(message).blob(1)
        total += len(data)
        if total > MAX_BYTES:
            raise Invalid("read context", "", f"over {MAX_BYTES} bytes")
        batch += data
        if len(batch) >= _BATCH_BYTES:
            await asyncio.to_thread(_write_all, descriptor, bytes(batch))
            batch.clear()
    await asyncio.to_thread(_write_all, descriptor, bytes(batch))


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
