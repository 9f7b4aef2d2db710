"""What is mounted where, as the kernel lists it: read as text, so that no file system is asked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def points() -> Iterator[str]:
    """The mount points of this process's namespace, the last made first."""
    lines = Path("/proc/self/mountinfo").read_bytes().split(b"\n")
    for line in reversed(lines[:-1]):
        # Octal escapes of single bytes (proc(5)).
        yield os.fsdecode(line.split(b" ")[4].decode("unicode_escape").encode("latin-1"))


def points_below(prefix: str) -> Iterator[str]:
    """Those of a directory, itself included. prefix: its path with a slash at the end."""
    return (point for point in points() if f"{point}/".startswith(prefix))
