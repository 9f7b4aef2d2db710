"""HTTP/2 on a connection that was upgraded, either side of it. The `h2` package keeps the protocol's state;
this moves bytes, and gives each stream a reader and a writer with flow control.

    serving = Http2(connection, is_client=False, on_stream=…); await serving.run()
    calling = Http2(connection, is_client=True); stream = await calling.open(headers)

What a peer may make us hold is bounded: by windows, by streams at once, by headers, by streams given up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings

from agent.api.upgrade import Connection

MAX_STREAMS = 128  # at once
MAX_RESETS = 1000  # by the peer: CVE-2023-44487
STREAM_WINDOW = 1 << 20
CONNECTION_WINDOW = 8 << 20  # received on all streams and not yet read
MAX_HEADER_BYTES = 1 << 16
MAX_FRAME_BYTES = 1 << 18  # few large ones cost less than many small ones
_SETTINGS = {
    SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
    SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
    SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_BYTES,
    SettingCodes.MAX_FRAME_SIZE: MAX_FRAME_BYTES,
    SettingCodes.ENABLE_PUSH: 0,
}
Headers = dict[str, str]
OnStream = Callable[["Stream"], Awaitable[None]]


class StreamBroken(ConnectionError):
    """The peer reset the stream, or is gone."""


class Stream:
    """One request with its answer. headers: the peer's first; trailers: its last."""

    def __init__(self, http2: Http2, id: int) -> None:
        self.id = id
        self.headers: Headers = {}
        self.trailers: Headers = {}
        self._http2 = http2
        self._pieces: deque[tuple[bytes, int]] = deque()
        self._changed = asyncio.Event()
        self._has_headers = False
        self._is_over = False
        self._is_broken = False
        self.task: asyncio.Task[None] | None = None
        self.has_sent_all = False
        self.is_reset = False

    # the connection's side

    def begin(self, headers: Headers) -> None:
        self.headers, self._has_headers = headers, True
        self._changed.set()

    def feed(self, data: bytes, counted: int) -> None:
        self._pieces.append((data, counted))
        self._changed.set()

    def end(self) -> None:
        self._is_over = True
        self._changed.set()

    def break_off(self) -> None:
        """The peer reset it. What it had said all of is still read; Go's servers end calls so."""
        self._is_broken |= not self._is_over
        self._is_over = self.is_reset = True
        self._changed.set()
        if self.task is not None:
            self.task.cancel()

    # the caller's side

    async def wait_headers(self) -> Headers:
        while not self._has_headers and not self._is_over:
            await self._wait()
        if self._is_broken and not self._has_headers:
            raise StreamBroken("the stream was reset")
        return self.headers

    async def read(self) -> bytes:
        """What has come, b"" at the end. `StreamBroken`."""
        while not self._pieces and not self._is_over:
            await self._wait()
        if not self._pieces:
            if self._is_broken:
                raise StreamBroken("the stream was reset")
            return b""
        data, counted = self._pieces.popleft()
        await self._http2.acknowledge(self, counted)
        return data

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    @property
    def is_over(self) -> bool:
        """The peer has said all."""
        return self._is_over

    @property
    def unread(self) -> int:
        return sum(counted for _, counted in self._pieces)

    async def send_headers(self, headers: list[tuple[str, str]], *, is_last: bool = False) -> None:
        await self._http2.send_headers(self, headers, is_last=is_last)

    async def send(self, data: bytes, *, is_last: bool = False) -> None:
        """Wait while the peer takes no more. `StreamBroken`."""
        await self._http2.send(self, data, is_last=is_last)

    async def close(self) -> None:
        """Give it up, unless both sides have said all."""
        await self._http2.close_stream(self)


