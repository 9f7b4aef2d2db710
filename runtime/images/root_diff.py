"""What a container changed of its image's files, as `docker diff` tells it.

    changes(upper, lowers, subject) ─> Change("C", b"/etc"), Change("A", b"/etc/new"), ...   sorted by path

Reads the layers' directories, as `root_files` does. A directory counts as changed when its mode, owner or
time is another, or when something was added or deleted in it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from runtime.errors import Invalid
from runtime.images.limits import DEFAULT_LIMITS, Limits
from runtime.images.root_files import opened
from runtime.images.walk import Found, check, look, open_directory

MAX_PATH_BYTES = 64 * 1024 * 1024  # of all changes together: they are kept until they are sorted


class Change(NamedTuple):
    """A added, C changed, D deleted; a directory that was deleted and made anew is D, and what is in it A."""

    kind: Literal["A", "C", "D"]
    path: bytes


def changes(
    upper: Path, lowers: Sequence[Path], subject: str, limits: Limits = DEFAULT_LIMITS
) -> list[Change]:
    """Of a whole root. lowers: the layers below, topmost first."""
    told: dict[bytes, Change] = {}
    size = 0
    with opened([upper, *lowers]) as roots:
        for count, (found, below) in enumerate(_pairs(roots)):
            check(found.path, count, subject, limits)
            for change in _judge(found, below, told):
                told[change.path] = change
                size += len(change.path)
            if size > MAX_PATH_BYTES:
                raise Invalid("diff", subject, f"over {MAX_PATH_BYTES >> 20} MiB of names of changed files")
    return sorted(told.values(), key=lambda change: change.path)


def _pairs(roots: Sequence[int]) -> Iterator[tuple[Found, Found | None]]:
    """Everything in the upper directory but itself, with what the layers below have in its place."""
    upper, *lowers = roots
    waiting: list[tuple[bytes, tuple[int, ...]]] = [(b"", tuple(lowers))]
    while waiting:
        path, below = waiting.pop()
        directories: list[tuple[bytes, tuple[int, ...]]] = []
        with contextlib.ExitStack() as stack:
            directory = open_directory(upper, path, stack)
            if directory < 0:
                continue
            places = [(root, each) for root in below if (each := open_directory(root, path, stack)) >= 0]
            for name in sorted(map(os.fsencode, os.listdir(directory))):  # noqa: PTH208
                whole = path + b"/" + name if path else name
                with contextlib.ExitStack() as held:
                    found, _ = look(whole, name, [(upper, directory)], held, is_merged=False)
                    if found is None:
                        continue
                    lower, layers = look(whole, name, places, held, is_merged=True)
                    yield found, lower
                    if found.is_directory:
                        is_new = found.is_opaque or lower is None or not lower.is_directory
                        directories.append((whole, () if is_new else layers))
        waiting += reversed(directories)


def _judge(found: Found, below: Found | None, told: dict[bytes, Change]) -> Iterator[Change]:
    path = b"/" + found.path
    kind = _kind(found, below)
    if kind is None:
        return
    parent = path.rpartition(b"/")[0]
    if kind != "C" and parent and parent not in told:
        yield Change("C", parent)
    yield Change(kind, path)


def _kind(found: Found, below: Found | None) -> Literal["A", "C", "D"] | None:
    if found.is_whiteout:
        return "D"
    if below is None:
        return "A"
    if not found.is_directory or not below.is_directory:
        return "C"
    if found.is_opaque:
        return "D"
    return None if _facts(found) == _facts(below) else "C"


def _facts(found: Found) -> tuple[int, int, int, int]:
    status = found.status
    return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns
