"""A thread of its own that writes to the store, one write after the other. Called by `journal`.

What asyncio has for it (`to_thread`) takes a task, two futures and a copy of the context each time, which was
a tenth of what a small wish takes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class Writer:
    """work returns its error, and does not raise. done: called with it in the event loop's thread."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None

    def begin(self, work: Callable[[], Exception | None], done: Callable[[Exception | None], None]) -> None:
        loop = asyncio.get_running_loop()

        def work_and_tell() -> None:
            error = work()
            with contextlib.suppress(RuntimeError):  # the event loop is closed
                loop.call_soon_threadsafe(done, error)

        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "setpoint-store")
        self._thread.submit(work_and_tell)

    def close(self) -> None:
        if self._thread is not None:
            self._thread.shutdown(wait=False)
