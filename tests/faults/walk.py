"""The walk itself: a kill at each of some points of a story, and what is found afterwards. For the tests that
say which story, which points, and what else has to be so.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence

from tests.faults.instance import until
from tests.faults.points import Point
from tests.faults.stories import Story
from tests.faults.world import World

WALK = os.environ.get("SETPOINT_WALK", "")
VICTIMS = os.environ.get("SETPOINT_WALK_VICTIMS", "")
SHOWN = bool(os.environ.get("SETPOINT_WALK_SHOWN"))
BOTH_EVERY = 4
MAX_FAILURES = 5
SETTLED_SECONDS = 5.0


def is_for_both(number: int) -> bool:
    """Whether agent and supervisor are killed together at the n-th point."""
    return VICTIMS == "both" or (VICTIMS != "own" and number % BOTH_EVERY == BOTH_EVERY - 1)


def asked_for(chosen: list[Point]) -> list[Point]:
    """Those, or the one that SETPOINT_WALK names."""
    return chosen if WALK in ("", "all") else [Point.parse(WALK)]


def walk(
    world: World,
    story: Story,
    points: Sequence[Point],
    *,
    both: Callable[[int], bool],
    faults: Callable[[], list[str]] = list,
    one_missed_in: int = 4,
) -> None:
    """Kill at each of them. faults: what is wrong, beside what the world itself finds; it may take a moment
    to be right. one_missed_in: of so many points one need not be met again."""
    failures, missed = [], []
    for number, point in enumerate(points):
        is_both, began = both(number), time.monotonic()
        try:
            if not world.visit(story, point, both=is_both):
                missed.append(str(point))
            found = settled(faults)
            assert not found, "\n".join(found)
        except AssertionError as error:
            failures.append(f"SETPOINT_WALK='{point}'{' SETPOINT_WALK_VICTIMS=both' * is_both}\n{error}")
            if len(failures) == MAX_FAILURES:
                break
            world.begin_anew()
        if SHOWN:
            print(f"{time.monotonic() - began:.2f} {point}", flush=True)
    print(f"{story.name}: {len(points)} visited, {len(missed)} not reached again")
    assert not failures, "\n\n".join(failures)
    assert points
    assert len(missed) <= len(points) // one_missed_in, "\n".join(missed)


def settled(faults: Callable[[], list[str]]) -> list[str]:
    """What is still wrong after SETTLED_SECONDS."""
    with contextlib.suppress(AssertionError):
        until(lambda: not faults(), "it is as it was asked for", SETTLED_SECONDS)
    return faults()
