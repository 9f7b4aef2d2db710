"""What a container changed of its image's files, as `docker diff` tells it.

    changes(upper, lowers, subject) ─> Change("C", b"/etc"), Change("A", b"/etc/new"), ...   sorted by path

Reads the layers' directories, as `root_files` does: what is not in the upper one is as it was. A file counts
as changed when its mode, owner, size or time is another, a directory when its mode or owner is, or anything
below it. Called in a worker; by the agent itself, in a thread, as far as there is little to look at.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from runtime.errors import Invalid
from runtime.images.limits import DEFAULT_LIMITS, Limits
from runtime.images.walk import Found, check, look, open_directory, open_name, opened

MAX_CHANGES = 250_000  # all are kept until they are sorted, and the agent takes them at once
MAX_PATH_BYTES = 16 * 1024 * 1024  # of all together
QUICK_NAMES = 1000  # that may be read for a quick look: some 10 ms


class Change(NamedTuple):
    """A added, C changed, D deleted. Of a directory that was deleted, or that something else took the place
    of, only itself is told."""

    kind: Literal["A", "C", "D"]
    path: bytes


class _Directory(NamedTuple):
    """One of the upper directory's, and the layers that have it, too. hides: nothing of those is seen."""

    path: bytes
    lowers: tuple[int, ...]
    hides: bool


class _TooMany(Exception):
    """More names than may be read."""


@dataclass(slots=True)
class _Names:
    """Those of directories, as long as some may still be read: a container can make any number of them."""

    left: int

    def of(self, directory: int) -> list[bytes]:
        found: list[bytes] = []
        with os.scandir(directory) as entries:
            for entry in entries:
                if len(found) >= self.left:
                    raise _TooMany
                found.append(os.fsencode(entry.name))
        self.left -= len(found)
        return found


def quick_changes(upper: Path, lowers: Sequence[Path], subject: str) -> list[Change] | None:
    """None when it is not quickly told; `changes` tells it."""
    try:
        with opened([upper, *lowers]) as roots:
            return changes_of(roots, subject, names=_Names(QUICK_NAMES))
    except _TooMany:
        return None


def changes(
    upper: Path, lowers: Sequence[Path], subject: str, limits: Limits = DEFAULT_LIMITS
) -> list[Change]:
    """Of a whole root. lowers: the layers below, topmost first."""
    with opened([upper, *lowers]) as roots:
        return changes_of(roots, subject, limits)


def changes_of(
    roots: Sequence[int], subject: str, limits: Limits = DEFAULT_LIMITS, names: _Names | None = None
) -> list[Change]:
    """The same of layers that are open."""
    names = names or _Names(sys.maxsize)
    told: dict[bytes, Change] = {}
    size = count = 0
    waiting = [_Directory(b"", tuple(roots[1:]), hides=False)]
    while waiting:
        below: list[_Directory] = []
        for change in _in_directory(roots[0], waiting.pop(), names, below):
            count += 1
            check(change.path, count, subject, limits)
            size += sum(map(len, _tell(change, told)))
            if size > MAX_PATH_BYTES or count > MAX_CHANGES:
                reason = f"over {MAX_CHANGES} changes, or {MAX_PATH_BYTES >> 20} MiB of their names"
                raise Invalid("diff", subject, reason, "setpoint export shows all of its files")
        waiting += reversed(below)
    return sorted(told.values(), key=lambda change: change.path)


def _tell(change: Change, told: dict[bytes, Change]) -> Iterator[bytes]:
    """Put it down, and its parents as changed; the paths that are new."""
    told[change.path] = change
    yield change.path
    parent = change.path.rpartition(b"/")[0]
    while parent and parent not in told:
        told[parent] = Change("C", parent)
        yield parent
        parent = parent.rpartition(b"/")[0]


def _in_directory(
    upper: int, directory: _Directory, names: _Names, below: list[_Directory]
) -> Iterator[Change]:
    """What is changed of its entries. below: takes the directories to look into next."""
    path = directory.path
    with contextlib.ExitStack() as stack:
        own = open_directory(upper, path, stack)
        if own < 0:
            return
        places = _places(directory, stack)
        there = names.of(own)
        for name in sorted(there):
            whole = path + b"/" + name if path else name
            found = _seen(whole, name, own)
            if found is None:
                continue
            lower, layers = _lower(whole, name, places)
            if kind := _kind(found, lower):
                yield Change(kind, b"/" + whole)
            if found.is_directory:
                is_in_both = lower is not None and lower.is_directory
                hides = is_in_both and (directory.hides or _is_opaque(name, own))
                below.append(_Directory(whole, layers if is_in_both else (), hides))
        if directory.hides:
            yield from _gone(directory, names, there)


def _places(directory: _Directory, stack: contextlib.ExitStack) -> list[tuple[int, int]]:
    return [(root, open_directory(root, directory.path, stack)) for root in directory.lowers]


def _seen(path: bytes, name: bytes, directory: int) -> Found | None:
    """Without a descriptor: what it is, is all that counts of most."""
    try:
        return Found(path, os.stat(name, dir_fd=directory, follow_symlinks=False), -1)
    except FileNotFoundError:
        return None


def _is_opaque(name: bytes, directory: int) -> bool:
    found = open_name(b"", name, directory)
    if found is None:
        return False
    try:
        return found.is_opaque
    finally:
        os.close(found.descriptor)


def _lower(
    path: bytes, name: bytes, places: Sequence[tuple[int, int]]
) -> tuple[Found | None, tuple[int, ...]]:
    """What the layers below have of that name, and which of them."""
    found, layers = look(path, name, places, is_merged=True)
    if found is not None:
        os.close(found.descriptor)
    return found, layers


def _gone(directory: _Directory, names: _Names, there: Collection[bytes]) -> Iterator[Change]:
    """What the layers below have in a directory, but for what is there."""
    with contextlib.ExitStack() as stack:
        places = _places(directory, stack)
        lower = {name for _, each in places if each >= 0 for name in names.of(each)}
        for name in sorted(lower - set(there)):
            whole = directory.path + b"/" + name
            if _lower(whole, name, places)[0] is not None:
                yield Change("D", b"/" + whole)


def _kind(found: Found, lower: Found | None) -> Literal["A", "C", "D"] | None:
    if found.is_whiteout:
        return "D"
    if lower is None:
        return "A"
    return None if _facts(found) == _facts(lower) else "C"


def _facts(found: Found) -> tuple[int, ...]:
    """The time and size of a directory say little, and the links to a file nothing."""
    status = found.status
    owned = (status.st_mode, status.st_uid, status.st_gid, status.st_rdev)
    return owned if found.is_directory else (*owned, status.st_size, status.st_mtime_ns)
