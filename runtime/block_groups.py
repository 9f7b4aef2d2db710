"""Where an ext4 file system puts the directories of containers. Called when an engine opens; changes how
fast starts are, and nothing else.

ext4 does not give an inode again for a minute or more after it was freed (`recently_deleted` in
fs/ext4/ialloc.c), and steps over those in a block group one by one. An overlay frees four or five when it
is mounted, so that a hundred starts in one group step over more and more of them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from pathlib import Path

# linux/fs.h. The flags are an int, whatever the numbers of the requests say (ioctl_iflags(2)).
_FS_IOC_GETFLAGS = 0x80086601
_FS_IOC_SETFLAGS = 0x40086602
_FS_TOPDIR_FL = 0x00020000
_FLAGS = struct.Struct("=i")


def spread(directory: Path) -> None:
    """Let each directory that is made in this one have a block group of its own, as `chattr +T` does.
    Does nothing where the file system has no such flag."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            flags = _flags_of(descriptor)
            if not flags & _FS_TOPDIR_FL:
                fcntl.ioctl(descriptor, _FS_IOC_SETFLAGS, _FLAGS.pack(flags | _FS_TOPDIR_FL))
        finally:
            os.close(descriptor)


def is_spread(directory: Path) -> bool:
    """Whether the directory has the flag. Raises OSError where the file system has none."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return bool(_flags_of(descriptor) & _FS_TOPDIR_FL)
    finally:
        os.close(descriptor)


def _flags_of(descriptor: int) -> int:
    answer = fcntl.ioctl(descriptor, _FS_IOC_GETFLAGS, bytes(_FLAGS.size))
    flags: int = _FLAGS.unpack(answer)[0]
    return flags
