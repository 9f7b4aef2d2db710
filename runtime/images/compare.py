"""Compares an unpacked layer with the tree that its packed layer gives: type, mode, owner, size, content,
target, device and extended attributes of every entry. Times are left out: implied directories have their own.

Called by `check`. Both are layers' trees: every directory is opened from its root, and no link is followed.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from runtime.syscalls import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, openat2

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOATIME


def differences(expected: Path, actual: Path) -> Iterator[tuple[bytes, str]]:
    """(path, what is wrong with it), "." for the root. Below what is missing nothing is told. OSError."""
    left, right = os.open(expected, _DIRECTORY), os.open(actual, _DIRECTORY)
    try:
        if wrong := _differ(os.fstat(left), os.fstat(right)):
            yield b".", wrong
        yield from _walk(left, right)
    finally:
        os.close(left)
        os.close(right)


def _walk(left: int, right: int) -> Iterator[tuple[bytes, str]]:
    waiting = [b"."]
    while waiting:
        path = waiting.pop()
        wanted, found = (openat2(root, path, _DIRECTORY, resolve=_RESOLVE) for root in (left, right))
        try:
            for name in sorted(_names(wanted) | _names(found)):
                whole = name if path == b"." else path + b"/" + name
                wrong, is_directory = _compare(wanted, found, name)
                if wrong:
                    yield whole, wrong
                if is_directory:
                    waiting.append(whole)
        finally:
            os.close(wanted)
            os.close(found)


def _names(directory: int) -> set[bytes]:
    with os.scandir(directory) as entries:
        return {os.fsencode(entry.name) for entry in entries}


def _compare(wanted: int, found: int, name: bytes) -> tuple[str, bool]:
    """What is wrong, and whether both are directories to go into."""
    left, right = _status(wanted, name), _status(found, name)
    if right is None:
        return "is missing", False
    if left is None:
        return "is not of the layer", False
    is_directory = stat.S_ISDIR(left.st_mode) and stat.S_ISDIR(right.st_mode)
    wrong = _differ(left, right)
    if not wrong and stat.S_ISLNK(left.st_mode):
        same = os.readlink(name, dir_fd=wanted) == os.readlink(name, dir_fd=found)
        wrong = "" if same else "has another target"
    if not wrong and (stat.S_ISREG(left.st_mode) or is_directory):
        wrong = _differ_inside(wanted, found, name, is_directory)
    return wrong, is_directory


def _status(directory: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _differ(left: os.stat_result, right: os.stat_result) -> str:
    if stat.S_IFMT(left.st_mode) != stat.S_IFMT(right.st_mode):
        return "is of another type"
    if left.st_mode != right.st_mode:
        return f"has mode {stat.S_IMODE(right.st_mode):04o}, not {stat.S_IMODE(left.st_mode):04o}"
    if (left.st_uid, left.st_gid) != (right.st_uid, right.st_gid):
        return f"is of {right.st_uid}:{right.st_gid}, not of {left.st_uid}:{left.st_gid}"
    if stat.S_ISREG(left.st_mode) and left.st_size != right.st_size:
        return f"has {right.st_size} bytes, not {left.st_size}"
    is_device = stat.S_ISCHR(left.st_mode) or stat.S_ISBLK(left.st_mode)
    return "is another device" if is_device and left.st_rdev != right.st_rdev else ""


def _differ_inside(wanted: int, found: int, name: bytes, is_directory: bool) -> str:
    flags = _DIRECTORY | os.O_NOFOLLOW if is_directory else _FILE
    left = os.open(name, flags, dir_fd=wanted)
    try:
        right = os.open(name, flags, dir_fd=found)
        try:
            if _xattrs(left) != _xattrs(right):
                return "has other extended attributes"
            return "" if is_directory or _hash(left) == _hash(right) else "has another content"
        finally:
            os.close(right)
    finally:
        os.close(left)


def _xattrs(descriptor: int) -> dict[str, bytes]:
    return {name: os.getxattr(descriptor, name) for name in os.listxattr(descriptor)}


def _hash(descriptor: int) -> bytes:
    with os.fdopen(os.dup(descriptor), "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
