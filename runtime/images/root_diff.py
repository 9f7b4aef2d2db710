"""What a container changed of its image's files, as `docker diff` tells it.

    changes(upper, lowers, subject) ─> Change("C", b"/etc"), Change("A", b"/etc/new"), ...   sorted by path

Reads the layers' directories, as `root_files` does: what is not in the upper one is as it was. A file counts
as changed when its mode, owner, size or time is another, a directory when its mode or owner is, or anything
below it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from runtime.errors import Invalid
from runtime.images.limits import DEFAULT_LIMITS, Limits
from runtime.images.root_files import opened
from runtime.images.walk import Found, check, look, open_directory

MAX_CHANGES = 250_000  # all are kept until they are sorted, and the agent takes them at once
MAX_PATH_BYTES = 16 * 1024 * 1024  # of all together


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


def changes(
    upper: Path, lowers: Sequence[Path], subject: str, limits: Limits = DEFAULT_LIMITS
) -> list[Change]:
    """Of a whole root. lowers: the layers below, topmost first."""
    told: dict[bytes, Change] = {}
    size = count = 0
    with opened([upper, *lowers]) as roots:
        waiting = [_Directory(b"", tuple(roots[1:]), hides=False)]
        while waiting:
            below: list[_Directory] = []
            for change in _in_directory(roots[0], waiting.pop(), below):
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


def _in_directory(upper: int, directory: _Directory, below: list[_Directory]) -> Iterator[Change]:
    """What is changed of its entries. below: takes the directories to look into next."""
    path = directory.path
    with contextlib.ExitStack() as stack:
        own = open_directory(upper, path, stack)
        if own < 0:
            return
        places = _places(directory, stack)
        names = set(map(os.fsencode, os.listdir(own)))  # noqa: PTH208
        for name in sorted(names):
            whole = path + b"/" + name if path else name
            with contextlib.ExitStack() as held:
                found, _ = look(whole, name, [(upper, own)], held, is_merged=False)
                lower, layers = look(whole, name, places, held, is_merged=True)
                if found is None:
                    continue
                if kind := _kind(found, lower):
                    yield Change(kind, b"/" + whole)
                is_in_both = lower is not None and lower.is_directory and not found.is_whiteout
                if found.is_directory:
                    hides = is_in_both and (directory.hides or found.is_opaque)
                    below.append(_Directory(whole, layers if is_in_both else (), hides))
        if directory.hides:
            yield from _gone(directory, names)


def _places(directory: _Directory, stack: contextlib.ExitStack) -> list[tuple[int, int]]:
    found = ((root, open_directory(root, directory.path, stack)) for root in directory.lowers)
    return [(root, each) for root, each in found if each >= 0]


def _gone(directory: _Directory, names: Collection[bytes]) -> Iterator[Change]:
    """What the layers below have in a directory, but for `names`."""
    with contextlib.ExitStack() as stack:
        places = _places(directory, stack)
        lower = {os.fsencode(name) for _, each in places for name in os.listdir(each)}  # noqa: PTH208
        for name in sorted(lower - set(names)):
            whole = directory.path + b"/" + name
            with contextlib.ExitStack() as held:
                if look(whole, name, places, held, is_merged=True)[0] is not None:
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
