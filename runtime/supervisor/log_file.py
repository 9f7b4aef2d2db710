"""One container's log: CRI lines in a file that is rotated by size and never grows past its bounds.

    2026-07-24T10:00:00.123456789Z stdout F a whole line
    2026-07-24T10:00:00.123456789Z stderr P a piece of a line that goes on in the next record

Used by the supervisor only; `runtime.logs` reads. Bytes pass as they came: any value but the newline
that ends a record. The directory is root's alone, and links in it are not followed.
"""

from __future__ import annotations

import os
import time

NAME = "log"  # the current file; log.1 is the one before it
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
STAMP_BYTES = len("2026-07-24T10:00:00.123456789Z stdout F ")
_second = (0, b"")


def stamp_now() -> bytes:
    """The wall clock as RFC 3339 with nanoseconds, UTC."""
    global _second  # formatting a second once is what makes a flood affordable
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    if _second[0] != seconds:
        _second = (seconds, time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(seconds)).encode())
    return b"%s%09dZ" % (_second[1], nanoseconds)


def format_lines(data: bytes, stream: bytes, stamp: bytes) -> bytes:
    """Whole lines (data ends with a newline) as records."""
    prefix = b"%s %s F " % (stamp, stream)
    return prefix + data[:-1].replace(b"\n", b"\n" + prefix) + b"\n"


def format_piece(data: bytes, stream: bytes, stamp: bytes, *, is_last: bool) -> bytes:
    """A line without its newline: a piece (P) or the end (F) of one."""
    return b"%s %s %s %s\n" % (stamp, stream, b"F" if is_last else b"P", data)


def log_of(directory: str, max_bytes: int, max_files: int) -> LogFile:
    """max_bytes 0 keeps nothing of the output."""
    return LogFile(directory, max_bytes, max_files) if max_bytes else NoLog(directory, 0, 1)


class LogFile:
    """Appends records; opened with the first one. max_bytes is of one file, max_files counts them all."""

    __slots__ = ("_fd", "_is_new", "directory", "max_bytes", "max_files", "size")

    def __init__(self, directory: str, max_bytes: int, max_files: int) -> None:
        self.directory = directory
        self.max_bytes = max(max_bytes, 4096)
        self.max_files = max(max_files, 1)
        self.size = -1
        self._fd = -1

    def open(self) -> None:
        """Open for appending; `size` is then the file's. OSError."""
        if self._fd >= 0:
            return
        try:
            self._fd = os.open(os.path.join(self.directory, NAME), _FLAGS, 0o600)
        except FileNotFoundError:
            os.makedirs(self.directory, 0o700, exist_ok=True)
            self._fd = os.open(os.path.join(self.directory, NAME), _FLAGS, 0o600)
        self.size = os.fstat(self._fd).st_size

    def make_room(self, length: int) -> None:
        """Rotate if `length` more bytes would pass the bound. Not in the middle of a record. OSError."""
        self.open()
        if self.size and self.size + length > self.max_bytes:
            self._rotate()

    def append(self, records: bytes) -> None:
        """Write all of it or nothing. OSError (ENOSPC) after taking back what was written of it."""
        start = self.size
        view = memoryview(records)
        try:
            while view:
                written = os.write(self._fd, view)
                self.size += written
                view = view[written:]
        except OSError:
            self.cut(start)
            raise

    def cut(self, size: int) -> None:
        """Take back everything after `size`."""
        os.ftruncate(self._fd, size)
        self.size = size

    def _rotate(self) -> None:
        self.close()
        path = os.path.join(self.directory, NAME)
        if self.max_files == 1:
            os.unlink(path)
        for number in range(self.max_files - 1, 0, -1):
            source = path if number == 1 else f"{path}.{number - 1}"
            try:
                os.rename(source, f"{path}.{number}")
            except FileNotFoundError:
                continue
        self.open()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class NoLog(LogFile):
    """What is written goes to those who are attached, and nowhere else."""

    __slots__ = ()

    def open(self) -> None:
        self.size = 0

    def make_room(self, length: int) -> None:
        self.size = 0

    def append(self, records: bytes) -> None:
        """Gone."""

    def cut(self, size: int) -> None:
        """Nothing is there."""
