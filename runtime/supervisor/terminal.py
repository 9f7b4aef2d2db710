"""A container's terminal, as the supervisor holds it: the pty master's bytes to the log.

The same face as `output.Output`. A pty cannot be read by splice, so what was read and not yet written
is lost with a killed supervisor; the terminal itself lives on if the engine's client held a copy.
"""

from __future__ import annotations

import fcntl
import os
import struct
import termios

from runtime.supervisor import log_file
from runtime.supervisor.log_file import LogFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK_BYTES = 65536
PIECE_BYTES = 16384


class Console:
    """The output side of a pty master. `tap` is called with every chunk (attached clients)."""

    def __init__(self, fd: int, log: LogFile) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.stream = b"stdout"
        self.log = log
        self.dropped_bytes = 0
        self.tap: Callable[[bytes, bytes], None] | None = None
        self.pending = b""  # a line without an end

    def pump(self) -> bool:
        """Move one chunk from the terminal to the log. False: there is nothing more now, or ever."""
        try:
            data = os.read(self.fd, CHUNK_BYTES)
        except OSError:  # EAGAIN; EIO when the last process closed its end
            return False
        if not data:
            return False
        if self.tap is not None:
            self.tap(self.stream, data)
        data = self.pending + data
        end = data.rfind(b"\n") + 1
        if end:
            self._write(log_file.format_lines(data[:end], self.stream, log_file.stamp_now()))
        self.pending = data[end:]
        if len(self.pending) >= PIECE_BYTES:
            self._flush(is_last=False)
        return True

    def recover(self) -> None:
        """Nothing of a terminal outlives a supervisor."""

    def finish(self) -> None:
        """The stream has ended: write the line that has no newline."""
        if self.pending:
            self._flush(is_last=True)

    def _flush(self, *, is_last: bool) -> None:
        data, self.pending = self.pending, b""
        self._write(log_file.format_piece(data, self.stream, log_file.stamp_now(), is_last=is_last))

    def _write(self, records: bytes) -> None:
        try:
            self.log.make_room(len(records))
            self.log.append(records)
        except OSError:  # a full or broken disk must not stop the container, nor this loop
            self.dropped_bytes += len(records)


def resize(fd: int, rows: int, columns: int) -> None:
    """Set a terminal's size (the kernel sends SIGWINCH). OSError."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
