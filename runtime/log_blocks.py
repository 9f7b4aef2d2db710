"""A container's log in blocks of whole records, for who wants all of it fast: nothing is parsed here, and a
block is all that is ever in memory. `logs` reads the same files record by record.

Called from any thread, one at a time. Reads only files in the log directory, never through a link.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from runtime import syscalls
from runtime.logs import Reader, has_one_file, open_all, open_newer
from runtime.supervisor.log_file import NAME

BLOCK_BYTES = 1 << 18
FIRST_BYTES = 1 << 13  # of a search from the end, whose steps grow: ten lines are a kilobyte
FLAG = len("2026-07-24T10:00:00.123456789Z stdout ")  # where F ends a line and P says that it goes on


class LogBlocks:
    """A position in a log. tail: begin so many lines before its end; None is at its beginning. Unless it is
    followed, it ends where the log ended when it was opened, about: a flood is not chased."""

    def __init__(self, directory: Path, tail: int | None = None, *, is_followed: bool = False) -> None:
        self._directory = directory
        self._stack = contextlib.ExitStack()
        try:
            self._files = [Reader(fd) for fd in open_all(directory, self._stack)]
            if tail is not None:
                _seek_tail(self._files, tail)
        except BaseException:
            self._stack.close()
            raise
        self._index = 0
        self._opened: list[Reader] = []  # by `advance`
        self._is_followed = is_followed
        self._end = os.fstat(self._files[-1].fd).st_size if self._files else 0

    def read(self) -> bytes:
        """The next block; b"" when there is nothing more now."""
        while self._index < len(self._files):
            file, is_last = self._files[self._index], self._index == len(self._files) - 1
            if is_last and not self._is_followed and file.offset >= self._end:
                break
            if block := next(file.blocks(BLOCK_BYTES), b""):
                return block
            if is_last:
                break
            self._index += 1
        return b""

    @property
    def is_over(self) -> bool:
        """Whether `read` and `advance` have nothing more to give, ever."""
        if self._is_followed:
            return False
        is_last = self._index >= len(self._files) - 1
        return is_last and (not self._files or self._files[-1].offset >= self._end)

    @property
    def has_more(self) -> bool:
        """Whether `read` is worth a try: the file has grown, or was rotated. Two looks at inodes."""
        current = self._files[-1] if self._files else None
        if current is not None and os.fstat(current.fd).st_size > current.offset:
            return True
        try:
            inode = (self._directory / NAME).lstat().st_ino
        except FileNotFoundError:
            return False
        return current is None or inode != current.inode

    def advance(self) -> bool:
        """Go on with the file that was begun after the last one, if there is one. To be called when `read`
        has given nothing; what was written before the rotation is read first then."""
        if not self._is_followed:
            return False
        current = self._files[-1] if self._files else None
        newer = open_newer(self._directory, current, self._stack)
        if newer is None:
            return False
        for passed in self._files[:-1]:
            if passed in self._opened:  # a flood rotates every few seconds, for as long as somebody follows
                self._opened.remove(passed)
                passed.close()
        self._opened.append(newer)
        self._files = [*self._files[-1:], newer]
        self._index = 0
        return True

    def close(self) -> None:
        """May be repeated."""
        self._stack.close()
        self._files = []


def _seek_tail(files: list[Reader], lines: int) -> None:
    """Put each file's position where the last so many lines begin."""
    wanted = lines
    for file in reversed(files):
        if wanted < 0:
            file.offset = os.fstat(file.fd).st_size
            continue
        file.offset, found = _tail_of(file.fd, wanted)
        wanted = -1 if found > wanted else wanted - found


def _tail_of(fd: int, wanted: int) -> tuple[int, int]:
    """Where the last `wanted` lines of a file begin, and how many ends of lines were met, at most one more:
    then the beginning is in this file."""
    position, rest, after, found, size = os.fstat(fd).st_size, b"", -1, 0, min(FIRST_BYTES, BLOCK_BYTES)
    while position > 0:
        start, size = max(0, position - size), min(size * 4, BLOCK_BYTES)
        data = os.pread(fd, position - start, start) + rest
        position = start
        if after < 0:  # a record without its end is no line yet
            end = data.rfind(b"\n")
            if end < 0:
                rest = data
                continue
            after, data = start + end + 1, data[:end]
        records = data.split(b"\n")
        rest = records[0]
        for record in reversed(records[1:] if start else records):
            found += record[FLAG : FLAG + 1] == b"F"
            if found > wanted:
                return after, found
            after -= len(record) + 1
    return 0, found


# --- what costs no wait ---------------------------------------------------------------------------


def small_log(directory: Path, tail: int | None, most_bytes: int) -> bytes | None:
    """What `LogBlocks` gives of a log that is not followed, where it lies in the last so many bytes of the
    newest file, and the kernel has those in memory: no disk is waited for. None for all else."""
    try:
        found = _newest_bytes(directory, most_bytes)
        if found is None:
            return None
        data, is_whole = found
        if tail is None:
            return data if is_whole and has_one_file(directory) else None
        begins_at = _begin_of_last(data, tail)
        if begins_at > 0:
            return data[begins_at:]
        return data if is_whole and has_one_file(directory) else None
    except OSError:  # it would have to wait, or the file system cannot tell; or there is none
        return None


def _newest_bytes(directory: Path, most_bytes: int) -> tuple[bytes, bool] | None:
    """The last whole records of the file that is written to, and whether that is all of it. OSError."""
    fd = syscalls.openat2(
        syscalls.AT_FDCWD, f"{directory}/{NAME}", os.O_RDONLY | os.O_NOFOLLOW, 0, syscalls.RESOLVE_CACHED
    )
    try:
        size = os.fstat(fd).st_size
        start = max(0, size - most_bytes)
        data = bytearray(size - start)
        if data and os.preadv(fd, [data], start, os.RWF_NOWAIT) != len(data):
            return None
    finally:
        os.close(fd)
    first = data.find(b"\n") + 1 if start else 0  # what is cut off is no record
    return bytes(data[first : data.rfind(b"\n") + 1]), not start


def _begin_of_last(records: bytes, lines: int) -> int:
    """Where the last so many lines begin; 0 where they may begin before."""
    position, found = len(records), 0
    while position > 0:
        begin = records.rfind(b"\n", 0, position - 1) + 1
        found += records[begin + FLAG : begin + FLAG + 1] == b"F"
        if found > lines:
            return position
        position = begin
    return 0
