"""Room for descriptors in this process, made once at the start. Called by `engine` as it opens.

A few hundred containers need more than the usual 1024, and the kernel grows a process's table in
steps, each of which waits for an RCU grace period when there are threads (expand_fdtable in fs/file.c):
40 ms in the middle of a burst of starts.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource

from runtime.supervisor.starter import raise_descriptor_limit

ROOM = 8192  # descriptors, some 2500 containers; 64 KiB of kernel memory


def make_room() -> None:
    """Raise the soft limit as far as allowed, and grow the table at once. Does what it can."""
    raise_descriptor_limit()
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    highest = ROOM - 1 if soft == resource.RLIM_INFINITY else min(ROOM, soft) - 1
    with contextlib.suppress(OSError):
        any_descriptor = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.close(fcntl.fcntl(any_descriptor, fcntl.F_DUPFD_CLOEXEC, highest))
        finally:
            os.close(any_descriptor)