class Http2:
    """connection: the caller's to close. on_stream: called for each request, in a task of its own."""

    def __init__(self, connection: Connection, *, is_client: bool, on_stream: OnStream | None = None) -> None:
        self._connection = connection
        self._on_stream = on_stream
        self._streams: dict[int, Stream] = {}
        self._window_changed = asyncio.Event()
        self._resets = 0
        self._is_over = False
        self._last_task: set[asyncio.Task[None]] = set()
        self._h2 = H2Connection(H2Configuration(client_side=is_client, header_encoding="utf-8"))
        # Assigned one by one they would count from the peer's answer on, and never be sent.
        self._h2.local_settings = Settings(client=is_client, initial_values=_SETTINGS)
        self._h2.max_inbound_frame_size = MAX_FRAME_BYTES
        self._h2.initiate_connection()  # sent before all else, by whoever sends first
        self._h2.increment_flow_control_window(CONNECTION_WINDOW - 65535)

    async def run(self) -> None:
        """Until the connection ends, or the peer breaks the protocol. Leaves no task behind."""
        try:
            await self._flush()
            while data := await self._connection.read(MAX_FRAME_BYTES):
                for event in self._h2.receive_data(data):
                    self._handle(event)
                await self._flush()
                if self._is_over:
                    break
        except (H2Error, ConnectionError, ValueError):  # a broken peer; hpack's errors are ValueErrors, too
            with contextlib.suppress(H2Error, ConnectionError):
                await self._flush()
        finally:
            await self._end()

    async def _end(self) -> None:
        self._is_over = True
        self._window_changed.set()
        tasks = [stream.task for stream in self._streams.values() if stream.task is not None]
        for stream in list(self._streams.values()):
            stream.break_off()
        await asyncio.gather(*tasks, *self._last_task, return_exceptions=True)
        self._streams.clear()

    async def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data:
            await self._connection.write(data)

    # --- what comes

    def _handle(self, event: Event) -> None:
        match event:
            case RequestReceived():
                self._begin(event.stream_id, _headers(event.headers))
            case ResponseReceived():
                self._with(event.stream_id, lambda stream: stream.begin(_headers(event.headers)))
            case DataReceived():
                self._receive(event)
            case TrailersReceived():
                self._trailers(event.stream_id, _headers(event.headers))
            case StreamEnded():
                self._with(event.stream_id, Stream.end)
            case StreamReset():
                self._reset(event)
            case WindowUpdated() | RemoteSettingsChanged():
                self._window_changed.set()
            case ConnectionTerminated():
                self._is_over = True

    def _with(self, id: int | None, act: Callable[[Stream], Any]) -> None:
        stream = self._streams.get(id or 0)
        if stream is not None:
            act(stream)

    def _begin(self, id: int, headers: Headers) -> None:
        stream = self._streams[id] = Stream(self, id)
        stream.begin(headers)
        assert self._on_stream is not None
        stream.task = asyncio.ensure_future(self._serve(stream, self._on_stream))
        self._last_task.add(stream.task)
        stream.task.add_done_callback(self._last_task.discard)

    async def _serve(self, stream: Stream, on_stream: OnStream) -> None:
        try:
            await on_stream(stream)
        except ConnectionError:
            pass
        finally:
            stream.task = None
            with contextlib.suppress(H2Error, ConnectionError):
                await self.close_stream(stream)

    def _receive(self, event: DataReceived) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is None or not event.data:
            # Given up here; the connection's window must not dry up by it. Or a frame without data, which no
            # window bounds, and which is no end either.
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        else:
            stream.feed(event.data, event.flow_controlled_length)

    def _trailers(self, id: int, headers: Headers) -> None:
        stream = self._streams.get(id)
        if stream is not None:
            stream.trailers = headers

    def _reset(self, event: StreamReset) -> None:
        self._resets += 1
        self._window_changed.set()
        if self._resets > MAX_RESETS:
            self._h2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
            self._is_over = True
        self._with(event.stream_id, Stream.break_off)

    # --- what goes

    async def open(self, headers: list[tuple[str, str]]) -> Stream:
        """A request to the peer. `StreamBroken` when it is gone."""
        if self._is_over:
            raise StreamBroken("the connection is gone")
        id = self._h2.get_next_available_stream_id()
        stream = self._streams[id] = Stream(self, id)
        self._h2.send_headers(id, headers)
        await self._flush()
        return stream

    async def send_headers(self, stream: Stream, headers: list[tuple[str, str]], *, is_last: bool) -> None:
        self._check(stream)
        self._h2.send_headers(stream.id, headers, end_stream=is_last)
        stream.has_sent_all = is_last
        await self._flush()

    async def send(self, stream: Stream, data: bytes, *, is_last: bool) -> None:
        view = memoryview(data)
        while True:
            self._check(stream)
            room = min(self._h2.local_flow_control_window(stream.id), self._h2.max_outbound_frame_size)
            if view and room <= 0:
                self._window_changed.clear()
                await self._window_changed.wait()
                continue
            piece, view = view[:room] if view else view, view[room:]
            is_done = not view
            if piece or is_last:
                self._h2.send_data(stream.id, bytes(piece), end_stream=is_last and is_done)
            await self._flush()
            if is_done:
                stream.has_sent_all = is_last
                return

    def _check(self, stream: Stream) -> None:
        if self._is_over or stream.is_reset:
            raise StreamBroken("the stream is gone")

    async def acknowledge(self, stream: Stream, count: int) -> None:
        """The caller has read so much: the peer may send as much again."""
        if count and not self._is_over:
            with contextlib.suppress(H2Error):
                self._h2.acknowledge_received_data(count, stream.id)
            await self._flush()

    async def close_stream(self, stream: Stream) -> None:
        if self._streams.pop(stream.id, None) is None or self._is_over:
            return
        if stream.has_sent_all and stream.is_over and not stream.unread:
            return
        with contextlib.suppress(H2Error):
            if stream.unread:
                self._h2.acknowledge_received_data(stream.unread, stream.id)
        with contextlib.suppress(H2Error):
            self._h2.reset_stream(stream.id, ErrorCodes.CANCEL)  # refused for one that has ended
        await self._flush()


def _headers(found: Any) -> Headers:
    """Values of one name that is there several times are joined, as HTTP says."""
    headers: Headers = {}
    for name, value in found:
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers
