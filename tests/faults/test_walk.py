"""The walk: one run of each kind of work is recorded, then repeated with a kill at each of its points; each
time the next pass must settle to the same world: nothing lost, wrong, doubled, leaked, stuck or touched.

    SETPOINT_WALK=all                      every occurrence of every point, not each place once
    SETPOINT_WALK='POINT #N'               that point alone, as a failure names it
    SETPOINT_WALK_VICTIMS=both             agent and supervisor together, at every point

By default the process that is at the point is killed (for a container's child: the supervisor, and the child
goes on), and at every fourth point agent and supervisor together.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.layout import Layout
from tests.faults.points import Point, choose
from tests.faults.stories import STORIES, Story
from tests.faults.world import World

WALK = os.environ.get("SETPOINT_WALK", "")
VICTIMS = os.environ.get("SETPOINT_WALK_VICTIMS", "")
SHOWN = bool(os.environ.get("SETPOINT_WALK_SHOWN"))
BOTH_EVERY = 4
MAX_FAILURES = 5

pytestmark = pytest.mark.slow


@pytest.fixture
def world(instance: Layout, tmp_path: Path, busybox_archive: Path) -> Iterator[World]:
    made = World(instance, tmp_path, busybox_archive)
    yield made
    made.close()


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_a_kill_at_any_point_is_settled_by_the_next_pass(world: World, story: Story) -> None:
    world.begin()
    seen = world.record(story)
    points = _points(choose(seen, everything=WALK == "all"))
    failures, missed = [], []
    for number, point in enumerate(points):
        both = VICTIMS == "both" or (VICTIMS != "own" and number % BOTH_EVERY == BOTH_EVERY - 1)
        began = time.monotonic()
        try:
            if not world.visit(story, point, both=both):
                missed.append(str(point))
        except AssertionError as error:
            failures.append(f"SETPOINT_WALK='{point}'{' SETPOINT_WALK_VICTIMS=both' * both}\n{error}")
            if len(failures) == MAX_FAILURES:
                break
            world.begin_anew()
        if SHOWN:
            print(f"{time.monotonic() - began:.2f} {point}", flush=True)
    print(f"{story.name}: {len(seen)} points passed, {len(points)} visited, {len(missed)} not reached again")
    assert not failures, "\n\n".join(failures)
    assert points
    assert len(missed) <= len(points) // 4, "\n".join(missed)


def _points(chosen: list[Point]) -> list[Point]:
    if WALK in ("", "all"):
        return chosen
    wanted = Point.parse(WALK)
    return [wanted]
