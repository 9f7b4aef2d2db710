"""Steps whose order keeps a promise, each killed at: the walk's points of one function alone, in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.layout import Layout
from tests.faults.points import Point, choose
from tests.faults.stories import STORIES, bound
from tests.faults.world import World


@pytest.fixture
def world(instance: Layout, tmp_path: Path, busybox_archive: Path) -> Iterator[World]:
    made = World(instance, tmp_path, busybox_archive)
    yield made
    made.close()


def walk(world: World, name: str, place: str) -> None:
    """Every point of a place in a story, with the death of who is there."""
    story = next(each for each in STORIES if each.name == name)
    world.begin()
    points: list[Point] = [each for each in choose(world.record(story)) if place in each.name]
    assert points
    for point in points:
        print(point)
        assert world.instance is not None
        begun = bound(world.instance) / "begun"
        begun.write_text("")
        assert world.visit(story, point, both=False), "nobody came by"
        assert begun.read_text() == "\n\n", "each of the two programs began once"


def test_r2_no_program_runs_that_no_record_names(world: World) -> None:
    walk(world, "create", "runtime/supervisor/starting:open_gate")
