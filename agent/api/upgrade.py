"""Take a connection over from HTTP: after the 101 its bytes are the handler's alone, both ways, with flow
control and with a half that may be closed before the other. For exec and attach.

aiohttp upgrades to WebSocket only; here its protocol is replaced on the transport, and told in the end
that the connection is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import struct
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from agent.api import taken
from agent.api.ways import Inbound
from runtime.errors import Invalid

HIGH_BYTES = 1 << 18  # received and not yet read: the client waits
FRAME = struct.Struct("!BxxxI")
MAX_FRAME_BYTES = 1 << 20
MOMENT_SECONDS = 0.01  # in which a client by TCP reads what came

BEGUN = web.RequestKey("the answer has begun", bool)  # what goes wrong then ends the connection


class Upgraded(web.StreamResponse):
    """What the handler returns at the end: aiohttp is to write nothing and close the connection."""

    async def prepare(self, request: web.BaseRequest) -> Any:
        self.force_close()

    async def write_eof(self, data: bytes = b"") -> None:
        """Everything was written by the handler."""


class Connection(asyncio.Protocol):
    """The client's bytes. `read` returns b"" once the client closed its half."""

    def __init__(self, transport: asyncio.Transport, before: asyncio.BaseProtocol) -> None:
        self._transport = transport
        self._before: Any = before
        self._received = bytearray()
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._is_over = False
        self._lost = asyncio.Event()
        self._hangup: select.epoll | None = None

    # asyncio's side

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._readable.set()
        if len(self._received) > HIGH_BYTES:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._is_over = True
        self._readable.set()
        self._watch_for_the_rest()
        return True  # what the program still prints must reach a client that has said all

    def _watch_for_the_rest(self) -> None:
        """Hear of the other half's end too. A poll for no event still tells of EPOLLHUP, which a UNIX
        socket has when both halves are shut (epoll_ctl(2), unix_poll()); the epoll is itself polled,
        since asyncio lends nobody its transport's descriptor."""
        sock = self._transport.get_extra_info("socket")
        self._hangup = select.epoll()
        self._hangup.register(sock.fileno(), 0)
        asyncio.get_running_loop().add_reader(self._hangup.fileno(), self._transport.abort)

    def _stop_watching(self) -> None:
        if self._hangup is not None:
            asyncio.get_running_loop().remove_reader(self._hangup.fileno())
            self._hangup.close()
            self._hangup = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        self._is_over = True
        self._lost.set()
        self._readable.set()
        self._writable.set()
        self._before.connection_lost(exc)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def hold_writers(self) -> None:
        """From here on, whoever writes waits until the kernel has all of it. To be called with the transport,
        which may still have answers to send that came before."""
        is_tls = self._transport.get_extra_info("sslcontext") is not None
        self._transport.set_write_buffer_limits(high=1 if is_tls else 0)  # TLS pauses at it, others above
        if self._transport.get_write_buffer_size():
            self.pause_writing()

    def begin_with(self, early: bytes, *, is_all: bool) -> None:
        """What came before this protocol had the transport; is_all: and the client closed its half, which
        the protocol before went on to watch."""
        if early:
            self.data_received(early)
        self._is_over = self._is_over or is_all

    # the handler's side

    @property
    def is_lost(self) -> bool:
        return self._lost.is_set()

    async def wait_lost(self) -> None:
        """Until the client is gone altogether."""
        await self._lost.wait()

    async def read(self, limit: int = 1 << 16) -> bytes:
        """What has come, at least a byte; b"" at the end."""
        while not self._received and not self._is_over:
            self._readable.clear()
            await self._readable.wait()
        data = bytes(self._received[:limit])
        was_full = len(self._received) > HIGH_BYTES
        del self._received[:limit]
        if was_full and len(self._received) <= HIGH_BYTES and not self.is_lost:
            self._transport.resume_reading()
        return data

    async def write(self, data: bytes | memoryview) -> None:
        """Send, and wait while the client does not read: once this has ended, and was not cancelled, data may
        be used again. ConnectionResetError when it is gone."""
        if self.is_lost:
            raise ConnectionResetError("the client is gone")
        self._transport.write(data)
        await self._writable.wait()

    async def wait_taken(self, seconds: float) -> None:
        """Until the client has read all that was sent to it, or the time is over. On a UNIX socket only: on
        others nobody knows, and a moment must do."""
        if taken.is_known(self._transport):
            await taken.wait_taken(self._transport, seconds)
        else:
            await asyncio.sleep(MOMENT_SECONDS)

    async def read_frame(self) -> tuple[int, bytes] | None:
        """One frame of `agent.wire`'s, or None at the end. Raises Invalid for one too large."""
        head = await self._exactly(FRAME.size)
        if head is None:
            return None
        stream, length = FRAME.unpack(head)
        if length > MAX_FRAME_BYTES:
            raise Invalid("read frame", str(stream), f"{length} bytes", f"at most {MAX_FRAME_BYTES}")
        content = await self._exactly(length)
        return None if content is None else (stream, content)

    async def _exactly(self, count: int) -> bytes | None:
        pieces = bytearray()
        while len(pieces) < count:
            data = await self.read(count - len(pieces))
            if not data:
                return None
            pieces += data
        return bytes(pieces)

    async def write_frame(self, stream: int, content: bytes) -> None:
        await self.write(FRAME.pack(stream, len(content)) + content)

    async def end(self, seconds: float) -> None:
        """Say that all is said, and wait for so long until the client has read it."""
        self._end_half()
        await taken.wait_taken(self._transport, seconds)

    def close(self) -> None:
        """All is said: the client hears of it now, and not when all that was held for it has been freed."""
        self._end_half()
        self._transport.close()

    def _end_half(self) -> None:
        if not self.is_lost and self._transport.can_write_eof():  # not in TLS
            with contextlib.suppress(OSError):
                self._transport.write_eof()


def take_over(
    request: web.Request, headers: Mapping[str, str], status: str = "101 Switching Protocols"
) -> Connection:
    """Answer 101, or another status, and take the connection, with what was sent along with a request that
    said `Upgrade: tcp`. The request's body must have been read."""
    transport, before = request.transport, request.protocol
    if transport is None:
        raise ConnectionResetError("the client is gone")
    request[BEGUN] = True
    connection = Connection(transport, before)
    transport.set_protocol(connection)
    connection.hold_writers()
    if isinstance(before, Inbound):
        early, is_all = before.leave()
        connection.begin_with(early, is_all=is_all)
    lines = [f"{name}: {value}" for name, value in headers.items()]
    transport.write("\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1"))
    return connection
