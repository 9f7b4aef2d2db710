"""Blocks of a log file to what the Docker Engine API sends of them: a frame for each line, since clients take
them for lines, or a terminal's bytes. Pure, and as fast as this language is: 300 MB are 3 million lines.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from datetime import UTC, datetime

from agent.api.docker.stamps import read_moment
from runtime.errors import Invalid
from runtime.logs import to_stamp

STAMP = len("2026-07-24T10:00:00.123456789Z")
STREAM = STAMP + 1
TEXT = len("2026-07-24T10:00:00.123456789Z stdout F ")
KINDS = {  # how a record goes on after its stamp -> stream, and what ends its text
    b"stdout F ": (1, b"\n"),
    b"stderr F ": (2, b"\n"),
    b"stdout P ": (1, b""),
    b"stderr P ": (2, b""),
}
_LAST = 253402300799.0  # of the year 9999
_SECONDS = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,9}))?")
_pack: Callable[[int, int], bytes] = struct.Struct("!BxxxI").pack


def stamp_of(text: str, now: float) -> str:
    """A `since` or `until` as the log writes moments; "" for none. To the nanosecond where it is given so."""
    if text in ("", "0"):
        return ""
    if found := _SECONDS.fullmatch(text):
        seconds = int(found[1])
        if seconds <= _LAST:
            stamp = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
            return stamp + (found[2] or "").ljust(9, "0") + "Z"
    at = read_moment(text, now)
    if not math.isfinite(at) or not 0 <= at <= _LAST:
        raise Invalid("read time", text[:40], "not a moment between the years 1970 and 9999")
    return to_stamp(at)


class LogFramer:
    """streams: of "stdout" and "stderr". framed: with headers; a terminal has none. details: the attributes
    of each line, None to leave them out. since, until: stamps, or "". is_past: a record later than `until`
    was met."""

    def __init__(
        self,
        streams: frozenset[str],
        *,
        framed: bool,
        timestamps: bool = False,
        details: str | None = None,
        since: str = "",
        until: str = "",
    ) -> None:
        self._stream = next(iter(streams)).encode() if len(streams) == 1 else b""
        self._is_silent = not streams
        self._framed = framed
        self._timestamps = timestamps
        self._prefix = b"" if details is None else f"{details} ".encode()
        self._since = since.encode()
        self._until = until.encode()
        self._open: set[int] = set()  # streams in the middle of a line
        self.is_past = False

    def frames(self, block: bytes) -> bytes:
        """What to send of a block of whole records."""
        if self._is_silent or (self._since and _last_stamp(block) < self._since):
            return b""
        lines = self._wanted(block[:-1].split(b"\n"))
        if self._timestamps or self._prefix:
            return b"".join(self._with_heads(lines))
        if self._framed:
            return b"".join(_plain_frames(lines))
        return b"".join(_plain_texts(lines))

    def _wanted(self, lines: list[bytes]) -> list[bytes]:
        if self._since:
            lines = [line for line in lines if line[:STAMP] >= self._since]
        if self._until:
            count = len(lines)
            lines = [line for line in lines if line[:STAMP] <= self._until]
            self.is_past = len(lines) < count
        if self._stream:
            lines = [line for line in lines if line[STREAM : STREAM + 6] == self._stream]
        return lines

    def _with_heads(self, lines: list[bytes]) -> list[bytes]:
        """A line that is cut in pieces gets one head."""
        parts: list[bytes] = []
        for line in lines:
            kind = KINDS.get(line[STREAM:TEXT])
            if kind is None:
                continue
            stream, end = kind
            head = b""
            if stream not in self._open:
                head = (line[:STREAM] if self._timestamps else b"") + self._prefix
            if end:
                self._open.discard(stream)
            else:
                self._open.add(stream)
            text = head + line[TEXT:] + end
            parts += (_pack(stream, len(text)), text) if self._framed else (text,)
        return parts


def _last_stamp(block: bytes) -> bytes:
    start = block.rfind(b"\n", 0, -1) + 1
    return block[start : start + STAMP]


def _plain_frames(lines: list[bytes]) -> list[bytes]:
    """What is damaged is left out, as everywhere."""
    parts: list[bytes] = []
    known = KINDS.get
    for line in lines:
        kind = known(line[STREAM:TEXT])
        if kind is not None:
            stream, end = kind
            parts += (_pack(stream, len(line) - TEXT + len(end)), line[TEXT:], end)
    return parts


def _plain_texts(lines: list[bytes]) -> list[bytes]:
    parts: list[bytes] = []
    known = KINDS.get
    for line in lines:
        kind = known(line[STREAM:TEXT])
        if kind is not None:
            parts += (line[TEXT:], kind[1])
    return parts
