"""What the journal has done beside the event loop: a write that may take long, and what was written brought
to the disk. Called by `journal`.

Its threads are its own: what asyncio has (`to_thread`) takes a task, two futures and a copy of the context
each time, a tenth of what a small wish takes. Where the kernel can, it waits for the disk by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from runtime.kernel_syncs import KernelSyncs
from store.errors import StoreError

SLOW_SECONDS = 0.05
Done = Callable[[Exception | None], None]


class Syncs(Protocol):
    def sync(self) -> None: ...
    def open_log(self) -> int | None: ...


class Writer:
    """work returns its error, and does not raise. done: called with it in the event loop's thread."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._kernel = KernelSyncs()
        self._syncs: dict[int, float] = {}  # those under way, and since when
        self._count = 0

    def begin(self, work: Callable[[], Exception | None], done: Done) -> None:
        loop = asyncio.get_running_loop()

        def work_and_tell() -> None:
            error = work()
            with contextlib.suppress(RuntimeError):  # the event loop is closed
                loop.call_soon_threadsafe(done, error)

        if (
            self._threads is None
        ):  # one that writes, and one that waits for the disk where the kernel does not
            self._threads = ThreadPoolExecutor(2, "setpoint-store")
        self._threads.submit(work_and_tell)

    def sync(self, store: Syncs, done: Done) -> None:
        """What was written is on the disk when `done` is called."""
        self._count = number = self._count + 1
        self._syncs[number] = time.monotonic()

        def on_end(error: Exception | None) -> None:
            del self._syncs[number]
            done(error)

        if not self._sync_by_kernel(store, on_end):
            self.begin(lambda: _error_of(store.sync), on_end)

    def _sync_by_kernel(self, store: Syncs, done: Done) -> bool:
        try:
            log = store.open_log()
        except OSError:
            return False
        if log is None:
            return False

        def on_end(error: OSError | None) -> None:
            done(None if error is None else StoreError("sync", "the write-ahead log", str(error)))

        try:
            return self._kernel.begin(log, on_end)
        finally:
            os.close(log)

    def look(self) -> None:
        """Tell of what the kernel has done by now."""
        self._kernel.look()

    @property
    def is_slow(self) -> bool:
        """The disk lets somebody wait."""
        first = next(iter(self._syncs.values()), None)
        return first is not None and time.monotonic() - first > SLOW_SECONDS

    def close(self) -> None:
        self._kernel.close()
        if self._threads is not None:
            self._threads.shutdown(wait=False)


def _error_of(work: Callable[[], None]) -> Exception | None:
    try:
        work()
    except Exception as error:
        return error
    return None
