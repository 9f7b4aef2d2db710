"""The walk itself: a kill at each of some points of a story, and what is found afterwards. For the tests that
say which story, which points, and what else has to be so.

Stories share most of their steps. A point that a walk has killed at is passed over by the later walks that
share its `visited`, but for every sixth: so one run takes each point, and each story is interrupted all along
its way. SETPOINT_WALK=each has every walk take all of its own.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence

from tests.faults.control import Seen
from tests.faults.instance import until
from tests.faults.points import Point, choose, states
from tests.faults.stories import Story
from tests.faults.world import World

WALK = os.environ.get("SETPOINT_WALK", "")
VICTIMS = os.environ.get("SETPOINT_WALK_VICTIMS", "")
SHOWN = bool(os.environ.get("SETPOINT_WALK_SHOWN"))
BOTH_EVERY = 4
AGAIN_EVERY = 6
MAX_FAILURES = 5
SETTLED_SECONDS = 15.0


def is_for_both(number: int) -> bool:
    """Whether agent and supervisor are killed together at the n-th point."""
    return VICTIMS == "both" or (VICTIMS != "own" and number % BOTH_EVERY == BOTH_EVERY - 1)


def asked_for(seen: Sequence[Seen], visited: set[str]) -> list[Point]:
    """The points to kill at, as SETPOINT_WALK says. visited: names of those that this run had already."""
    if WALK in ("each", "all"):
        return choose(seen, everything=WALK == "all")
    if WALK:
        return [Point.parse(WALK)]
    return list(dict.fromkeys([*choose(seen, visited), *choose(seen)[::AGAIN_EVERY]]))


def walk(
    world: World,
    story: Story,
    seen: Sequence[Seen],
    visited: set[str],
    *,
    both: Callable[[int], bool],
    is_ours: Callable[[Point], bool] = lambda _point: True,
    faults: Callable[[], list[str]] = list,
    one_missed_in: int = 4,
) -> None:
    """Kill at the points of what was recorded. visited: names that earlier walks killed at; those of this one
    are added. is_ours: which points are taken at all. faults: what is wrong, beside what the world itself
    finds; it may take a moment to be right. one_missed_in: of so many places one need not be met again."""
    failures, missed = [], []
    same_state = {point: {each.name for each in state} for state in states(seen) for point in state}
    places = [point for point in choose(seen) if is_ours(point)]
    points = [point for point in asked_for(seen, visited) if is_ours(point)]
    for number, point in enumerate(points):
        is_both, began = both(number), time.monotonic()
        try:
            if world.visit(story, point, both=is_both):
                visited |= same_state.get(point, set())
            else:
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
    print(f"{story.name}: {len(points)} of {len(places)} places visited, {len(missed)} not reached again")
    assert not failures, "\n\n".join(failures)
    assert places
    assert len(missed) <= len(places) // one_missed_in, "\n".join(missed)


def settled(faults: Callable[[], list[str]]) -> list[str]:
    """What is still wrong after SETTLED_SECONDS."""
    with contextlib.suppress(AssertionError):
        until(lambda: not faults(), "it is as it was asked for", SETTLED_SECONDS)
    return faults()
