"""From a container's stdout or stderr to its log, such that a SIGKILL at any point loses no byte and
writes none twice.

    container ──FIFO──splice──> spool file ──pread──> records ──> log
                (kernel: atomic)    │ header: consumed, intent
                                    └ survives the supervisor

A read() and then a write() would lose what was read when the supervisor is killed between the two.
splice(2) moves bytes from the FIFO to a file inside one system call, which a SIGKILL does not tear.
The spool's header says how much of it is in the log; before records are written it also says where in
the log they will go (the intent), so that the next supervisor can take them back and write them anew.
A line without its newline stays in the spool until it ends, grows to PIECE_BYTES, or the container exits.
"""

from __future__ import annotations

import array
import errno
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
PIECE_BYTES = 16384  # of a line without an end, as Docker splits them
MAX_RECORDS_BYTES = 1 << 20  # formatted at once: 64 KiB of newlines would be 3 MB of stamps
_HEADER = struct.Struct("=Qq")  # consumed bytes of the spool; log size before the records, or -1
_NO_INTENT = -1


class Output:
    """One stream of one container. `tap` is called with every chunk (attached clients)."""

    def __init__(self, fd: int, stream: bytes, spool_path: str, log: LogFile) -> None:
        self.fd = fd
        self.stream = stream
        self.log = log
        self.dropped_bytes = 0
        self.tap: Callable[[bytes, bytes], None] | None = None
        self._spool_path = spool_path
        self._spool = -1
        self._consumed = 0
        self._filled = 0

    # --- reading

    def pump(self) -> bool:
        """Move one chunk from the FIFO to the log. False: there is nothing more now, or ever."""
        try:
            count = self._fill()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise
            return self._discard()
        if count == 0:
            return False
        self._drain(is_end=False)
        return True

    def finish(self) -> None:
        """The stream has ended: write the line that has no newline, and forget the spool."""
        if self._spool >= 0:
            self._drain(is_end=True)
            os.close(self._spool)
            self._spool = -1
            os.unlink(self._spool_path)
        self._note_dropped()

    def _fill(self) -> int:
        if self._spool < 0:
            if not _is_waiting(self.fd):  # most containers end without having said a word
                return 0
            self._open_spool()
        start = _HEADER.size + self._filled
        count = os.splice(self.fd, self._spool, CHUNK_BYTES, offset_dst=start, flags=os.SPLICE_F_NONBLOCK)
        if count and self.tap is not None:
            self.tap(self.stream, os.pread(self._spool, count, start))
        self._filled += count
        return count

    def _discard(self) -> bool:
        """The disk is full: read on, so that the container does not block, and say later what is lost."""
        try:
            data = os.read(self.fd, CHUNK_BYTES)
        except BlockingIOError:
            return False
        self.dropped_bytes += len(data)
        if data and self.tap is not None:
            self.tap(self.stream, data)
        return bool(data)

    # --- writing

    def _drain(self, *, is_end: bool) -> None:
        """Write what the spool holds, as far as lines end."""
        while self._consumed < self._filled:
            data = os.pread(self._spool, CHUNK_BYTES, _HEADER.size + self._consumed)
            count, records = self._take(data, is_end)
            if not count:
                return
            self._write(count, records)

    def _take(self, data: bytes, is_end: bool) -> tuple[int, bytes]:
        """How many bytes of data to write now, and as which records."""
        stamp = log_file.stamp_now()
        limit = min(MAX_RECORDS_BYTES, self.log.max_bytes)
        size = len(data) + data.count(b"\n") * log_file.STAMP_BYTES
        if size > limit:
            data = data[: max(1, len(data) * limit // size // 2)]
            is_end = False
        end = data.rfind(b"\n") + 1
        if end:
            return end, log_file.format_lines(data[:end], self.stream, stamp)
        if not is_end and len(data) < PIECE_BYTES and size <= limit:
            return 0, b""
        return len(data), log_file.format_piece(data, self.stream, stamp, is_last=is_end)

    def _write(self, count: int, records: bytes) -> None:
        try:
            self._note_dropped()
            self.log.make_room(len(records))
            self._set_header(self.log.size)
            self.log.append(records)
        except OSError:  # a full or broken disk must not stop the container, nor this loop
            self.dropped_bytes += count
        self._consumed += count
        if self._consumed == self._filled:
            os.ftruncate(self._spool, _HEADER.size)
            self._consumed = self._filled = 0
        self._set_header(_NO_INTENT)

    def _note_dropped(self) -> None:
        if not self.dropped_bytes:
            return
        text = b"[setpoint: %d bytes of output lost: the disk was full]" % self.dropped_bytes
        record = log_file.format_piece(text, b"stderr", log_file.stamp_now(), is_last=True)
        try:
            self.log.make_room(len(record))
            self.log.append(record)
        except OSError:
            return
        self.dropped_bytes = 0

    # --- the spool

    def _set_header(self, intent: int) -> None:
        os.pwrite(self._spool, _HEADER.pack(self._consumed, intent), 0)

    def _open_spool(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._spool = os.open(self._spool_path, flags, 0o600)
        size = os.fstat(self._spool).st_size
        if size < _HEADER.size:
            self._set_header(_NO_INTENT)
            return
        self._recover(size - _HEADER.size)

    def _recover(self, filled: int) -> None:
        """After a dead supervisor: take back half-written records, then write what was not consumed.

        The cut between ftruncate and the header leaves consumed > filled: all of it is in the log.
        """
        consumed, intent = _HEADER.unpack(os.pread(self._spool, _HEADER.size, 0))
        if consumed > filled or (intent != _NO_INTENT and filled == 0):
            consumed, intent = filled, _NO_INTENT
        self._consumed, self._filled = consumed, filled
        if intent != _NO_INTENT:
            self.log.open()
            if self.log.size > intent:
                self.log.cut(intent)
        if filled == consumed:
            os.ftruncate(self._spool, _HEADER.size)
            self._consumed = self._filled = 0
        self._set_header(_NO_INTENT)
        self._drain(is_end=False)

    def recover(self) -> None:
        """Finish what a dead supervisor left in the spool, if it left one."""
        if self._spool < 0 and os.path.exists(self._spool_path):
            self._open_spool()


def _is_waiting(fd: int) -> bool:
    """Whether there are bytes to read (FIONREAD)."""
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0] > 0
