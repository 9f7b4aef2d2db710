"""The time that the heart goes by: Unix seconds that never jump while the agent lives."""

from __future__ import annotations

from typing import Protocol

from runtime import steady


class Clock(Protocol):
    def now(self) -> float:
        """Unix seconds; never goes back."""


class SteadyClock:
    """That of the runtime, whose containers begin and end by it too: somebody who sets the clock disturbs
    no back-off."""

    def now(self) -> float:
        return steady.now()
