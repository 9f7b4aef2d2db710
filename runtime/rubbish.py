"""What is left of containers that are gone, deleted where nobody waits for it. Used by `life`.

    delete ─ the bundle gets another name: nobody finds it any more ─> answered
                └─ a thread: once it is unmounted, its control group, its run directory, its files ─> gone

Only where it is little: who removes what fills a disk is answered when the disk has its room back. What a
kill leaves of it, the next engine's `open` removes before it makes anything: the bundle by its name, the rest
since no container has it. A container of the same id waits until all is gone.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable
from concurrent.futures import Future

from runtime.checkpoints.shelf import PLACE
from runtime.images.snapshots import UPPER
from runtime.roots import Roots, wait
from runtime.supervisor import log_file
from runtime.threads import Threads

THREADS = 2  # each file waits for the disk, and what is next in the event loop for a processor
MOST = 64  # then a removal waits for its own: nobody removes faster than the disk does
LITTLE_BYTES, MOST_ENTRIES = 256 << 10, 16
CLOSE_SECONDS = 5.0
_MOST_DIRECTORY_BYTES = 64 << 10  # one that once held much is as long as ever on ext4, and takes long to read
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Rubbish:
    """remove(id): all that is left of one; it blocks."""

    def __init__(self, roots: Roots, remove: Callable[[str], None]) -> None:
        self._roots = roots
        self._remove = remove
        self._going: dict[str, Future[None]] = {}
        self._threads = Threads("rubbish", THREADS)

    def has_room(self) -> bool:
        """Whether one more may go behind its answer."""
        self._going = {id: gone for id, gone in self._going.items() if not gone.done()}
        return len(self._going) < MOST

    def take(self, id: str) -> None:
        """It is no container any more."""
        unmounted = self._roots.going(id)

        def remove() -> None:
            if unmounted is not None:
                unmounted.result()
            self._remove(id)

        self._going[id] = self._threads.do(remove, len(self._going) + 1)

    async def wait_gone(self, op: str, id: str, name: str) -> None:
        """Until nothing is left of one that had this id. `Temporary` where that takes too long."""
        gone = self._going.get(id)
        if gone is not None and not gone.done():
            await wait(gone, op, name)

    async def close(self) -> None:
        """Wait a little for the rest; then the next engine removes it."""
        left = [asyncio.wrap_future(gone) for gone in self._going.values() if not gone.done()]
        self._threads.close()
        if left:
            await asyncio.wait(left, timeout=CLOSE_SECONDS)


def is_little(bundle: str) -> bool:
    """Whether a bundle has no room that anybody would miss: its container wrote little to its root and to its
    log. Quick however much there is, for it is asked in the event loop's thread."""
    current = f"{bundle}/log/{log_file.NAME}"
    if os.path.exists(f"{bundle}/{PLACE}") or os.path.exists(f"{current}.1"):  # noqa: PTH110 - as below
        return False
    try:
        return _bytes_below(f"{bundle}/{UPPER}") + _bytes_of(current) <= LITTLE_BYTES
    except OSError:
        return False


def _bytes_below(top: str) -> int:
    """Of all in a directory, where that is little."""
    waiting, entries, size = [os.open(top, _DIRECTORY)], 0, 0
    try:
        while waiting:
            found = _entries_of(waiting[-1], MOST_ENTRIES - entries)
            if found is None:
                return LITTLE_BYTES + 1
            above = waiting.pop()
            try:
                entries += len(found)
                size += sum(entry.stat(follow_symlinks=False).st_blocks * 512 for entry in found)
                for entry in found:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(os.open(entry.name, _DIRECTORY, dir_fd=above))
            finally:
                os.close(above)
    finally:
        for each in waiting:
            os.close(each)
    return size


def _entries_of(directory: int, most: int) -> list[os.DirEntry[str]] | None:
    """None for more than `most`, and for a directory that takes long to read."""
    if os.fstat(directory).st_size > _MOST_DIRECTORY_BYTES:
        return None
    with os.scandir(directory) as entries:
        found = list(itertools.islice(entries, most + 1))
    return found if len(found) <= most else None


def _bytes_of(file: str) -> int:
    try:
        return os.stat(file, follow_symlinks=False).st_blocks * 512  # noqa: PTH116 - for every removal
    except FileNotFoundError:
        return 0
