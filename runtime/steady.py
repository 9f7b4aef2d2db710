"""Unix seconds that never jump while this process lives: the wall clock as it was at the start, carried on
by the boot-time clock, which counts suspended time too (clock_gettime(2)).

What is decided by time goes by this: somebody who sets the clock, or a machine whose clock is wrong until the
network is up, disturbs no back-off and no health check. What people read is the wall clock of its moment.
"""

from __future__ import annotations

import os
import time

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_OFFSET = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


def now() -> float:
    return at(time.clock_gettime(time.CLOCK_BOOTTIME))


def at(boot_seconds: float) -> float:
    """A moment of this boot, given in seconds since its start."""
    return _OFFSET + boot_seconds
