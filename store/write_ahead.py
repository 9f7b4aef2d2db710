"""Room for SQLite's write-ahead log, from the first commit on.

Called by `store` once a database is open, and before anybody writes to it. A log that grows has its file's
size and blocks written with each commit, for which fdatasync(2) commits the whole file system's journal; one
that is overwritten waits for its own pages alone. Without this the first thousand pages after each start of
the agent are slow ones. What lies behind the last frame is no part of the log: SQLite reads up to the first
whose checksum is not right (https://sqlite.org/fileformat2.html#walformat).
"""

from __future__ import annotations

import os
from pathlib import Path

WAL_BYTES = 4 << 20  # SQLite begins it anew after a thousand pages, and cuts off what is longer than this
SPARE_BYTES = 256 << 20  # a disk with less has better use for it


def make_room(log: Path) -> None:
    """Fill it up with zeros; nothing on a disk without room for that, or without a log."""
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        space, size = os.fstatvfs(descriptor), os.fstat(descriptor).st_size
        if space.f_bavail * space.f_frsize >= SPARE_BYTES and size < WAL_BYTES:
            os.pwrite(descriptor, bytes(WAL_BYTES - size), size)
    except OSError:  # SQLite hears of it itself, and says so
        return
    finally:
        os.close(descriptor)
