"""Whether a file is being written, as the kernel tells by a lease (fcntl(2), F_SETLEASE). Used by `tree` and
`prints`, so that a slow writer's half is never taken for the whole.
"""

from __future__ import annotations

import errno
import fcntl
import signal

F_SETSIG = 10


def has_writer(descriptor: int) -> bool:
    """Whether somebody has the file open for writing. A lease is broken by a signal, which for this
    one is SIGURG, since nobody is hurt by it; it is given back at once. False where the file system
    knows no leases."""
    try:
        fcntl.fcntl(descriptor, F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False
