"""A pipe's content as the body of an answer, past our own memory.

    a worker ─> pipe ─ splice(2) ─> the client's connection             HTTP's chunks around what is there

Splicing hands pages on by reference, so that a large file is copied once: by who reads it. Where bytes have
to pass through us (TLS, clients of HTTP/1.0), the caller has another way. Called by `archive`.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import os
import socket
import termios
from collections.abc import Iterator

from aiohttp import HttpVersion11, web

from runtime.pipes import until_readable, until_writable

_AT_ONCE_BYTES = 1 << 20  # that a connection may hold meanwhile: fewer turns of the loop
_SO_SNDBUFFORCE = 32  # asm-generic/socket.h; SO_SNDBUF is bounded by net.core.wmem_max
_DRAIN_SECONDS = 0.01


def can_pour(request: web.BaseRequest) -> bool:
    transport = request.transport
    return (
        transport is not None
        and transport.get_extra_info("sslcontext") is None
        and transport.get_extra_info("socket") is not None
        and request.version >= HttpVersion11
    )


async def pour(request: web.BaseRequest, pipe: int) -> None:
    """All that comes out of a pipe, up to its end, into an answer whose head was sent. ConnectionError when
    the client goes away. It is for the caller to end the answer."""
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client is gone")
    while transport.get_write_buffer_size():  # noqa: ASYNC110 (rare: what follows must not come before it)
        await asyncio.sleep(_DRAIN_SECONDS)
    with _own_descriptor(transport) as connection:
        between = b""
        while size := await available(pipe):
            await _write(connection, b"%s%x\r\n" % (between, size))
            await _splice(pipe, connection, size)
            between = b"\r\n"
        await _write(connection, between)


@contextlib.contextmanager
def _own_descriptor(transport: asyncio.BaseTransport) -> Iterator[int]:
    """Of the same connection: asyncio lends nobody its transport's."""
    held = socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno()))
    before = held.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 2  # the kernel doubles what it is told
    try:
        _bound(held, _AT_ONCE_BYTES)
        yield held.fileno()
    finally:
        _bound(held, before)
        held.close()


def _bound(connection: socket.socket, size: int) -> None:
    with contextlib.suppress(OSError):  # no CAP_NET_ADMIN: then it is as before
        connection.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, size)


async def available(pipe: int) -> int:
    """How many bytes there are; 0 at the end."""
    size = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, size)
    if not size[0]:
        await until_readable(pipe)
        fcntl.ioctl(pipe, termios.FIONREAD, size)
    return size[0]


async def _write(connection: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(connection, data) :]
        except BlockingIOError:
            await until_writable(connection)


async def _splice(pipe: int, connection: int, size: int) -> None:
    while size:
        try:
            size -= os.splice(pipe, connection, size)
        except BlockingIOError:
            await until_writable(connection)
