"""A FUSE file system, spoken by hand over /dev/fuse, that stops answering when it is told to.

A request that it has read and does not answer holds the process that made it in the kernel, where no
signal reaches it (state D; fs/fuse/dev.c request_wait_answer), until `abort`. So does a network file
system whose server is gone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
import threading
from pathlib import Path

from runtime import syscalls

LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, INIT, OPENDIR, READDIR, RELEASE = (
    1,
    2,
    3,
    14,
    15,
    17,
    26,
    27,
    28,
    18,
)
BATCH_FORGET, RELEASEDIR, INTERRUPT, FLUSH, ACCESS = 42, 29, 36, 25, 34
_HEADER = struct.Struct("=IIQQIIIHH")
_ROOT, _FILE = 1, 2
MNT_FORCE = 1


class HungFileSystem:
    """A directory with one file, `never`, whose reads are never answered; after `hang()`, nothing is."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.is_hung = False
        place.mkdir(parents=True, exist_ok=True)
        self._fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._fd},rootmode=40000,user_id=0,group_id=0,allow_other"
        syscalls.mount("hung", str(place), "fuse", 0, options)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        assert (place / "never").exists()

    def hang(self) -> None:
        """From now on nothing is answered."""
        self.is_hung = True

    def abort(self) -> None:
        """Everybody who waits gets an error (umount2(2) MNT_FORCE, whoever still uses it)."""
        with contextlib.suppress(OSError):
            syscalls.umount2(str(self.place), MNT_FORCE)

    def close(self) -> None:
        self.abort()
        with contextlib.suppress(OSError):
            syscalls.umount2(str(self.place), syscalls.MNT_DETACH)
        self._thread.join(10)
        os.close(self._fd)

    def _serve(self) -> None:
        while True:
            try:
                request = os.read(self._fd, 1 << 17)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOENT, errno.EAGAIN):
                    continue
                return  # ENODEV: unmounted or aborted
            _, opcode, unique, node, *_ = _HEADER.unpack_from(request)
            if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
                continue
            if opcode == READ or (self.is_hung and opcode != INIT):
                continue
            self._answer(opcode, unique, node, request[_HEADER.size :])

    def _answer(self, opcode: int, unique: int, node: int, body: bytes) -> None:
        error, answer = _reply(opcode, node, body)
        with contextlib.suppress(OSError):
            os.write(self._fd, struct.pack("=IiQ", 16 + len(answer), -error, unique) + answer)


def _reply(opcode: int, node: int, body: bytes) -> tuple[int, bytes]:
    """(errno, answer). Names and attributes are valid for no time, so that each use asks again."""
    if opcode == INIT:
        return 0, struct.pack("=IIIIHHIIHHI28x", 7, 31, 1 << 16, 0, 16, 12, 1 << 16, 1, 0, 0, 0)
    if opcode == LOOKUP:
        if body.rstrip(b"\0") != b"never":
            return errno.ENOENT, b""
        return 0, struct.pack("=QQQQII", _FILE, 0, 0, 0, 0, 0) + _attributes(_FILE)
    if opcode == GETATTR:
        return 0, struct.pack("=QII", 0, 0, 0) + _attributes(node)
    if opcode in (OPEN, OPENDIR):
        return 0, struct.pack("=QII", 1, 0, 0)
    if opcode == STATFS:
        return 0, struct.pack("=QQQQQIIII24x", 1, 1, 1, 1, 1, 4096, 255, 4096, 0)
    if opcode in (READDIR, RELEASE, RELEASEDIR, FLUSH, ACCESS):
        return 0, b""
    return errno.ENOSYS, b""


def _attributes(node: int) -> bytes:
    mode = stat.S_IFDIR | 0o755 if node == _ROOT else stat.S_IFREG | 0o644
    size = 0 if node == _ROOT else 4096
    return struct.pack("=QQQQQQIIIIIIIIII", node, size, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)
