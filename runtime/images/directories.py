"""Modes, owners and times of directories: given last, since what is made in one changes its time again.

Called by the tree writer, and by `layers` for directories that a layer only implied. Every path is opened
from the root's descriptor, and no link leads out.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.images.xattrs import set_xattrs
from runtime.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_XDEV, openat2

RESOLVE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV
O_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Attributes:
    """Of one directory."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: tuple[tuple[str, bytes], ...] = ()


def inherit(root: int, implied: Sequence[bytes], lowers: Sequence[Path]) -> None:
    """Give directories that no entry described what the layers below have, topmost first, so that a layer
    with only tmp/x does not close /tmp to users."""
    for path in implied if lowers else ():
        attributes = _attributes_below(path, lowers)
        if attributes is not None:
            apply(root, path, attributes)


def _attributes_below(path: bytes, lowers: Sequence[Path]) -> Attributes | None:
    for lower in lowers:
        found = _stat_in(lower, path)
        if found is None:
            continue
        if not stat.S_ISDIR(found.st_mode):
            return None
        return Attributes(stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, found.st_mtime_ns)
    return None


def apply(root: int, path: bytes, attributes: Attributes) -> tuple[str, ...]:
    """Returns what this file system does not take."""
    try:
        descriptor = openat2(root, path or b".", os.O_RDONLY | os.O_DIRECTORY, resolve=RESOLVE)
    except FileNotFoundError:
        return ()  # a later entry replaced a link that led to it
    try:
        os.fchown(descriptor, attributes.uid, attributes.gid)
        os.fchmod(descriptor, attributes.mode)
        refused = set_xattrs(descriptor, attributes.xattrs)
        os.utime(descriptor, ns=(attributes.mtime_ns, attributes.mtime_ns))
    finally:
        os.close(descriptor)
    return refused


def _stat_in(root: Path, path: bytes) -> os.stat_result | None:
    """lstat of the directory `path` below `root`, never leaving it; None when it is not there."""
    directory = os.open(root, O_DIRECTORY)
    try:
        descriptor = openat2(directory, path, os.O_PATH | os.O_NOFOLLOW, resolve=RESOLVE)
    except OSError:
        return None
    finally:
        os.close(directory)
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)
