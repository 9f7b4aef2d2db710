"""Twenty containers are on their way when a point that the seed chooses kills, and twenty are going.
The seed is printed: SETPOINT_WALK_SEED=N repeats it, SETPOINT_WALK_ROUNDS=N goes on for longer."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.layout import Layout
from tests.faults.points import states
from tests.faults.stories import CROWD, CROWD_AGAIN, Story
from tests.faults.world import World

ROUNDS = int(os.environ.get("SETPOINT_WALK_ROUNDS", "4"))
SEED = int(os.environ.get("SETPOINT_WALK_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)

pytestmark = pytest.mark.slow


@pytest.fixture
def world(instance: Layout, tmp_path: Path, busybox_archive: Path) -> Iterator[World]:
    made = World(instance, tmp_path, busybox_archive)
    yield made
    made.close()


@pytest.mark.parametrize("story", [CROWD, CROWD_AGAIN], ids=lambda story: story.name)
def test_a_kill_under_load_is_settled_by_the_next_pass(world: World, story: Story) -> None:
    chance = random.Random(SEED)
    print(f"SETPOINT_WALK_SEED={SEED}")
    world.begin()
    points = [group[-1] for group in states(world.record(story))]
    for point in chance.sample(points, ROUNDS):
        both = chance.random() < 0.5
        print(f"{point} {'both' if both else 'own'}", flush=True)
        world.visit(story, point, both=both)
