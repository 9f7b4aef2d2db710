"""The lowest layer of every root: the places that a container's mounts go on, and nothing else.

An image that lacks /proc or /etc/hosts would have it made in the writable layer at each start: a copy-up
and a rename on the disk for each, a quarter of what a start costs. In a layer below all others they
are there already, and what the image has of its own is seen instead. Called by `assembly`.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from runtime import disk
from runtime.errors import Temporary

DIRECTORIES = ("dev", "etc", "proc", "sys")
FILES = ("etc/hostname", "etc/hosts", "etc/resolv.conf")


def make(directory: Path) -> str:
    """The layer's path, made or mended. Temporary when the disk is full."""
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        directory.chmod(0o755)
        for name in DIRECTORIES:
            (directory / name).mkdir(mode=0o755, exist_ok=True)
            (directory / name).chmod(0o755)
        for name in FILES:
            _make_file(directory / name)
    except OSError as error:
        raise disk.explained("make mount points", "", error, directory) or Temporary(
            "make mount points", str(directory), str(error)
        ) from error
    return os.fspath(directory)


def _make_file(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != 0o644:
            os.fchmod(descriptor, 0o644)  # whatever the umask was
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)
