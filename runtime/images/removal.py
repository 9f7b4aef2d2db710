"""Removes a tree that strangers filled, by descriptor: no link is followed and no name is joined.

Called for what an archive replaces, for what a killed load left behind and for layers that nobody
needs. Holds one descriptor for each level, and trees of layers are at most `Limits.depth` deep.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: Path) -> None:
    """Remove a file, or a directory with all below it. Nothing happens when it is gone."""
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(FileNotFoundError):
            remove_entry(parent, os.fsencode(path.name))
    finally:
        os.close(parent)


def remove_entry(directory: int, name: bytes) -> None:
    """Remove one name of an open directory, whatever it is."""
    try:
        os.unlink(name, dir_fd=directory)
    except IsADirectoryError:
        _remove_directory(directory, name)


def _remove_directory(directory: int, name: bytes) -> None:
    descriptor = os.open(name, _DIRECTORY, dir_fd=directory)
    try:
        with os.scandir(descriptor) as found:
            children = [(os.fsencode(child.name), child.is_dir(follow_symlinks=False)) for child in found]
        for child, is_directory in children:
            if is_directory:
                _remove_directory(descriptor, child)
            else:
                os.unlink(child, dir_fd=descriptor)
    finally:
        os.close(descriptor)
    os.rmdir(name, dir_fd=directory)
