"""HTTP/1.1 as it goes by: bytes in, what they say out. For looking on; nothing here holds a byte back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Headers = Mapping[str, str]
MAX_HEAD_BYTES = 1024 * 1024


@dataclass
class Head:
    """The first line's words, and the headers by their names in lower case."""

    words: tuple[str, str, str]
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        return int(self.words[1])


class Messages:
    """One direction of a connection. on_head(head) says how the body goes: "none", "length", "end" (of the
    connection) or "raw" (no HTTP from here); on_body(bytes), on_end()."""

    def __init__(
        self,
        on_head: Callable[[Head], str],
        on_body: Callable[[bytes], None] = lambda _data: None,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_head, self._on_body, self._on_end = on_head, on_body, on_end
        self._buffer = bytearray()
        self._state = "head"
        self._left = 0

    def feed(self, data: bytes) -> None:
        if self._state == "raw":
            return
        self._buffer += data
        while self._step():
            pass

    def stop(self) -> None:
        """No HTTP from here."""
        self._state = "raw"

    def close(self) -> None:
        """The connection has ended."""
        if self._state == "end":
            self._finish()

    def _step(self) -> bool:
        """Take the next piece; False when more bytes are needed."""
        if self._state in ("length", "chunk"):
            return self._take_body()
        if self._state == "end":
            self._on_body(bytes(self._buffer))
            self._buffer.clear()
            return False
        if self._state == "head":
            return self._take_head()
        return self._state != "raw" and self._take_chunk_line()

    def _take_head(self) -> bool:
        while self._buffer.startswith(b"\r\n"):
            del self._buffer[:2]
        head, separator, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        if not separator:
            assert len(self._buffer) < MAX_HEAD_BYTES, "a head without end"
            return False
        self._buffer = bytearray(rest)
        read = _read_head(head)
        kind = self._on_head(read)
        if kind == "length" and "chunked" in read.headers.get("transfer-encoding", "").lower():
            self._state = "chunk-size"
        elif kind == "length" and (length := int(read.headers.get("content-length", 0))):
            self._state, self._left = "length", length
        elif kind in ("raw", "end"):
            self._state = kind
        else:
            self._finish()
        return self._state != "raw"

    def _take_body(self) -> bool:
        piece = bytes(self._buffer[: self._left])
        if piece:
            del self._buffer[: len(piece)]
            self._left -= len(piece)
            self._on_body(piece)
        if self._left:
            return False
        if self._state == "chunk":
            self._state = "chunk-end"
        else:
            self._finish()
        return True

    def _take_chunk_line(self) -> bool:
        line, separator, rest = bytes(self._buffer).partition(b"\r\n")
        if not separator:
            return False
        self._buffer = bytearray(rest)
        if self._state == "chunk-end":
            self._state = "chunk-size"
        elif self._state == "trailers":
            if not line:
                self._finish()
        elif size := int(line.partition(b";")[0], 16):
            self._state, self._left = "chunk", size
        else:
            self._state = "trailers"
        return True

    def _finish(self) -> None:
        self._state = "head"
        self._on_end()


def _read_head(head: bytes) -> Head:
    first, *lines = head.decode("latin-1").split("\r\n")
    words = (*first.split(" ", 2), "", "")[:3]
    pairs = (line.partition(":") for line in lines)
    return Head((words[0], words[1], words[2]), {n.strip().lower(): v.strip() for n, _, v in pairs})
