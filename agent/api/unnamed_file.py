"""The body of a request in a file without a name, so that nothing is left of it whatever happens."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from aiohttp import web

from runtime.errors import Invalid, Temporary

PIECE_BYTES = 1 << 20


async def receive(
    request: web.Request, directory: Path, op: str, most_bytes: int, what: str = "", first: bytes = b""
) -> int:
    """A descriptor that the caller closes. first: of the body, read already. Invalid for more than
    most_bytes, with `what` it is in words; Temporary when the disk does not take it."""
    descriptor = os.open(directory, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    try:
        received = len(first)
        await asyncio.to_thread(_write_all, descriptor, first)
        async for data in request.content.iter_chunked(PIECE_BYTES):
            received += len(data)
            if received > most_bytes:
                raise Invalid(op, "", f"{what}over {most_bytes} bytes")
            await asyncio.to_thread(_write_all, descriptor, data)
    except OSError as error:
        os.close(descriptor)
        raise Temporary(op, str(directory), error.strerror or str(error)) from error
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
