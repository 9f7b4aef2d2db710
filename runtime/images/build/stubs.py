"""The places that mounts of a step were put on are no part of its layer.

Called after a RUN step, with the upper directory that the engine's container had. Takes away only what is
empty, in the upper directory alone, and never follows a link: whatever the step left there in their place, no
file of the host and none of the step is lost.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from runtime.images.build import paths
from runtime.images.build.paths import Parts


def remove_stubs(upper: Path, below: int, targets: Iterable[str]) -> None:
    """below: a descriptor of the root before the step: what was in it stays."""
    found = {parts for target in targets for parts in _places(below, target)}
    if not found:
        return
    root = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for parts in sorted(found, key=lambda parts: (-len(parts), parts)):
            _remove_empty(root, parts)
    finally:
        os.close(root)


def _places(below: int, target: str) -> list[Parts]:
    """The target, and the directories on the way to it, as far as they were not there."""
    try:
        whole = paths.real_path(below, target)
    except OSError:
        return []
    prefixes = [whole[:count] for count in range(1, len(whole) + 1)]
    return [parts for parts in prefixes if paths.status(below, parts) is None]


def _remove_empty(root: int, parts: Parts) -> None:
    with contextlib.suppress(OSError):  # not there, not empty, or something else by now: it stays
        parent = paths.open_directory(root, parts[:-1])
        try:
            found = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                os.rmdir(parts[-1], dir_fd=parent)
            elif stat.S_ISREG(found.st_mode) and found.st_size == 0 and found.st_nlink == 1:
                os.unlink(parts[-1], dir_fd=parent)
        finally:
            os.close(parent)
