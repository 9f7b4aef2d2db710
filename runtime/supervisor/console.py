"""A container's terminal: a pty of its own devpts.

Called where the container's root is built, or in an exec. The master goes over the channel.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct

from runtime import mounts
from runtime import syscalls as sys_
from runtime.errors import Invalid
from runtime.supervisor.prepare import ProcessPlan
from runtime.supervisor.report import failure, send

DEVPTS_MAGIC = 0x1CD1


def _open_master(root: int) -> int:
    """Of a devpts and of nothing mounted in it: to open another device or a pipe may already do something."""
    plain = sys_.RESOLVE_NO_SYMLINKS
    directory = mounts.open_in_root(root, "/dev/pts", os.O_PATH | os.O_DIRECTORY, plain)
    try:
        if sys_.file_system(directory) != DEVPTS_MAGIC:
            raise Invalid("open terminal", "/dev/pts/ptmx", "not a devpts", "the image is hostile")
        flags = os.O_RDWR | os.O_NOCTTY
        return mounts.open_in_root(directory, "ptmx", flags, plain | sys_.RESOLVE_NO_XDEV)
    finally:
        os.close(directory)


def open_console(process: ProcessPlan, root: int, channel: socket.socket, bind: bool) -> int:
    """A pty of the container's own devpts: its master goes to the parent, the slave is returned."""
    plain = sys_.RESOLVE_NO_SYMLINKS
    try:
        master = _open_master(root)
    except OSError as error:
        raise failure(
            "open terminal", "/dev/pts/ptmx", error, "the container needs a devpts mount"
        ) from error
    fcntl.ioctl(master, sys_.TIOCSPTLCK, struct.pack("i", 0))
    # By the master itself, not by the name /dev/pts/N, which could be another thing by now.
    slave = fcntl.ioctl(master, sys_.TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    if process.size:
        fcntl.ioctl(slave, sys_.TIOCSWINSZ, struct.pack("HHHH", *process.size, 0, 0))
    if bind:
        parent = mounts.open_in_root(root, "/dev", os.O_PATH | os.O_DIRECTORY, plain)
        mounts.bind_descriptor(slave, parent, "console")
        os.close(parent)
    send(channel, {"console": True}, master)
    os.close(master)
    return slave
