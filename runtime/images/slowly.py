"""A worker that is in nobody's way: it runs and reads when nobody else does, and takes its time.

SCHED_IDLE gives it the processor that nobody wants, and with it the disk's idle class (ioprio(2): a thread
without an I/O priority has that of its scheduling). The pace holds it back on an idle machine too, so that a
check of all images is no hour of a busy disk.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable

from runtime.images.progress import Progress, Report


def become_idle() -> None:
    """For this process and what it starts."""
    with contextlib.suppress(OSError):
        os.nice(19)
    with contextlib.suppress(OSError):  # what forbids it leaves the niceness
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


class Pace:
    """A report of progress that sleeps when more than `bytes_per_second` were done since it began."""

    def __init__(
        self,
        report: Report,
        bytes_per_second: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._report = report
        self._rate = bytes_per_second
        self._clock, self._sleep = clock, sleep
        self._begun_at = clock()
        self._done = 0
        self._last: dict[tuple[str, str], int] = {}

    def __call__(self, progress: Progress) -> None:
        key = (progress.step, progress.subject)
        self._done += max(0, progress.done_bytes - self._last.get(key, 0))
        self._last[key] = progress.done_bytes
        ahead = self._done / self._rate - (self._clock() - self._begun_at)
        if ahead > 0:
            self._sleep(ahead)
        self._report(progress)
