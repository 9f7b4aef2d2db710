"""A copy of the database, in memory, for a disk that cannot be written when the agent starts: what was
remembered can be read, and the file itself is written again as soon as it takes a write.

Called by `store`, and by `reader` for a disk that is full.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

# SQLite maps the -shm that it makes, and a full disk that has no block for a page of it ends the process by
# SIGBUS. Under this nothing of the kind is begun.
LEAST_BYTES = 1 << 20
SUFFIXES = ("", "-wal", "-shm", "-journal")


def copy_database(path: Path, directory: Path) -> Path:
    """Copy it, with what is committed in its -wal alone, into a directory of root's; the copy's path. No
    file there: no copy, and a fresh one begins. OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    copy = directory / path.name
    remove_copy(copy)
    for suffix in ("", "-wal"):
        with contextlib.suppress(FileNotFoundError), open(f"{path}{suffix}", "rb") as source:  # noqa: PTH123
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            with os.fdopen(os.open(f"{copy}{suffix}", flags, 0o600), "wb") as target:
                while data := source.read(1 << 20):
                    target.write(data)
    return copy


def remove_copy(copy: Path) -> None:
    for suffix in SUFFIXES:
        copy.with_name(copy.name + suffix).unlink(missing_ok=True)


def is_full(directory: Path) -> bool:
    """Too full for a database to be opened safely. OSError."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize < LEAST_BYTES
