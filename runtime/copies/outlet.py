"""A pipe that a tar is written into: small pieces go together, and what a large file holds never comes to us.

    write(header) ─> buffer ─┐
    send(file)  sendfile(2) ─┴─> pipe ─ splice(2) ─> the client's connection

What is sent are pages of the page cache, by reference. Called by the worker, in `giving`.
"""

from __future__ import annotations

import errno
import os

from runtime.images.content import write_all

BUFFER_BYTES = 256 * 1024
PIECES = 1024  # that go at once (writev(2), IOV_MAX)
SENT_BYTES = 64 * 1024  # smaller files are copied: a system call more would cost more than that
# What has no pages to give (splice(2)), as some file systems of others'.
_NOT_THIS_WAY = frozenset((errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP))


class Outlet:
    """OSError of the files and of the pipe. `flush` at the end."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._waiting: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        self._waiting.append(data)
        self._size += len(data)
        if self._size >= BUFFER_BYTES or len(self._waiting) >= PIECES:
            self.flush()

    def send(self, file: int, size: int) -> int:
        """Up to so many bytes of a file, from where it is; how many. Fewer where it ends, none where it
        cannot be sent."""
        if size < SENT_BYTES:
            return 0
        self.flush()
        left = size
        try:
            while left and (sent := os.sendfile(self._pipe, file, None, left)):
                left -= sent
        except OSError as error:
            if error.errno not in _NOT_THIS_WAY:
                raise
        return size - left

    def flush(self) -> None:
        """In one go, and without copying them together."""
        waiting, left = self._waiting, self._size
        self._waiting, self._size = [], 0
        if not left:
            return
        written = os.writev(self._pipe, waiting)
        if written < left:
            write_all(self._pipe, memoryview(b"".join(waiting))[written:])
