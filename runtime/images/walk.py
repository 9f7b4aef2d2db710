"""Walks a root file system that strangers fill, also while they change it, and sees nothing but it.

    walk([upper]) ─> Found, ...                               as it is on the disk, overlayfs' marks, too
    walk([upper, lower, ...], is_merged=True) ─> Found, ...   as the container sees it, but for its mounts

A name is opened with O_PATH and O_NOFOLLOW in a directory that is held open, and a directory by its path with
openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS) from the root's descriptor: no link is ever followed, whoever
swaps directories with links meanwhile, and no device or FIFO is opened. Called by the layer writer, by export
and by diff.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from runtime.errors import Invalid, NotFound
from runtime.images.limits import DEFAULT_LIMITS, Limits
from runtime.syscalls import (
    RESOLVE_BENEATH,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
    openat2,
)

OPAQUE = "trusted.overlay.opaque"
_RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NAME = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.EAGAIN})


class Found(NamedTuple):
    """Something below the root, itself b"". descriptor: O_PATH, open until the next one is asked for."""

    path: bytes
    status: os.stat_result
    descriptor: int

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_whiteout(self) -> bool:
        """overlayfs' mark for a name of the layers below that was deleted."""
        return stat.S_ISCHR(self.status.st_mode) and self.status.st_rdev == 0

    @property
    def is_opaque(self) -> bool:
        """A directory that hides all of the layers below it."""
        return self.is_directory and self.xattr(OPAQUE) == b"y"

    def xattr(self, name: str) -> bytes | None:
        """Of a file or a directory; None when it has none of that name."""
        try:
            return os.getxattr(f"/proc/self/fd/{self.descriptor}", name)
        except OSError as error:
            if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
                return None
            raise

    def xattr_names(self, opened: int = -1) -> list[str]:
        """Of a file or a directory. opened: from `open`, which is quicker."""
        return os.listxattr(opened if opened >= 0 else f"/proc/self/fd/{self.descriptor}")

    def open(self) -> int:
        """A descriptor to read a file with: of what was found, whatever its name means by now."""
        name, flags = f"/proc/self/fd/{self.descriptor}", os.O_RDONLY | os.O_CLOEXEC
        try:
            return os.open(name, flags | os.O_NOATIME)
        except PermissionError:  # its owner has no number in the user namespace that we are in
            return os.open(name, flags)


def _all(_found: Found) -> bool:
    return True


def walk(
    roots: Sequence[int],
    subject: str,
    limits: Limits = DEFAULT_LIMITS,
    *,
    is_merged: bool = False,
    crosses: bool = False,
    enters: Callable[[Found], bool] = _all,
) -> Iterator[Found]:
    """Everything, each directory before what is in it, names sorted. roots: descriptors of directories,
    topmost first. is_merged: whiteouts and opaque directories hide what is below, and are not shown
    themselves. crosses: into what is mounted below, too. enters: whether a directory is looked into. Entries
    that vanish meanwhile are left out.

    `Invalid` for a tree that is deeper or larger than an image can be.
    """
    with owned(os.open(".", _NAME, dir_fd=roots[0])) as top:
        yield Found(b"", os.fstat(top), top)
    stack, count = [_Directory(b"", tuple(roots))], 1
    while stack:
        below: _Directory | None = None
        with contextlib.closing(_entries(stack[-1], is_merged=is_merged, crosses=crosses)) as entries:
            for found, layers in entries:
                count += 1
                check(found.path, count, subject, limits)
                yield found
                if found.is_directory and enters(found):
                    below = _Directory(found.path, layers)
                    break  # into it, as other readers of tars expect, with nothing of this one held open
        if below is not None:
            stack.append(below)
        else:
            stack.pop()


@dataclass(slots=True)
class _Directory:
    """One that is being walked. roots: of those that it is made of. left: names still to come, last first,
    each with the positions among `roots` that had it when they were listed."""

    path: bytes
    roots: tuple[int, ...]
    left: list[tuple[bytes, Sequence[int]]] | None = None


def _entries(
    directory: _Directory, *, is_merged: bool, crosses: bool
) -> Generator[tuple[Found, tuple[int, ...]]]:
    """The entries that are left, each with those of the roots that it is made of when it is a directory."""
    path = directory.path
    with contextlib.ExitStack() as stack:
        places = [(root, open_directory(root, path, stack, crosses=crosses)) for root in directory.roots]
        if directory.left is None:
            directory.left = _names(places)
        left, prefix = directory.left, path + b"/" if path else b""
        while left:
            name, having = left.pop()
            found, layers = look(prefix + name, name, [places[each] for each in having], is_merged=is_merged)
            if found is None:
                continue
            try:
                yield found, layers
            finally:
                os.close(found.descriptor)


