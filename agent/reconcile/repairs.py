"""How often drift is put back: at once at first, ever later while something keeps breaking it. Pure.

    found ── 5 times at once ── then after 1 s, 2 s, 4 s … 60 s ── healthy for 5 minutes: as if new

The history is kept per key and finding, in its memory. Called by planning, which holds a repair back, and
by `account` and `applying`, which note and tell it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from runtime.model import Drift

AT_ONCE = 5
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
FORGOTTEN_SECONDS = 300.0
SAME_SECONDS = 0.05  # several interfaces of one sandbox, put back in one go, are one repair


@dataclass(frozen=True, slots=True)
class Repair:
    """count: how often in a row; a time is Unix seconds."""

    count: int
    first_at: float
    last_at: float


def name_of(drift: Drift) -> str:
    """What a finding is known by, whatever its words."""
    return f"{drift.kind}:{drift.subject}"


def next_at(repair: Repair | None) -> float:
    """When a finding with this history may be put back."""
    if repair is None or repair.count < AT_ONCE:
        return 0.0
    # The exponent is bounded: counts grow for ever.
    wait = FIRST_WAIT_SECONDS * 2.0 ** min(repair.count - AT_ONCE, 16)
    return repair.last_at + min(wait, LONGEST_WAIT_SECONDS)


def due(
    drifts: Iterable[Drift], history: Mapping[str, Repair], now: float
) -> tuple[tuple[Drift, ...], float | None]:
    """The findings to put back now, and when the next of the others is due."""
    ready: list[Drift] = []
    later: list[float] = []
    for drift in drifts:
        at = next_at(history.get(name_of(drift)))
        if at > now:
            later.append(at)
        else:
            ready.append(drift)
    return tuple(ready), min(later, default=None)


def noted(history: Mapping[str, Repair], drift: Drift, now: float) -> dict[str, Repair]:
    """The history with one more repair; what stayed whole long enough is forgotten."""
    kept = {name: repair for name, repair in history.items() if now - repair.last_at < FORGOTTEN_SECONDS}
    before = kept.get(name_of(drift))
    if before is None:
        kept[name_of(drift)] = Repair(1, now, now)
    elif now - before.last_at >= SAME_SECONDS:
        kept[name_of(drift)] = Repair(before.count + 1, before.first_at, now)
    return kept


def is_told(repair: Repair) -> bool:
    """Whether this repair is an event of its own: the first few, then every doubling of their number."""
    return repair.count <= AT_ONCE or repair.count & (repair.count - 1) == 0


def flapping(repair: Repair) -> str:
    """What to tell of something that does not stay repaired, "" at first."""
    if repair.count <= AT_ONCE:
        return ""
    seconds = repair.last_at - repair.first_at
    wait = next_at(repair) - repair.last_at
    return f"{repair.count} times in {seconds:.0f} s: something keeps changing it; not again for {wait:g} s"
