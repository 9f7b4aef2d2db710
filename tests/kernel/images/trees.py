"""Compares file trees: everything that a layer carries, in one comparable value a name."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from runtime.mounts import Overlay, mount_overlay
from runtime.syscalls import umount2

Facts = dict[str, tuple[object, ...]]


def describe(root: Path, *, times: bool = True) -> Facts:
    """Name to kind, mode, owner, time, content or target or device, xattrs, and which names are one file."""
    facts: Facts = {}
    inodes: dict[int, str] = {}
    for path in sorted([root, *root.rglob("*")]):
        status = path.lstat()
        kind = stat.S_IFMT(status.st_mode)
        name = str(path.relative_to(root))
        first = inodes.setdefault(status.st_ino, name) if kind != stat.S_IFDIR else name
        facts[name] = (
            oct(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns if times else 0,
            _content(path, status), _xattrs(path), first if status.st_nlink > 1 else name,
        )  # fmt: skip
    return facts


@contextlib.contextmanager
def overlay(mountpoint: Path, lower: Sequence[str], upper: str = "", work: str = "") -> Iterator[Path]:
    """A merged view of layers, topmost first; a single one is shown as it is."""
    mountpoint.mkdir(exist_ok=True)
    if not upper and len(lower) == 1:
        yield Path(lower[0])
        return
    target = os.open(mountpoint, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(mount_overlay(Overlay(tuple(lower), upper, work), target))
    finally:
        os.close(target)
    try:
        yield mountpoint
    finally:
        umount2(os.fspath(mountpoint))


def _content(path: Path, status: os.stat_result) -> object:
    if stat.S_ISREG(status.st_mode):
        return status.st_size, hashlib.sha256(path.read_bytes()).hexdigest()
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(path)
    return status.st_rdev


def _xattrs(path: Path) -> tuple[tuple[str, bytes], ...]:
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)
