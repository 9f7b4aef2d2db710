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


def open_console(process: ProcessPlan, root: int, channel: socket.socket, bind: bool) -> int:
    """A pty of the container's own devpts: its master goes to the parent, the slave is returned."""
    plain = sys_.RESOLVE_NO_SYMLINKS
    try:
        master = mounts.open_in_root(root, "/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY, plain)
    except OSError as error:
        raise failure(
            "open terminal", "/dev/pts/ptmx", error, "the container needs a devpts mount"
        ) from error
    if sys_.file_system(master) != DEVPTS_MAGIC:
        raise Invalid("open terminal", "/dev/pts/ptmx", "not a devpts", "the image is hostile")
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
