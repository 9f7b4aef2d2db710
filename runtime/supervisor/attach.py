"""One attached client of one container: its end of a socket pair.

    client -> container   bytes as they are; the end of the stream closes the container's stdin if asked
    container -> client   a terminal: bytes as they are. Else frames as the Docker Engine API has them:
                          stream (1 stdout, 2 stderr), 0, 0, 0, length (4 bytes big-endian), bytes

A client that does not read holds the container's output back for STALL_SECONDS without progress, as a
pipe would, and is then let go: memory stays bounded, and no container waits for a dead terminal.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections import deque

from runtime.supervisor.loop import READ, WRITE, Loop, Timer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

HIGH_BYTES = 1 << 20
LOW_BYTES = 1 << 18
STALL_SECONDS = 10.0
READ_BYTES = 65536
_FRAME = struct.Struct("!BxxxI")
_NUMBERS = {b"stdout": 1, b"stderr": 2}


def frame(stream: bytes, data: bytes) -> bytes:
    """Output as framed clients get it."""
    return _FRAME.pack(_NUMBERS[stream], len(data)) + data


class Attachment:
    """What the container's side calls: feed, end. What it is told by: the callbacks given to open."""

    def __init__(self, loop: Loop, sock: socket.socket, streams: frozenset[bytes], *, framed: bool) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.streams = streams
        self.framed = framed
        self.closes_stdin = False
        self.on_input: Callable[[Attachment, bytes], bool] | None = None
        self.on_flow: Callable[[], None] = lambda: None
        self.on_close: Callable[[Attachment], None] = lambda _attachment: None
        self._loop = loop
        self._queue: deque[memoryview] = deque()
        self._queued = 0
        self._timer: Timer | None = None
        self._is_ending = False
        self._is_reading = True
        self.is_closed = False
        self.has_ended_input = False
        loop.watch(sock.fileno(), READ, self._on_ready)

    @property
    def is_full(self) -> bool:
        """More than HIGH_BYTES wait for the client: hold the container's output back."""
        return self._queued > HIGH_BYTES

    def feed(self, stream: bytes, data: bytes) -> None:
        """Output of the container, to the client: a frame for one that is framed."""
        if self.is_closed or stream not in self.streams:
            return
        self._queue.append(memoryview(data))
        self._queued += len(data)
        self._flush()

    def end(self) -> None:
        """The container has ended: close once all is sent."""
        self._is_ending = True
        self._flush()

    def unsent(self) -> bytes:
        """What waits for the client: a re-executed supervisor sends it."""
        return b"".join(self._queue)

    def requeue(self, data: bytes) -> None:
        if data:
            self._queue.append(memoryview(data))
            self._queued += len(data)
            self._flush()

    def hold_input(self, *, held: bool) -> None:
        """Do not read from the client while the container's stdin is full."""
        self._is_reading = not held and not self.has_ended_input
        self._watch()

    def close(self) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        self._stop_timer()
        self._loop.forget(self.sock.fileno())
        self.sock.close()
        self._queue.clear()
        self._queued = 0
        self.on_close(self)

    def _on_ready(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if events & ~WRITE and not self.is_closed:
            self._read()

    def _read(self) -> None:
        try:
            data = self.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if data:
            if self.on_input is not None and not self.on_input(self, data):
                self.hold_input(held=True)
            return
        self._is_reading = False
        self.has_ended_input = True
        if self.closes_stdin and self.on_input is not None:
            self.on_input(self, b"")
        if not self.streams or self._peer_is_gone():
            self.close()
        else:
            self._watch()

    def _peer_is_gone(self) -> bool:
        """Whether the client closed for good, rather than shut down only its writing half."""
        try:
            self.sock.send(b"", socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return False

    def _flush(self) -> None:
        while self._queue:
            try:
                sent = self.sock.send(self._queue[0], socket.MSG_NOSIGNAL)
            except BlockingIOError:
                break
            except OSError:
                self.close()
                return
            self._advance(sent)
        if not self._queue:
            self._stop_timer()
            if self._is_ending:
                self.close()
                return
        elif self._timer is None:
            self._timer = self._loop.call_later(STALL_SECONDS, self.close)
        self._watch()

    def _advance(self, sent: int) -> None:
        self._queued -= sent
        self._stop_timer()
        head = self._queue.popleft()
        if sent < len(head):
            self._queue.appendleft(head[sent:])
        if self._queued <= LOW_BYTES:
            self.on_flow()

    def _watch(self) -> None:
        if self.is_closed:
            return
        events = (READ if self._is_reading else 0) | (WRITE if self._queue else 0)
        with contextlib.suppress(FileNotFoundError):
            self._loop.modify(self.sock.fileno(), events)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
