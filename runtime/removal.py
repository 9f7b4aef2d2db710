"""Removing a tree that a container filled: by descriptor, without following links, however deep it is.

A container can make directories deeper than any path, any stack of descriptors or any recursion may
be. Below MAX_DEPTH a directory is moved up to the top of the tree and removed from there. What is
mounted somewhere in it is somebody's data, and no part of the tree: then EXDEV is raised.
"""

from __future__ import annotations

import os
from pathlib import Path

from runtime import syscalls

MAX_DEPTH = 48
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_HERE = syscalls.RESOLVE_NO_XDEV | syscalls.RESOLVE_NO_SYMLINKS


def remove_tree(path: Path | str) -> None:
    """Remove a file, or a directory with all below it. Nothing happens when it is gone. OSError."""
    try:
        os.unlink(path)  # noqa: PTH108 - this runs for every container that is deleted
        return
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        pass
    try:
        os.rmdir(path)  # noqa: PTH106
        return
    except FileNotFoundError:
        return
    except OSError:
        pass
    top = os.open(path, _DIRECTORY)
    try:
        while _empty(top, top, 0):
            pass  # what was moved up is there now
    finally:
        os.close(top)
    os.rmdir(path)  # noqa: PTH106


def _empty(directory: int, top: int, depth: int) -> int:
    """Remove what is in a directory; how many directories were moved up to the top instead."""
    moved = 0
    with os.scandir(directory) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in found:
        if not is_directory:
            os.unlink(name, dir_fd=directory)
        elif depth < MAX_DEPTH:
            moved += _remove_directory(directory, name, top, depth)
        else:
            _move_up(directory, name, top)
            moved += 1
    return moved


def _remove_directory(parent: int, name: str, top: int, depth: int) -> int:
    try:
        os.rmdir(name, dir_fd=parent)
        return 0
    except OSError:
        descriptor = syscalls.openat2(parent, name, _DIRECTORY, resolve=_HERE)
    try:
        moved = _empty(descriptor, top, depth + 1)
    finally:
        os.close(descriptor)
    os.rmdir(name, dir_fd=parent)
    return moved


def _move_up(parent: int, name: str, top: int) -> None:
    number = 0
    while True:
        try:
            os.rename(name, f".deep-{number}", src_dir_fd=parent, dst_dir_fd=top)
            return
        except OSError:
            number += 1
            if number > 100_000:
                raise
