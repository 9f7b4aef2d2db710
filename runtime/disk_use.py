"""What directory trees take on disk, counted within a time: du(1) that gives up, and says so.

Called for `system df` by a thread. The trees are of containers and volumes, whose owners change them as we
look: every name is opened below a descriptor, no link is followed, other file systems are left out.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

BLOCK = 512  # what st_blocks counts in (stat(2)), whatever the file system's own are
MAX_DEPTH = 200  # a descriptor each; a container may nest deeper, and is then counted in part
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class TreeUse:
    """bytes: allocated, a file of several names once. is_whole: False when the time was over, or a part could
    not be read: then it takes more. at: when it was counted, Unix seconds."""

    bytes: int
    is_whole: bool
    at: float


class DiskUse:
    """Remembers what it counted: a later look counts first what it knows least of."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._known: dict[str, TreeUse] = {}

    def of(self, directories: Iterable[Path], seconds: float) -> dict[Path, TreeUse]:
        """The use of each, counted anew as far as the time reaches; else what was counted before, whole."""
        wanted = list(directories)
        deadline = time.monotonic() + seconds
        self._known = {name: self._known[name] for name in map(str, wanted) if name in self._known}
        for path in sorted(wanted, key=self._counted_at):
            name, before = str(path), self._known.get(str(path))
            found = count(path, deadline, self._clock())
            if before is None or found.is_whole or not before.is_whole:
                self._known[name] = found
        return {path: self._known[str(path)] for path in wanted}

    def _counted_at(self, path: Path) -> float:
        known = self._known.get(str(path))
        return known.at if known is not None and known.is_whole else 0.0


def count(path: Path, deadline: float, now: float) -> TreeUse:
    """deadline: by time.monotonic(). A tree that is not there takes nothing."""
    counter = _Counter(deadline)
    try:
        descriptor = os.open(path, _FLAGS)
    except FileNotFoundError:
        return TreeUse(0, True, now)
    except OSError:
        return TreeUse(0, False, now)
    try:
        counter.add(os.fstat(descriptor))
        counter.walk(descriptor, 0)
    except OSError:
        counter.is_whole = False
    finally:
        os.close(descriptor)
    return TreeUse(counter.bytes, counter.is_whole, now)


class _Counter:
    def __init__(self, deadline: float) -> None:
        self.bytes = 0
        self.is_whole = True
        self._deadline = deadline
        self._seen: set[tuple[int, int]] = set()
        self._device: int | None = None

    def add(self, found: os.stat_result) -> None:
        self._device = found.st_dev if self._device is None else self._device
        if found.st_nlink > 1 and found.st_mode & 0o170000 != 0o040000:
            if (found.st_dev, found.st_ino) in self._seen:
                return
            self._seen.add((found.st_dev, found.st_ino))
        self.bytes += found.st_blocks * BLOCK

    def walk(self, directory: int, depth: int) -> None:
        below: list[str] = []
        with os.scandir(directory) as entries:
            for entry in entries:
                if time.monotonic() > self._deadline:
                    self.is_whole = False
                    return
                try:
                    found = entry.stat(follow_symlinks=False)
                except OSError:  # it went
                    continue
                if found.st_dev != self._device:
                    continue
                self.add(found)
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.name)
        for name in below:
            self._enter(directory, name, depth + 1)

    def _enter(self, directory: int, name: str, depth: int) -> None:
        if depth > MAX_DEPTH or time.monotonic() > self._deadline:
            self.is_whole = False
            return
        try:
            descriptor = os.open(name, _FLAGS, dir_fd=directory)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError:
            self.is_whole = False
            return
        try:
            self.walk(descriptor, depth)
        finally:
            os.close(descriptor)
