"""Reading a container's log: the last lines, a span of time, and what is still to come.

The supervisor writes it (`supervisor.log_file` has the format) and rotates it at any moment; a reader
goes by inode, so that a rotation neither repeats nor skips a record unless it throws it away. Reads
only files in the log directory, never through a link; changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from runtime.supervisor.log_file import NAME

BLOCK_BYTES = 1 << 16
MAX_RECORD_BYTES = 1 << 20  # of a damaged file: what has no end by then is given up
POLL_SECONDS = 0.1
_STREAMS = {b"stdout": "stdout", b"stderr": "stderr"}


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record. stamp: RFC 3339 with nanoseconds, UTC. text is without its newline; is_partial: the
    line goes on in the next record of the same stream."""

    stamp: str
    stream: str
    text: bytes
    is_partial: bool


@dataclass(frozen=True, slots=True)
class LogQuery:
    """What to read. since, until: Unix seconds. tail: that many records from the end, None is all."""

    since: float | None = None
    until: float | None = None
    tail: int | None = None
    streams: frozenset[str] = frozenset(("stdout", "stderr"))

    def accepts(self, record: LogRecord) -> bool:
        """Stamps have a fixed width, so they compare as text."""
        if record.stream not in self.streams:
            return False
        if self.since is not None and record.stamp < to_stamp(self.since):
            return False
        return self.until is None or record.stamp <= to_stamp(self.until)


def to_stamp(at: float) -> str:
    """Unix seconds as the log writes them."""
    nanoseconds = round(at * 1_000_000_000)
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{rest:09d}Z"


def parse(line: bytes) -> LogRecord | None:
    """One line of a log file, or None for what is damaged."""
    parts = line.split(b" ", 3)
    if len(parts) != 4 or parts[1] not in _STREAMS or parts[2] not in (b"F", b"P"):
        return None
    return LogRecord(parts[0].decode("ascii", "replace"), _STREAMS[parts[1]], parts[3], parts[2] == b"P")


def read_logs(directory: Path, query: LogQuery) -> Iterator[LogRecord]:
    """What is in the log now, oldest first. Nothing when there is no log."""
    with contextlib.ExitStack() as stack:
        files = [Reader(fd) for fd in open_all(directory, stack)]
        if query.tail is not None:
            yield from _tail(files, query)
            return
        for file in files:
            yield from filter(query.accepts, file.read())


async def follow_logs(
    directory: Path, query: LogQuery, is_running: Callable[[], bool]
) -> AsyncIterator[list[LogRecord]]:
    """What is in the log, then what comes, in batches that are not empty. Ends when the container is
    not running and all is read, or after `until`."""
    with contextlib.ExitStack() as stack:
        files = [Reader(fd) for fd in open_all(directory, stack)]
        first = list(_tail(files, query)) if query.tail is not None else []
        current = files[-1] if files else None
        previous: Reader | None = None  # what was opened here, and not by open_all
        for file in files if query.tail is None else ():
            for batch in file.batches():
                if wanted := [record for record in batch if query.accepts(record)]:
                    yield wanted
        if first:
            yield first
        while True:
            was_running = is_running()  # before the look: what it wrote last must not be missed
            found = False
            if current is not None:
                for batch in current.batches():
                    found = True
                    if wanted := [record for record in batch if query.accepts(record)]:
                        yield wanted
            newer = open_newer(directory, current, stack)
            if newer is not None:
                for batch in current.batches() if current is not None else ():  # written before the rename
                    if wanted := [record for record in batch if query.accepts(record)]:
                        yield wanted
                if previous is not None:
                    previous.close()  # a flood rotates every few seconds, for as long as somebody follows it
                current, previous = newer, newer
                continue
            if not found:
                if not was_running or _is_past(query):
                    return
                await asyncio.sleep(POLL_SECONDS)


def _is_past(query: LogQuery) -> bool:
    return query.until is not None and to_stamp(query.until) < to_stamp(datetime.now(UTC).timestamp())


