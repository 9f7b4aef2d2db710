"""Tells when mounts come or go in a mount namespace: the host's, and those of containers with volumes.

The kernel tells of it by POLLPRI on a mountinfo file (proc(5)), which asyncio does not wait for, and which
a look through a second epoll would use up; so one thread waits, and is asleep while nobody mounts. An open
mountinfo keeps its namespace: descriptors of what ended are closed here, since the last one takes the
kernel some milliseconds. Called by `drifts`; finds nothing itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import threading
from collections.abc import Callable

_CHANGED = select.EPOLLPRI


class MountWatch:
    """on_changed gets the subjects whose mounts changed, in the event loop's thread."""

    def __init__(self, on_changed: Callable[[frozenset[str]], None]) -> None:
        self._on_changed = on_changed
        self._descriptors: dict[str, int] = {}
        self._subjects: dict[int, str] = {}
        self._to_close: list[int] = []

    def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="mounts", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._is_closing = True
        for subject in list(self._descriptors):
            self.forget(subject)
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        self._epoll.close()
        os.close(self._wake)

    def watch(self, subject: str, pid: int | str) -> None:
        """The mounts of a process. Nothing when it has just ended."""
        if subject in self._descriptors:
            return
        with contextlib.suppress(OSError):
            descriptor = os.open(f"/proc/{pid}/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
            self._descriptors[subject] = descriptor
            self._subjects[descriptor] = subject
            self._epoll.register(descriptor, _CHANGED)

    def forget(self, subject: str) -> None:
        descriptor = self._descriptors.pop(subject, None)
        if descriptor is None:
            return
        del self._subjects[descriptor]
        self._epoll.unregister(descriptor)
        self._to_close.append(descriptor)
        os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        while True:
            changed = [fd for fd, _ in self._epoll.poll() if fd != self._wake]
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._wake)
            while self._to_close:
                os.close(self._to_close.pop())
            if self._is_closing:
                return
            if changed:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
                    self._loop.call_soon_threadsafe(self._tell, changed)

    def _tell(self, changed: list[int]) -> None:
        subjects = frozenset(self._subjects[fd] for fd in changed if fd in self._subjects)
        if subjects:
            self._on_changed(subjects)
