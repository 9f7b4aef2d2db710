"""The words between the engine and the supervisor, and their framing. Used by both ends.

A UNIX stream socket at a file-system path, mode 0600; the supervisor serves root only (SO_PEERCRED).

      client                                                supervisor
        | 00 00 00 2f {"id":1,"op":"start","name":"ab…",…} ->   |   4 bytes big-endian length, JSON
        | 00 00 00 1d {"id":2,"op":"ping"} [fd][fd] ----------> |   any number in flight
        | <---------- 00 00 00 1b {"id":2,"result":{…}} [fd]    |   answers in any order
        | <---------- 00 00 00 5c {"id":1,"error":{"kind":…}}   |
        | <---------- 00 00 00 3e {"event":"exit","name":…}     |   after "subscribe"

File descriptors travel as SCM_RIGHTS with the first byte of their frame; "fds": N in the message says
how many of the descriptors received so far are its own (unix(7): they arrive no later than the byte
they were sent with, and never change their order). What nobody claims is closed.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import socket
import struct
from collections import deque

from runtime import errors
from runtime.supervisor import report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Message = dict[str, Any]

MAX_FRAME_BYTES = 4 * 1024 * 1024
MAX_FDS = 8  # of one message
MAX_QUEUED_BYTES = 16 * 1024 * 1024  # waiting for a client that does not read
RECEIVE_BYTES = 65536  # below the size from which malloc asks the kernel each time
_LENGTH = struct.Struct("!I")
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_decode = json.JSONDecoder().decode  # of text: json.loads looks at bytes for their encoding first
_TRUNCATED = int(socket.MSG_CTRUNC)  # an enum's & is a dozen calls of Python, for each message
_KINDS = {
    kind.__name__: kind
    for kind in (errors.Invalid, errors.NotFound, errors.Conflict, errors.Unsupported, errors.Temporary)
}


class Closed(Exception):
    """The other end is gone, or broke the protocol."""


class TooLong(Closed):
    """A message that cannot be sent. Nothing of it was: the connection is as it was."""


class TooMuch(Closed):
    """One that cannot be sent now, since the other end does not read as fast. Nothing of it was."""


class Wire:
    """One end of a connection: bytes in, messages out, and the other way round. Never blocks."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.received = bytearray()
        self.received_fds: deque[int] = deque()
        self._queue: deque[tuple[memoryview, tuple[int, ...]]] = deque()
        self._queued_bytes = 0

    # in

    def receive(self) -> list[tuple[Message, list[int]]]:
        """The messages that one read completed, each with its descriptors, which are now the caller's.

        Raises Closed at the end of the stream or on a frame that is too large or not an object.
        """
        try:
            data, ancillary, flags, _ = self.sock.recvmsg(
                RECEIVE_BYTES, socket.CMSG_SPACE(MAX_FDS * 4), socket.MSG_CMSG_CLOEXEC
            )
        except (BlockingIOError, InterruptedError):
            return []
        except OSError as error:
            raise Closed(str(error)) from None
        self._take_fds(ancillary)
        if not data:
            raise Closed("end of stream")
        if flags & _TRUNCATED:
            raise Closed("too many descriptors")
        self.received += data
        return self._messages()

    def _take_fds(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
                self.received_fds.extend(fds)

    def waiting(self) -> list[tuple[Message, list[int]]]:
        """The messages among what a re-executed supervisor inherited."""
        return self._messages()

    def _messages(self) -> list[tuple[Message, list[int]]]:
        messages = []
        start = 0
        buffer = self.received
        while len(buffer) - start >= 4:
            (length,) = _LENGTH.unpack_from(buffer, start)
            if length > MAX_FRAME_BYTES:
                raise Closed(f"a frame of {length} bytes")
            if len(buffer) - start - 4 < length:
                break
            messages.append(self._message(buffer[start + 4 : start + 4 + length]))
            start += 4 + length
        if start:
            del buffer[:start]
        return messages

    def _message(self, body: bytearray) -> tuple[Message, list[int]]:
        try:
            message = _decode(body.decode())
        except (ValueError, RecursionError) as error:
            raise Closed(f"not JSON: {error}") from None
        if not isinstance(message, dict):
            raise Closed("not a JSON object")
        count = message.pop("fds", 0)
        if not isinstance(count, int) or not 0 <= count <= min(MAX_FDS, len(self.received_fds)):
            raise Closed("descriptors are missing")
        return message, [self.received_fds.popleft() for _ in range(count)]

    # out

    def send(self, message: Message, fds: tuple[int, ...] = ()) -> bool:
        """Send a message, or queue what the socket does not take. The descriptors are copied (dup)
        when they have to wait, so the caller may close its own. True: all is sent.

        Raises Closed when the other end is gone, TooMuch when it has let MAX_QUEUED_BYTES pile up, TooLong.
        """
        if fds:
            message = {**message, "fds": len(fds)}
        body = _encode(message).encode()
        if len(body) > MAX_FRAME_BYTES:
            raise TooLong(f"a message of {len(body)} bytes; {MAX_FRAME_BYTES} is the most")
        frame = memoryview(_LENGTH.pack(len(body)) + body)
        if self._queue:
            return self._enqueue(frame, fds)
        sent = self._send_some(frame, fds)
        if sent == len(frame):
            return True
        return self._enqueue(frame[sent:], fds if sent == 0 else ())

    def _enqueue(self, frame: memoryview, fds: tuple[int, ...]) -> bool:
        if self._queued_bytes + len(frame) > MAX_QUEUED_BYTES:
            raise TooMuch("the other end does not read")
        self._queued_bytes += len(frame)
        self._queue.append((frame, tuple(os.dup(fd) for fd in fds)))
        return False

    def _send_some(self, frame: memoryview, fds: tuple[int, ...]) -> int:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            return self.sock.sendmsg([frame], rights, socket.MSG_NOSIGNAL)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise Closed(str(error)) from None

    def flush(self) -> bool:
        """Send what waits. True: nothing is left. Raises Closed."""
        while self._queue:
            frame, fds = self._queue[0]
            sent = self._send_some(frame, fds)
            if sent == 0:
                return False
            self._queued_bytes -= sent
            for fd in fds:
                os.close(fd)
            if sent < len(frame):
                self._queue[0] = (frame[sent:], ())
                return False
            self._queue.popleft()
        return True

    def unsent(self) -> bytes:
        """What waits to be sent, without descriptors: a re-executed supervisor sends it."""
        return b"".join(frame for frame, _ in self._queue)

    def requeue(self, data: bytes) -> None:
        if data:
            self._queue.append((memoryview(data), ()))
            self._queued_bytes += len(data)

    @property
    def is_flushed(self) -> bool:
        return not self._queue

    def close(self) -> None:
        for fd in self.received_fds:
            with contextlib.suppress(OSError):
                os.close(fd)
        for _, fds in self._queue:
            for fd in fds:
                with contextlib.suppress(OSError):
                    os.close(fd)
        self.received_fds.clear()
        self._queue.clear()
        self.sock.close()


def error_to_json(error: BaseException, op: str, subject: str) -> Message:
    """An error as it crosses the socket. A host in want passes: "Temporary"; what else is no SetpointError is
    our bug: kind "Bug"."""
    if isinstance(error, OSError) and error.errno in report.PASSING:
        error = report.failure(op, subject, error)
    if not isinstance(error, errors.SetpointError):
        reason = f"{type(error).__name__}: {error}"
        return {"kind": "Bug", "op": op, "subject": subject, "reason": reason, "hint": ""}
    return {
        "kind": type(error).__name__,
        "op": error.op,
        "subject": error.subject,
        "reason": error.reason,
        "hint": error.hint,
    }


def error_from_json(data: Message) -> Exception:
    """The inverse: a runtime.errors exception, or RuntimeError for kind "Bug"."""
    op, subject, reason, hint = (str(data.get(field, "")) for field in ("op", "subject", "reason", "hint"))
    kind = _KINDS.get(str(data.get("kind")))
    if kind is None:
        return RuntimeError(f"{op} {subject}: {reason}")
    return kind(op, subject, reason, hint)
