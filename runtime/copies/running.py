"""A descriptor of the root of a container that runs: of its own mounts, as its processes see them.

    (pid, start time) ─> pidfd, checked ─> a thread of its own joins the mount namespace, opens "/", and ends

No path of the container is looked at: what its first process made of its own root (chroot(2)) does not count,
and what has the number of one that ended is another process. Standard library only.
"""

from __future__ import annotations

import os
import threading
from typing import NamedTuple

from runtime import syscalls
from runtime.supervisor import records


class Running(NamedTuple):
    """Descriptors, the caller's to close. process: of the first process."""

    root: int
    process: int

    def close(self) -> None:
        os.close(self.root)
        os.close(self.process)


def open_running(process: tuple[int, int]) -> Running:
    """process: its number and its start time. ProcessLookupError when it has ended. Under a millisecond:
    nothing is mounted, and nothing waits for what the container has mounted."""
    pid, start_time = process
    pidfd = syscalls.pidfd_open(pid)
    try:
        if records.start_time(pid) != start_time:  # after the pidfd: from here on it is that process or none
            raise ProcessLookupError(f"process {pid} is another one by now")
        return Running(_in_thread(pidfd), pidfd)
    except BaseException:
        os.close(pidfd)
        raise


def _in_thread(pidfd: int) -> int:
    """A thread that joined a mount namespace is of no other use. It imports nothing there."""
    found: list[int | OSError] = []
    thread = threading.Thread(target=_open_root, args=(pidfd, found), name="open root", daemon=True)
    thread.start()
    thread.join()
    if isinstance(found[0], OSError):
        raise found[0]
    return found[0]


def _open_root(pidfd: int, found: list[int | OSError]) -> None:
    try:
        syscalls.unshare(syscalls.CLONE_FS)  # setns(2): the other threads keep their root
        syscalls.setns(pidfd, syscalls.CLONE_NEWNS)
        found.append(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError as error:
        found.append(error)
