"""What is read for one client reaches it as it was, and nobody else: clients that do not read, and others who
are sent to meanwhile."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agent.api.docker.pumps import CHUNK_BYTES, send_output
from agent.api.upgrade import Connection, take_over

PIECES = 12  # more than the client's socket holds
SECONDS = 10


class _Before(asyncio.Protocol):
    """Who had the transport before; told of its end."""


class _Request(dict[Any, Any]):
    def __init__(self, transport: asyncio.Transport, protocol: asyncio.BaseProtocol) -> None:
        self.transport, self.protocol = transport, protocol


@asynccontextmanager
async def client(*, before: bytes = b"") -> AsyncIterator[tuple[Connection, socket.socket]]:
    """A connection that was taken over, and its other end. before: an answer that it was still being sent."""
    near, far = socket.socketpair()
    near.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_accepted_socket(_Before, near)
    protocol.pause_writing = protocol.resume_writing = lambda: None  # type: ignore[method-assign]
    transport.write(before)
    request: Any = _Request(transport, protocol)
    connection = take_over(request, {})
    far.settimeout(SECONDS)
    with far:
        yield connection, far
        if not connection.is_lost:
            transport.abort()
            await connection.wait_lost()


def said(byte: bytes, pieces: int = PIECES) -> int:
    """A pipe with so much in it, at its end."""
    out, into = os.pipe()
    fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, 1 << 20)
    assert os.write(into, byte * CHUNK_BYTES * pieces) == CHUNK_BYTES * pieces
    os.close(into)
    return out


async def received(far: socket.socket) -> bytes:
    """All that comes until the end, without the answer's head."""
    data = await asyncio.to_thread(lambda: b"".join(iter(lambda: far.recv(1 << 20), b"")))
    return data.partition(b"\r\n\r\n")[2]


async def waits(connection: Connection) -> None:
    """Until it holds what its client does not take, and nothing more is read for it."""
    async with asyncio.timeout(SECONDS):
        while not connection._transport.get_write_buffer_size():
            await asyncio.sleep(0)
    for _ in range(10 * PIECES):
        await asyncio.sleep(0)


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_who_does_not_read_gets_nothing_of_others(is_cancelled: bool) -> None:
    slow_pipe, quick_pipe = said(b"s"), said(b"q", 1)
    async with client() as (slow, slow_end), client() as (quick, quick_end):
        sending = asyncio.ensure_future(send_output(slow_pipe, slow.write))
        await waits(slow)
        if is_cancelled:
            sending.cancel()
            await asyncio.wait((sending,))
        await send_output(quick_pipe, quick.write)
        quick.close()
        assert await received(quick_end) == b"q" * CHUNK_BYTES
        reading = asyncio.ensure_future(received(slow_end))
        await asyncio.wait((sending,))
        slow.close()
        data = await reading
        assert set(data) == set(b"s")
        assert is_cancelled or len(data) == CHUNK_BYTES * PIECES
    for pipe in (slow_pipe, quick_pipe):
        os.close(pipe)


async def test_both_streams_of_a_client_that_reads_late_are_whole() -> None:
    pipes = said(b"o"), said(b"e")
    async with client() as (connection, far):
        sending = [
            asyncio.ensure_future(send_output(pipe, connection.write, stream))
            for stream, pipe in enumerate(pipes, start=1)
        ]
        await waits(connection)
        assert connection._transport.get_write_buffer_size() <= 2 * (CHUNK_BYTES + 8)  # a piece of each
        reading = asyncio.ensure_future(received(far))
        await asyncio.gather(*sending)
        connection.close()
        data = await reading
    for pipe in pipes:
        os.close(pipe)
    frame = CHUNK_BYTES + 8
    frames = [data[at : at + frame] for at in range(0, len(data), frame)]
    assert sorted(frames) == sorted(
        [b"\1\0\0\0\0\1\0\0" + b"o" * CHUNK_BYTES, b"\2\0\0\0\0\1\0\0" + b"e" * CHUNK_BYTES] * PIECES
    )


async def test_an_answer_that_was_not_read_yet_holds_the_stream_too() -> None:
    """A client may ask for a stream before it has read what it asked for first."""
    async with client(before=b"a" * (1 << 20)) as (connection, far):
        writing = asyncio.ensure_future(connection.write(b"more"))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not writing.done()
        reading = asyncio.ensure_future(received(far))
        await writing
        connection.close()
        assert await reading == b"more"
