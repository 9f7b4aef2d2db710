"""The end of a file system as a power cut makes it.

EXT4_IOC_SHUTDOWN with NOLOGFLUSH: what had not reached the disk by fsync(2) or by the journal never will
(fs/ext4/ioctl.c, ext4_force_shutdown); every call from then on is EIO."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

EXT4_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
EXT4_GOING_FLAGS_NOLOGFLUSH = 2


def cut_power(point: Path) -> None:
    descriptor = os.open(point, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, struct.pack("=I", EXT4_GOING_FLAGS_NOLOGFLUSH))
    finally:
        os.close(descriptor)
