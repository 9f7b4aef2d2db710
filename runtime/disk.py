"""The room on the disk that an instance's data are on, and the ballast: the last of it, held back.

    data/ballast/0 … 15    allocated and never written: bytes and inodes that are given up when the disk is
                           full, so that deletes and the store's writes go through, and taken again later

Called by the agent's room watch, and by whoever turns an error of the disk into a sentence. Knows nothing
of containers and decides nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import Temporary

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
BROKEN = frozenset({errno.EIO, errno.EROFS, errno.ESHUTDOWN, errno.EUCLEAN})
HINT = "make room on that disk: `setpoint image rm` and `setpoint volume rm` take what `ls` shows"
LOOK_AT_IT = "look at the kernel's log; work goes on by itself once it can be written again"
RETRY_SECONDS = 5.0

BALLAST_BYTES = 64 << 20
BALLAST_FRACTION = 32  # of a small disk: 2 MiB of 64 MiB
BALLAST_FILES = 16  # each an inode
PROOF_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Room:
    """What a file system has left for everybody, as df(1) shows it. total_inodes 0: it has no such limit.

    Root's reserve is left out, and with it what ext4 keeps for itself (reserved_clusters): that is free by
    f_bfree, and gives ENOSPC to all who ask.
    """

    free_bytes: int
    total_bytes: int
    free_inodes: int
    total_inodes: int
    is_read_only: bool

    @property
    def low_bytes(self) -> int:
        """Below this it is as good as full: 8 MiB, less of a small disk. More than a part of the ballast, so
        that what is given up is not taken by something new."""
        return min(
            2 * BALLAST_BYTES // BALLAST_FILES, 2 * self.total_bytes // BALLAST_FRACTION // BALLAST_FILES
        )

    @property
    def is_full(self) -> bool:
        return self.free_bytes < self.low_bytes or (self.total_inodes > 0 and self.free_inodes < 4)

    def __str__(self) -> str:
        """Of a full disk without the exact number: the same state is the same sentence, told once."""
        is_low = self.free_bytes < self.low_bytes
        free = f"under {_size(self.low_bytes)}" if is_low else _size(self.free_bytes)
        text = f"{free} of {_size(self.total_bytes)} free"
        if self.total_inodes and self.free_inodes < 100:
            free_inodes = self.free_inodes if self.free_inodes >= 4 else "under 4"
            text += f", {free_inodes} of {self.total_inodes} inodes"
        return text


def room(path: Path | str) -> Room:
    """statvfs(3) of the file system that holds path, or would. OSError."""
    try:
        found = os.statvfs(path)
    except (FileNotFoundError, NotADirectoryError):
        return room(Path(path).parent)
    return Room(
        found.f_bavail * found.f_frsize,
        found.f_blocks * found.f_frsize,
        found.f_ffree,
        found.f_files,
        bool(found.f_flag & os.ST_RDONLY),
    )


def explained(op: str, subject: str, error: OSError, path: Path | str = "") -> Temporary | None:
    """An error of a disk as a sentence with what is free and what to do; None when it is no such error.
    path: on the disk, where the error names no file."""
    if error.errno not in FULL | BROKEN:
        return None
    place = str(error.filename or path)
    known = ""
    if place:
        with contextlib.suppress(OSError):
            known = f" ({room(place)})"
    where = f" on the disk of {place}" if place else ""
    if error.errno in FULL:
        what = "no space left" if error.errno == errno.ENOSPC else "the quota is used up"
        return Temporary(op, subject, f"{what}{where}{known}", HINT, RETRY_SECONDS)
    what = os.strerror(error.errno or 0).lower()
    return Temporary(op, subject, f"{what}{where}{known}", LOOK_AT_IT, RETRY_SECONDS)


def check_room(op: str, subject: str, path: Path) -> None:
    """Temporary unless there is room for something new: the last of a disk is for removals and records."""
    found = room(path)
    if found.is_full or found.is_read_only:
        error = OSError(errno.EROFS if found.is_read_only else errno.ENOSPC, "", str(path))
        raise explained(op, subject, error) or error


def write_all(descriptor: int, data: bytes) -> None:
    """write(2) until all of it is written: the last bytes of a disk are given without an error."""
    done = os.write(descriptor, data)
    while done < len(data):
        done += os.write(descriptor, data[done:])


class Ballast:
    """Room that is held back on the disk of `data`."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._directory = data / "ballast"

    def wanted_bytes(self) -> int:
        """64 MiB, or a 32nd of a disk that is smaller than 2 GiB. OSError."""
        return min(BALLAST_BYTES, room(self._data).total_bytes // BALLAST_FRACTION)

    def held_bytes(self) -> int:
        """What is held now; 0 after it was given up."""
        with contextlib.suppress(OSError):
            return sum(path.stat().st_size for path in self._directory.iterdir())
        return 0

    def missing_bytes(self) -> int:
        """What a `take` would allocate. OSError."""
        return max(0, self._each() * BALLAST_FILES - self.held_bytes())

    def take(self) -> None:
        """Allocate what is missing of it, and see it on the disk: also the proof that the disk can be
        written. OSError, and then what is held already stays."""
        each = self._each()
        self._directory.mkdir(mode=0o700, exist_ok=True)
        for number in range(BALLAST_FILES):
            _allocate(self._directory / str(number), each)
        # What is there already says nothing: after an error ext4 refuses all that is new, and takes an fsync.
        # A file without bytes says nothing of a quota on bytes.
        proof = self._directory / "proof"
        _allocate(proof, PROOF_BYTES)
        proof.unlink()

    def give_up_part(self) -> int:
        """Delete a 16th of it; how many bytes that gave, 0 when nothing is left, or nothing can be deleted.
        In parts, for whoever filled the disk would take all at once."""
        for number in range(BALLAST_FILES):
            path = self._directory / str(number)
            with contextlib.suppress(OSError):
                size = path.stat().st_size
                path.unlink()
                if size:
                    return size
        return 0

    def _each(self) -> int:
        return self.wanted_bytes() // BALLAST_FILES // 4096 * 4096


def _allocate(path: Path, length: int) -> None:
    """posix_fallocate(3): blocks that nobody else can have, without writing them where the file system can.
    On failure the file is not there."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if os.fstat(descriptor).st_size < length:
            os.posix_fallocate(descriptor, 0, length)
        os.fsync(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            path.unlink()
        raise
    finally:
        os.close(descriptor)


def _size(number: int) -> str:
    size = float(number)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
