"""The time that the heart goes by: Unix seconds that never jump while the agent lives."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Unix seconds; never goes back."""


class SteadyClock:
    """The wall clock as it was when the agent started, carried on by the boot-time clock, which counts
    suspended time too (clock_gettime(2)): somebody who sets the clock disturbs no back-off."""

    def __init__(self) -> None:
        self._offset = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)

    def now(self) -> float:
        return self._offset + time.clock_gettime(time.CLOCK_BOOTTIME)
