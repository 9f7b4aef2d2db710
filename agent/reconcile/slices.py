"""How much of a large instance one slow pass looks at for drift: all of a small one, else in turns.

A hint makes its subject be looked at within a moment, however many there are; the slow pass is for what no
event tells. Its share of the time is bounded, so that ten thousand objects that do nothing cost next to
nothing. Pure but for its own place in the row. Called by `watching`.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

SHARE = 0.005  # of one processor
AT_LEAST = 64
FIRST_GUESS_SECONDS = 0.0003


class Slices:
    """next() gives the subjects of the next pass, took() how long they took."""

    def __init__(self) -> None:
        self._after = ""
        self._count = AT_LEAST
        self._each_seconds = FIRST_GUESS_SECONDS

    def next(self, subjects: Sequence[str]) -> tuple[str, ...]:
        """subjects: sorted. "" is the host, which is in each; all when they fit."""
        rest = [subject for subject in subjects if subject]
        if len(rest) <= self._count:
            return ("", *rest)
        start = bisect.bisect_right(rest, self._after)
        taken = (rest[start:] + rest[:start])[: self._count]
        self._after = taken[-1]
        return ("", *taken)

    def took(self, count: int, seconds: float, period_seconds: float) -> None:
        """A pass over `count` subjects took so long; there is one a period."""
        self._each_seconds = (self._each_seconds + seconds / max(count, 1)) / 2
        self._count = max(AT_LEAST, int(SHARE * period_seconds / self._each_seconds))
