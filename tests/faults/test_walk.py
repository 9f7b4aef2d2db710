"""The walk: one run of each kind of work is recorded, then repeated with a kill at each of its points; each
time the next pass must settle to the same world: nothing lost, wrong, doubled, leaked, stuck or touched.

    SETPOINT_WALK=each                     every place of each story, also where others were killed
    SETPOINT_WALK=all                      and every occurrence of every point, not each place once
    SETPOINT_WALK='POINT #N'               that point alone, as a failure names it
    SETPOINT_WALK_VICTIMS=both             agent and supervisor together, at every point

By default the process that is at the point is killed (for a container's child: the supervisor, and the child
goes on), and at every fourth point agent and supervisor together.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.layout import Layout
from tests.faults.stories import STORIES, Story
from tests.faults.walk import is_for_both, walk
from tests.faults.world import World

pytestmark = pytest.mark.slow

VISITED: set[str] = set()


@pytest.fixture
def world(instance: Layout, tmp_path: Path, busybox_archive: Path) -> Iterator[World]:
    made = World(instance, tmp_path, busybox_archive)
    yield made
    made.close()


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_a_kill_at_any_point_is_settled_by_the_next_pass(world: World, story: Story) -> None:
    world.begin()
    walk(world, story, world.record(story), VISITED, both=is_for_both)
