"""The body of an HTTP request, read from the client's connection itself, past the agent: `docker cp` into a
container.

    connection ─ readv(2) ─> one buffer, HTTP's chunks taken apart in place ─> views of it ─> who unpacks

The agent has read the request's head, and lends us the connection until we end. A view lasts until the next
one is asked for. Called by the worker; standard library only.
"""

from __future__ import annotations

import mmap
import os
import re
import select
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from runtime.errors import Invalid
from runtime.pace import Pace

BUFFER_BYTES = 1 << 20
_ENOUGH_BYTES = BUFFER_BYTES // 2  # for one piece, when as much is there already
_LINE_BYTES = 256  # of a chunk's size and what may be said with it, or of a trailer
_TRAILERS = 64
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")


@dataclass(frozen=True, slots=True)
class Incoming:
    """A body that is still to be read. early: what of it was. length: None when it comes in chunks.
    silence_seconds: after which a client that sends nothing is given up, or next to nothing (`Pace`)."""

    connection: int
    early: bytes
    length: int | None
    silence_seconds: float

    def told(self) -> dict[str, Any]:
        """For a worker, but for what it is given as descriptors."""
        return {"length": self.length, "silence": self.silence_seconds}


class Inlet:
    """`peek`, then `read` or `views`. Invalid for a body that breaks off, that stays out, or that is none."""

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming
        self._pace = Pace(incoming.silence_seconds)
        self._early = memoryview(incoming.early)
        self._frames = Chunks() if incoming.length is None else Whole(incoming.length)
        self._view = memoryview(mmap.mmap(-1, BUFFER_BYTES))  # no page of it is there before it is used
        self._left = self._view[:0]

    def peek(self, size: int) -> bytes:
        """The first bytes of what is left; fewer at the end."""
        head = bytes(self._left)
        while len(head) < size and (piece := self._piece()):
            head += piece
        self._left = memoryview(head)
        return head[:size]

    def read(self, n: int = -1, /) -> bytes:
        """At least a byte, b"" at the end."""
        self._left = self._left or self._piece()
        size = len(self._left) if n < 0 else n
        data, self._left = bytes(self._left[:size]), self._left[size:]
        return data

    def views(self) -> Iterator[memoryview]:
        """All that is left."""
        if self._left:
            yield self._left
            self._left = self._left[:0]
        while piece := self._piece():
            yield piece

    def _piece(self) -> memoryview:
        """What has come, once something has; empty at the end."""
        filled = 0
        while not self._frames.is_over and filled < _ENOUGH_BYTES:
            received = self._receive(self._view[filled:], waits=not filled)
            if not received:
                break
            filled = self._frames.strip(self._view, filled, filled + received)
        return self._view[:filled]

    def _receive(self, into: memoryview, *, waits: bool) -> int:
        """0 when nothing is there."""
        if self._early:
            size = min(len(self._early), len(into))
            into[:size], self._early = self._early[:size], self._early[size:]
            return size
        while True:
            try:
                size = os.readv(self._incoming.connection, [into])
            except BlockingIOError:
                if not waits:
                    return 0
                self._wait()
                continue
            if not size:
                raise Invalid("read request", "body", "it broke off")
            self._pace.receive(size)
            return size

    def _wait(self) -> None:
        poll, seconds = select.poll(), self._incoming.silence_seconds
        poll.register(self._incoming.connection, select.POLLIN)
        begun = time.monotonic()
        if not poll.poll(seconds * 1000):
            raise Invalid("read request", "body", f"nothing came for {seconds:g} s")
        self._pace.wait(time.monotonic() - begun)


def written(data: bytes) -> int:
    """A descriptor of a file of nowhere that has it (memfd_create(2)): what is read with `read_whole`."""
    descriptor = os.memfd_create("early", os.MFD_CLOEXEC)
    os.write(descriptor, data)
    return descriptor


def read_whole(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


class Whole:
    """A body of a length that is known."""

    def __init__(self, length: int) -> None:
        self._left = length

    @property
    def is_over(self) -> bool:
        return not self._left

    def strip(self, view: memoryview, start: int, end: int) -> int:
        """As of Chunks."""
        size = min(self._left, end - start)
        self._left -= size
        return start + size


class Chunks:
    """A body in chunks (RFC 9112, 7.1), in whatever parts it comes."""

    def __init__(self) -> None:
        self.is_over = False
        self._left = 0  # of the chunk
        self._line = b""
        self._wants: Literal["size", "end", "trailer"] = "size"
        self._trailers = 0

    def strip(self, view: memoryview, start: int, end: int) -> int:
        """Take the frames out of what lies between start and end, in place; up to where the content lies."""
        at = into = start
        while at < end and not self.is_over:
            if not self._left:
                at = self._read_line(view, at, end)
                continue
            size = min(self._left, end - at)
            if at != into:
                view[into : into + size] = view[at : at + size]
            at, into, self._left = at + size, into + size, self._left - size
        return into

    def _read_line(self, view: memoryview, at: int, end: int) -> int:
        """Where what follows it begins."""
        more = bytes(view[at : min(end, at + _LINE_BYTES)])
        stop = more.find(b"\n") + 1
        part = more[:stop] if stop else more
        self._line += part
        if len(self._line) > _LINE_BYTES:
            raise _invalid("a line that is too long")
        if stop:
            line, self._line = self._line, b""
            self._take_line(line)
        return at + len(part)

    def _take_line(self, line: bytes) -> None:
        if not line.endswith(b"\r\n"):
            raise _invalid("a line that does not end with CRLF")
        text = line[:-2]
        match self._wants:
            case "end":
                if text:
                    raise _invalid("a chunk that is longer than was said")
                self._wants = "size"
            case "size":
                self._begin(text.partition(b";")[0].rstrip(b" \t"))
            case "trailer":
                self._trailers += 1
                if self._trailers > _TRAILERS:
                    raise _invalid(f"more than {_TRAILERS} trailers")
                self.is_over = not text

    def _begin(self, digits: bytes) -> None:
        if not _SIZE.fullmatch(digits):
            raise _invalid("a chunk whose size is no number")
        self._left = int(digits, 16)
        self._wants = "end" if self._left else "trailer"


def _invalid(reason: str) -> Invalid:
    return Invalid("read request", "body", f"in chunks, and has {reason}")
