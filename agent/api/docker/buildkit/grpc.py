"""gRPC over `http2`: messages with a head of five bytes, a status in the trailers. Both sides.

serve(stream, methods)                      methods: path -> a function of one message
call(http2, path, message)  ─> message      open_call(http2, path) ─> Call, both ways at once
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from urllib.parse import quote, unquote

from agent.api.docker.buildkit.http2 import Headers, Http2, Stream

MAX_MESSAGE_BYTES = 16 << 20  # as BuildKit has it
_HEAD = struct.Struct("!BI")
_CONTENT = ("content-type", "application/grpc")

CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, ALREADY_EXISTS = 1, 2, 3, 4, 5, 6
PERMISSION_DENIED, RESOURCE_EXHAUSTED, FAILED_PRECONDITION, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = (
    7, 8, 9, 12, 13, 14,
)  # fmt: skip

Unary = Callable[[bytes, Headers], Awaitable[bytes]]
Streaming = Callable[[bytes, Headers], AsyncGenerator[bytes, None]]
Methods = Mapping[str, Unary | Streaming]
Metadata = Iterable[tuple[str, str]]


class GrpcError(Exception):
    """A call that failed, on either side."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


# --- messages -----------------------------------------------------------------------------------------


def framed(message: bytes) -> bytes:
    return _HEAD.pack(0, len(message)) + message


async def messages(stream: Stream) -> AsyncIterator[bytes]:
    """Those of a stream, until its end. `GrpcError` for what is none, or too long."""
    rest = bytearray()
    while True:
        while len(rest) >= _HEAD.size:
            flag, length = _HEAD.unpack_from(rest)
            if flag:
                raise GrpcError(UNIMPLEMENTED, "compressed messages are not taken")
            if length > MAX_MESSAGE_BYTES:
                raise GrpcError(RESOURCE_EXHAUSTED, f"a message of over {MAX_MESSAGE_BYTES} bytes")
            end = _HEAD.size + length
            if len(rest) < end:
                break
            message = bytes(rest[_HEAD.size : end])
            del rest[:end]
            yield message
        data = await stream.read()
        if not data:
            if rest:
                raise GrpcError(INTERNAL, "the stream ended within a message")
            return
        rest += data


# --- serving ------------------------------------------------------------------------------------------


async def serve(stream: Stream, methods: Methods, status_of: Callable[[Exception], GrpcError]) -> None:
    """Answer one call. status_of: what an error is to the client."""
    headers = stream.headers
    began = False
    try:
        method = methods.get(headers.get(":path", ""))
        if method is None:
            raise GrpcError(UNIMPLEMENTED, f"unknown method {headers.get(':path', '')[:200]}")
        message = await _only_message(stream)
        async with asyncio.timeout(deadline_of(headers)):
            answer = method(message, headers)
            if isinstance(answer, AsyncGenerator):
                async with contextlib.aclosing(answer):
                    async for each in answer:
                        began = await _send(stream, each, began)
            else:
                began = await _send(stream, await answer, began)
    except ConnectionError:
        raise
    except TimeoutError:
        await _finish(stream, DEADLINE_EXCEEDED, "deadline exceeded", began)
    except GrpcError as error:
        await _finish(stream, error.code, error.message, began)
    except Exception as error:
        found = status_of(error)
        await _finish(stream, found.code, found.message, began)
    else:
        await _finish(stream, 0, "", began)


async def _only_message(stream: Stream) -> bytes:
    found = messages(stream)
    message = await anext(found, None)
    if message is None or await anext(found, None) is not None:
        raise GrpcError(INVALID_ARGUMENT, "not one message")
    return message


async def _send(stream: Stream, message: bytes, began: bool) -> bool:
    if not began:
        await stream.send_headers([(":status", "200"), _CONTENT])
    await stream.send(framed(message))
    return True


async def _finish(stream: Stream, code: int, message: str, began: bool) -> None:
    trailers = [("grpc-status", str(code))]
    if message:
        trailers.append(("grpc-message", quote(message[:8000], safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")))
    head = [] if began else [(":status", "200"), _CONTENT]
    await stream.send_headers([*head, *trailers], is_last=True)


_TIMEOUT = re.compile(r"(\d{1,8})([HMSmun])")
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


def deadline_of(headers: Headers) -> float | None:
    """Seconds that the client waits; None when it says nothing."""
    match = _TIMEOUT.fullmatch(headers.get("grpc-timeout", ""))
    return int(match[1]) * _UNITS[match[2]] if match else None


# --- calling ------------------------------------------------------------------------------------------


class Call:
    """A call to the peer, both ways at once. Close it."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._messages = messages(stream)

    async def send(self, message: bytes) -> None:
        await self._stream.send(framed(message))

    async def finish(self) -> None:
        """We have said all."""
        await self._stream.send(b"", is_last=True)

    async def receive(self) -> bytes | None:
        """The next message, None at the end. `GrpcError` for what the peer says, ConnectionError."""
        message = await anext(self._messages, None)
        if message is None:
            self._check(self._stream.trailers or await self._stream.wait_headers())
        return message

    @staticmethod
    def _check(trailers: Headers) -> None:
        status = trailers.get("grpc-status", "")
        code = int(status) if status.isascii() and status.isdecimal() and len(status) < 3 else UNKNOWN
        if code:
            raise GrpcError(code, unquote(trailers.get("grpc-message", ""))[:8000])

    async def close(self) -> None:
        await self._stream.close()


@contextlib.asynccontextmanager
async def open_call(http2: Http2, path: str, metadata: Metadata = ()) -> AsyncIterator[Call]:
    headers = [
        (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"),
        ("te", "trailers"), _CONTENT, *metadata,
    ]  # fmt: skip
    call = Call(await http2.open(headers))
    try:
        yield call
    finally:
        with contextlib.suppress(ConnectionError):
            await call.close()


async def call(http2: Http2, path: str, message: bytes, metadata: Metadata = ()) -> bytes:
    """One message for one message."""
    async with open_call(http2, path, metadata) as opened:
        await opened.send(message)
        await opened.finish()
        answer = await opened.receive()
        if answer is None:
            raise GrpcError(INTERNAL, "no answer")
        await opened.receive()
        return answer
