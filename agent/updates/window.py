"""When updates may be taken: `02:00-04:00 Sun`, in the host's local time. Pure: the time is given.

    HH:MM-HH:MM [DAYS]     DAYS: Sun, Mon-Fri, Sat,Sun; none is every day

A window over midnight belongs to the day on which it begins; equal ends are a whole day.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")  # as time.struct_time.tm_wday counts
FORM = 'such as "02:00-04:00", "22:00-02:00 Sat,Sun" or "03:00-05:00 Mon-Fri"'
_WINDOW = re.compile(r"([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})(?: +([A-Za-z,-]{3,40}))?")
_DAY_MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class Window:
    """first, last: minutes of the day; last before or at first means the next day. days: 0 is Monday."""

    first: int
    last: int
    days: frozenset[int]

    def is_open(self, now: time.struct_time) -> bool:
        minute = now.tm_hour * 60 + now.tm_min
        if self.first < self.last:
            return now.tm_wday in self.days and self.first <= minute < self.last
        is_begun = now.tm_wday in self.days and minute >= self.first
        return is_begun or ((now.tm_wday - 1) % 7 in self.days and minute < self.last)


def parse_window(text: str) -> Window | None:
    """None for what is no window."""
    match = _WINDOW.fullmatch(text.strip())
    if match is None:
        return None
    first, last = _minutes(match[1], match[2]), _minutes(match[3], match[4])
    days = _days(match[5]) if match[5] else frozenset(range(7))
    if first is None or last is None or not days:
        return None
    return Window(first, last, days)


def _minutes(hours: str, minutes: str) -> int | None:
    """24:00 is the end of a day."""
    found = int(hours) * 60 + int(minutes)
    if int(minutes) > 59 or found > _DAY_MINUTES:
        return None
    return found % _DAY_MINUTES


def _days(text: str) -> frozenset[int]:
    """Empty when one of them is no day."""
    found: set[int] = set()
    for part in text.lower().split(","):
        first, dash, last = part.partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            return frozenset()
        at, end = DAYS.index(first), DAYS.index(last if dash else first)
        found.update((at + n) % 7 for n in range((end - at) % 7 + 1))
    return frozenset(found)
