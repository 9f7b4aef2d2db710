"""Paths below a root that strangers filled: links are followed as if the root were all there is.

`real_path` says where a path leads, component by component; everything is opened by its real path with
openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS), so that a link that is put in its place meanwhile is refused
and never followed. Called by the copier, on contexts, on roots of stages and on the root that is built.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence

from runtime.syscalls import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2

MAX_LINKS = 40  # as the kernel, path_resolution(7)
MAX_PARTS = 1024
Parts = tuple[str, ...]
_RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PATH_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def parts_of(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def real_path(root: int, path: str, *, follows_last: bool = True) -> Parts:
    """Where a path leads below root. What is not there counts as written, `..` never leads above the root.
    OSError (ELOOP) for links that go in a circle."""
    todo = parts_of(path)[::-1]
    done: list[str] = []
    links = 0
    while todo:
        name = todo.pop()
        if name == "..":
            del done[-1:]
            continue
        found = status(root, (*done, name))
        if found is None or not stat.S_ISLNK(found.st_mode) or not (todo or follows_last):
            done.append(name)
            if len(done) > MAX_PARTS:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
            continue
        links += 1
        if links > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        target = _read_link(root, (*done, name))
        if target.startswith("/"):
            done = []
        todo += parts_of(target)[::-1]
    return tuple(done)


def status(root: int, parts: Parts) -> os.stat_result | None:
    """lstat of a real path; None when there is nothing."""
    if not parts:
        return os.fstat(root)
    try:
        parent = open_directory(root, parts[:-1], flags=_PATH_DIRECTORY)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise
    try:
        return os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    finally:
        os.close(parent)


def open_directory(root: int, parts: Parts, *, flags: int = _DIRECTORY) -> int:
    return openat2(root, "/".join(parts) or ".", flags, resolve=_RESOLVE)


def open_file(root: int, parts: Parts) -> int:
    """A regular file, to read. OSError (EINVAL) for anything else: nothing waits for a FIFO's writer."""
    descriptor = openat2(
        root, "/".join(parts), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, resolve=_RESOLVE
    )
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", "/".join(parts))
    return descriptor


def make_directories(root: int, parts: Parts, mode: int, on_made: Callable[[int], None]) -> int:
    """A descriptor of the directory, made with its parents where missing. on_made: is given each new one's
    descriptor. OSError (ENOTDIR) when something else is in the way."""
    for count in range(1, len(parts) + 1):
        whole = parts[:count]
        found = status(root, whole)
        if found is not None:
            if not stat.S_ISDIR(found.st_mode):
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), "/" + "/".join(whole))
            continue
        parent = open_directory(root, whole[:-1])
        try:
            os.mkdir(whole[-1], 0o700, dir_fd=parent)
        finally:
            os.close(parent)
        made = open_directory(root, whole)
        try:
            on_made(made)
            os.fchmod(made, mode)
        finally:
            os.close(made)
    return open_directory(root, parts)


def shown(parts: Sequence[str]) -> str:
    return "/" + "/".join(parts)


def _read_link(root: int, parts: Parts) -> str:
    parent = open_directory(root, parts[:-1], flags=_PATH_DIRECTORY)
    try:
        return os.readlink(parts[-1], dir_fd=parent)
    finally:
        os.close(parent)
