"""One load's own directory below `ingest/`, and the end of those whose process was killed.

A live load holds a lock on its directory's lock file; a directory whose lock can be taken belongs to
nobody and is removed by the next load. Called by the loader and by removal, with the store's lock held
while directories are made or taken, so that none is taken between its making and its locking.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from runtime import block_groups
from runtime.images.index import locked
from runtime.images.removal import remove_tree

_LOCK = "lock"


@contextlib.contextmanager
def staging_directory(root: Path) -> Iterator[Path]:
    """A new private directory on the store's file system; gone with all in it at the end."""
    ingest = root / "ingest"
    ingest.mkdir(exist_ok=True)
    with locked(root):
        stage = ingest / os.urandom(8).hex()
        stage.mkdir(mode=0o700)
        block_groups.spread(stage)
        lock = os.open(stage / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        for dead in _dead_directories(ingest, stage):
            with contextlib.suppress(OSError):  # its own load may end at this moment, and remove it
                dead.rename(stage / f"dead-{dead.name}")
    try:
        for dead in stage.glob("dead-*"):  # first of all: a full disk may need their room
            remove_tree(dead)
        yield stage
    finally:
        try:
            remove_tree(stage)
        finally:  # on a failing disk, too: the next load takes what is left away
            os.close(lock)


def remove_dead_stages(root: Path) -> None:
    """All that belongs to nobody, without a load of one's own."""
    if any((root / "ingest").glob("*")):
        with staging_directory(root):
            return


def _dead_directories(ingest: Path, mine: Path) -> list[Path]:
    return [path for path in ingest.iterdir() if path != mine and not _is_alive(path)]


def _is_alive(path: Path) -> bool:
    try:
        descriptor = os.open(path / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
