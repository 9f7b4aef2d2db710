"""fdatasync(2) by the kernel's own threads, while the caller goes on: io_submit(2), and an eventfd that tells
of the end. Called by the agent's journal, in its event loop.

A thread of ours that waits for the disk is two hand-overs of the interpreter, and each waits for a processor
on a busy machine. Without it in the kernel, or room for it (fs.aio-max-nr), the caller takes such a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable

from runtime import syscalls

AT_ONCE = 8  # a journal has two under way at most
Done = Callable[[OSError | None], None]


class KernelSyncs:
    """begin: done is called with what came of it, by the event loop or by `look`."""

    def __init__(self) -> None:
        self._context: int | None = None
        self._event = -1
        self._is_missing = False
        self._under_way: dict[int, Done] = {}
        self._number = 0

    def begin(self, descriptor: int, done: Done) -> bool:
        """False where the kernel does not: the caller does, then. The descriptor may be closed at once."""
        if self._is_missing or len(self._under_way) >= AT_ONCE:
            return False
        try:
            if self._context is None:
                self._context = self._open()
            self._number += 1
            syscalls.io_submit_fdatasync(self._context, descriptor, self._number, self._event)
        except OSError:
            return False
        self._under_way[self._number] = done
        return True

    def _open(self) -> int:
        if self._event < 0:
            self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            asyncio.get_running_loop().add_reader(self._event, self.look)
        try:
            return syscalls.io_setup(AT_ONCE)
        except OSError:
            self._is_missing = True
            raise

    def look(self) -> None:
        """Tell of those that have ended."""
        if not self._under_way or self._context is None:
            return
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            return
        for number, result in syscalls.io_getevents(self._context, AT_ONCE):
            done = self._under_way.pop(number)
            done(None if result >= 0 else OSError(-result, os.strerror(-result)))

    def close(self) -> None:
        """Those under way are the kernel's, to their end, and nobody hears of it."""
        if self._event < 0:
            return
        with contextlib.suppress(RuntimeError):  # the event loop is closed
            asyncio.get_running_loop().remove_reader(self._event)
        os.close(self._event)
        self._event, self._is_missing = -1, True
        if not self._under_way and self._context is not None:
            syscalls.io_destroy(self._context)
        self._under_way.clear()