class Reader:
    """A position in one file. A record without its end stays for the next look."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.inode = os.fstat(fd).st_ino
        self.offset = 0

    def close(self) -> None:
        """May be repeated."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def read(self) -> Iterator[LogRecord]:
        for batch in self.batches():
            yield from batch

    def batches(self) -> Iterator[list[LogRecord]]:
        for block in self.blocks(BLOCK_BYTES):
            records = map(parse, block[:-1].split(b"\n"))
            yield [record for record in records if record is not None]

    def blocks(self, block_bytes: int) -> Iterator[bytes]:
        """Whole records as they are in the file, each block ends with a newline."""
        while True:
            size = block_bytes
            data = os.pread(self.fd, size, self.offset)
            while b"\n" not in data and len(data) == size and size < MAX_RECORD_BYTES:
                size *= 4
                data = os.pread(self.fd, size, self.offset)
            end = data.rfind(b"\n") + 1
            if not end:
                return
            self.offset += end
            yield data[:end]

    def read_backwards(self) -> Iterator[LogRecord]:
        """Newest first, from the last record that has its end; a later `read` goes on after it."""
        position = os.fstat(self.fd).st_size
        rest = b""
        is_first = True
        while position > 0:
            start = max(0, position - BLOCK_BYTES)
            data = os.pread(self.fd, position - start, start) + rest
            if is_first:
                end = data.rfind(b"\n") + 1
                self.offset = start + end
                data = data[:end]
                is_first = end == 0
            position = start
            lines = data.split(b"\n")
            rest = lines.pop(0) if start else b""
            for line in reversed(lines):
                record = parse(line) if line else None
                if record is not None:
                    yield record


def _tail(files: list[Reader], query: LogQuery) -> Iterator[LogRecord]:
    """The last query.tail records that the query accepts, oldest first; the files stand at their ends."""
    found: list[LogRecord] = []
    wanted = query.tail or 0
    for file in reversed(files):
        for record in file.read_backwards():
            if len(found) >= wanted:
                break
            if query.accepts(record):
                found.append(record)
        else:
            continue
        break
    return reversed(found)


def open_all(directory: Path, stack: contextlib.ExitStack) -> list[int]:
    """Descriptors of the log's files, oldest first. Opened newest first: a file that is rotated
    meanwhile is met again under its new name, and known by its inode."""
    opened: list[int] = []
    seen: set[int] = set()
    for number in _numbers(directory):
        fd = _open(directory / (f"{NAME}.{number}" if number else NAME))
        if fd < 0:
            continue
        inode = os.fstat(fd).st_ino
        if inode in seen:
            os.close(fd)
            continue
        seen.add(inode)
        stack.callback(os.close, fd)
        opened.append(fd)
    return opened[::-1]


def _numbers(directory: Path) -> list[int]:
    """Which files there are, and one more, that the oldest may be moved to meanwhile. A supervisor that
    was killed in the middle of a rotation leaves a gap."""
    try:
        names = [path.name for path in directory.iterdir()]
    except FileNotFoundError:
        return []
    suffixes = (name.removeprefix(f"{NAME}.") for name in names if name.startswith(f"{NAME}."))
    numbers = sorted(int(suffix) for suffix in suffixes if suffix.isdecimal() and len(suffix) < 6)
    return [0, *numbers, numbers[-1] + 1 if numbers else 1]


def has_one_file(directory: Path) -> bool:
    """Whether nothing of it was rotated away, so far."""
    return _numbers(directory) == [0, 1]


def open_newer(directory: Path, current: Reader | None, stack: contextlib.ExitStack) -> Reader | None:
    """The file that was begun after the current one, once the current one has been rotated."""
    fd = _open(directory / NAME)
    if fd < 0:
        return None
    if current is not None and os.fstat(fd).st_ino == current.inode:
        os.close(fd)
        return None
    os.close(fd)
    with contextlib.ExitStack() as opened:
        fds = open_all(directory, opened)
        inodes = [os.fstat(fd).st_ino for fd in fds]
        index = inodes.index(current.inode) + 1 if current and current.inode in inodes else 0
        if index >= len(fds):
            return None
        copy = os.dup(fds[index])
    reader = Reader(copy)
    stack.callback(reader.close)
    return reader


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):  # not there, or a link: no log of ours either way
            return -1
        raise
