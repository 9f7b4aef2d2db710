"""Paths of a container's files, found below a descriptor of its root and nowhere else.

    root, "/var/run/x" ─> place_of ─> Place: a descriptor (O_PATH) of what is there, and its name

Every link is resolved as if the root were all there is (openat2(2), RESOLVE_IN_ROOT), by the kernel and in
one go, so that it does not matter who swaps names meanwhile. What the kernel itself shows (procfs, sysfs) is
no file of a container, and counts as not there.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from runtime import syscalls
from runtime.errors import Invalid, NotFound
from runtime.images.build.paths import real_path

_RESOLVE = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_NAME = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
# linux/magic.h: what the kernel makes up as it is read, or acts upon as it is written.
KERNEL_FILE_SYSTEMS = frozenset((
    0x9FA0, 0x62656572, 0x27E0EB, 0x63677270,  # proc, sysfs, cgroup, cgroup2
    0x1CD1, 0x19800202, 0x64626720, 0x74726163,  # devpts, mqueue, debugfs, tracefs
    0x73636673, 0xCAFE4A11, 0x62656570, 0x6165676C,  # securityfs, bpf, configfs, pstore
    0xDE5E81E4, 0x42494E4D, 0xF97CFF8C, 0x6E736673,  # efivarfs, binfmt_misc, selinux, nsfs
    0x0187, 0x65735543,  # autofs, fusectl
))  # fmt: skip
MAX_PATH_BYTES = 4095


@dataclass(frozen=True, slots=True)
class PathStat:
    """What a path names, a link itself. mode: st_mode. link_target: where a link leads in the end, as a path
    in the container; "" for all else."""

    name: str
    size: int
    mode: int
    mtime_ns: int
    link_target: str


@dataclass(frozen=True, slots=True)
class Place:
    """descriptor: open as long as `place_of` is. base: what an archive of it calls it; "/" for the root, "."
    for a directory asked for by its content."""

    path: str
    base: str
    status: os.stat_result
    descriptor: int

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)


@contextmanager
def place_of(root: int, path: str) -> Iterator[Place]:
    """`NotFound` for what is not there, `Invalid` for links in a circle. A path that ends with a slash, or
    with a dot, is a directory's, a link there is followed."""
    clean, base = plain(path), base_of(path)
    descriptor = _opened(root, clean, is_directory=_is_directory(path))
    try:
        yield Place(clean, base, os.fstat(descriptor), descriptor)
    finally:
        os.close(descriptor)


def stat_of(root: int, path: str) -> PathStat:
    with place_of(root, path) as place:
        found, target = place.status, ""
        if stat.S_ISLNK(found.st_mode):
            target = _link_target(root, place.path)
        return PathStat(place.base, found.st_size, found.st_mode, found.st_mtime_ns, target)


def real_parts(root: int, path: str) -> tuple[str, ...]:
    """Where a path leads, all links followed; what is not there counts as it is written."""
    clean = plain(path)
    try:
        return real_path(root, clean)
    except OSError as error:
        raise _explained(error, clean) from error


def plain(path: str) -> str:
    """`a/./b/../c/` is `/a/c`: `..` by its letters, as Docker's daemon reads it."""
    if not path:
        raise Invalid("", "", "path cannot be empty")
    if "\0" in path or len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise Invalid("read path", path[:80], "not a path, or longer than one can be")
    return posixpath.normpath("/" + path.lstrip("/"))


def base_of(path: str) -> str:
    """The last part as it is written, without slashes after it."""
    return path.rstrip("/").rpartition("/")[2] or "/"


def is_kernels(descriptor: int) -> bool:
    return syscalls.file_system(descriptor) in KERNEL_FILE_SYSTEMS


def _is_directory(path: str) -> bool:
    return path.endswith("/") or base_of(path) in (".", "..")


def _opened(root: int, path: str, *, is_directory: bool) -> int:
    try:
        descriptor = _open(root, path, is_directory=is_directory)
    except OSError as error:
        raise _explained(error, path) from error
    if is_kernels(descriptor):
        os.close(descriptor)
        raise not_there(path)
    return descriptor


def _open(root: int, path: str, *, is_directory: bool) -> int:
    return syscalls.openat2(root, path, _DIRECTORY if is_directory else _NAME, resolve=_RESOLVE)


def not_there(path: str) -> NotFound:
    """The caller, who knows what the container is called, words it."""
    return NotFound("find file", path[:200], "it is not there")


def _explained(error: OSError, path: str) -> Exception:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return not_there(path)
    if error.errno in (errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL):
        return Invalid("find file", path[:200], os.strerror(error.errno))
    return error


def _link_target(root: int, path: str) -> str:
    """A link that leads in a circle, or is gone by now, leads nowhere."""
    try:
        return "/" + "/".join(real_path(root, path))
    except OSError:
        return ""
