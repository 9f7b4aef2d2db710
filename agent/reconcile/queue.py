"""The keyed work queue: each key at most once, at once or later, and never while it is worked on.

    add ──> later (heap) ── its time ──> ready ── take ──> in flight ── done ──> (nothing)
                                           ^                  │
                                           └── added meanwhile ┘

Knows no clock: `now` is handed in. Called by `loop` for objects and for probes.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class KeyedQueue(Generic[K]):
    """Not for several threads."""

    def __init__(self) -> None:
        self._ready: dict[K, None] = {}  # in the order they came
        self._later: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._in_flight: set[K] = set()
        self._count = 0  # breaks ties in the heap, so that keys need no order

    def add(self, key: K, at: float | None = None) -> None:
        """Have `key` looked at: now, or at `at`. An earlier time that is already set stays."""
        if key in self._ready:
            return
        if at is None:
            self._later.pop(key, None)
            self._ready[key] = None
            return
        if at >= self._later.get(key, at + 1.0):
            return
        self._later[key] = at
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, key))

    def take(self, now: float, limit: int | None = None) -> list[K]:
        """The keys that are due and not in flight, in the order they came. A taken key has no time set
        any more: whoever takes it says when it is due again."""
        self._ripen(now)
        taken: list[K] = []
        for key in self._ready:
            if limit is not None and len(taken) >= limit:
                break
            if key not in self._in_flight:
                taken.append(key)
        for key in taken:
            del self._ready[key]
            self._later.pop(key, None)
        return taken

    def _ripen(self, now: float) -> None:
        while self._heap and self._heap[0][0] <= now:
            at, _, key = heapq.heappop(self._heap)
            if self._later.get(key) == at:
                del self._later[key]
                self._ready[key] = None

    def begin(self, key: K) -> None:
        """The key is worked on: `take` leaves it out until `done`."""
        self._in_flight.add(key)

    def done(self, key: K) -> None:
        self._in_flight.discard(key)

    def discard(self, key: K) -> None:
        """The key is gone: forget that it was to be looked at."""
        self._ready.pop(key, None)
        self._later.pop(key, None)

    def next_at(self) -> float | None:
        """When the next key falls due by time, None when none does."""
        while self._heap and self._later.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def has_ready(self) -> bool:
        """Whether `take` would give a key without time going by."""
        return any(key not in self._in_flight for key in self._ready)

    def is_in_flight(self, key: K) -> bool:
        return key in self._in_flight

    def in_flight(self) -> set[K]:
        return set(self._in_flight)

    @property
    def in_flight_count(self) -> int:
        return len(self._in_flight)

    def __len__(self) -> int:
        """Keys that wait to be looked at now; those with a later time are not counted."""
        return len(self._ready)