def _names(places: Sequence[tuple[int, int]]) -> list[tuple[bytes, Sequence[int]]]:
    """What the directories of several layers have, the last name first, and in which of them it is."""
    if len(places) == 1:
        first = listed(places[0][1]) if places[0][1] >= 0 else []
        return [(name, (0,)) for name in sorted(first, reverse=True)]
    having: dict[bytes, list[int]] = {}
    for position, (_, each) in enumerate(places):
        for name in listed(each) if each >= 0 else ():
            having.setdefault(name, []).append(position)
    return sorted(having.items(), reverse=True)


def listed(directory: int) -> list[bytes]:
    return [os.fsencode(name) for name in os.listdir(directory)]


def look(
    path: bytes, name: bytes, places: Sequence[tuple[int, int]], *, is_merged: bool
) -> tuple[Found | None, tuple[int, ...]]:
    """The topmost entry of that name, whose descriptor is the caller's to close, and the roots that a merged
    directory is made of. places: (root, descriptor of the directory in it, -1 where there is none)."""
    if len(places) == 1:  # as nearly always
        root, directory = places[0]
        first = open_name(path, name, directory) if directory >= 0 else None
        if first is None or not is_merged or not first.is_whiteout:
            return first, (root,)
        os.close(first.descriptor)
        return None, ()
    return _look_in_all(path, name, places, is_merged=is_merged)


def _look_in_all(
    path: bytes, name: bytes, places: Sequence[tuple[int, int]], *, is_merged: bool
) -> tuple[Found | None, tuple[int, ...]]:
    first: Found | None = None
    layers: list[int] = []
    try:
        for root, directory in places:
            found = open_name(path, name, directory) if directory >= 0 else None
            if found is None:
                continue
            goes_on = _adds(first, found, is_merged=is_merged)
            if goes_on is not None:
                layers.append(root)
            if first is None and goes_on is not None:
                first = found
            else:
                os.close(found.descriptor)
            if not goes_on:
                break
    except BaseException:
        if first is not None:
            os.close(first.descriptor)
        raise
    return first, tuple(layers)


def _adds(first: Found | None, found: Found, *, is_merged: bool) -> bool | None:
    """Whether what is below an entry of a layer is seen, too; None when it is not seen itself."""
    if first is not None and not found.is_directory:
        return None  # a file, or a whiteout, below a directory: nothing of what is below it is seen
    if is_merged and found.is_whiteout:
        return None
    return found.is_directory and not (is_merged and found.is_opaque)


def open_name(path: bytes, name: bytes, directory: int) -> Found | None:
    try:
        descriptor = os.open(name, _NAME, dir_fd=directory)
    except FileNotFoundError:
        return None
    return Found(path, os.fstat(descriptor), descriptor)


def open_directory(root: int, path: bytes, stack: contextlib.ExitStack, *, crosses: bool = False) -> int:
    """-1 when it is no directory any more."""
    resolve = _RESOLVE & ~RESOLVE_NO_XDEV if crosses else _RESOLVE
    try:
        return stack.enter_context(owned(openat2(root, path or b".", _DIRECTORY, resolve=resolve)))
    except OSError as error:
        if error.errno in _GONE:
            return -1
        raise


@contextlib.contextmanager
def opened(directories: Sequence[Path]) -> Iterator[list[int]]:
    """Their descriptors. NotFound when one of them was removed meanwhile, with its container."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(owned(open_root(directory))) for directory in directories]


def open_root(directory: str | Path) -> int:
    try:
        return os.open(directory, _DIRECTORY)
    except FileNotFoundError as error:
        raise NotFound("read root", str(directory), "it was removed meanwhile") from error


@contextlib.contextmanager
def owned(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def check(path: bytes, count: int, subject: str, limits: Limits) -> None:
    """`Invalid` for more than an image can hold."""
    if count > limits.entries:
        raise Invalid("read files", subject, f"more than {limits.entries} files", "keep them in a volume")
    if path.count(b"/") >= limits.depth:
        raise Invalid("read files", subject, f"{_shown(path)} is deeper than {limits.depth} directories")
    if len(path) > limits.name_bytes:
        raise Invalid("read files", subject, f"{_shown(path)} is longer than {limits.name_bytes} bytes")


def _shown(path: bytes) -> str:
    return repr(path[:200].decode(errors="replace"))
