"""A story with an agent that runs, follows an empty work tree and has the busybox image. At its end
`setpoint down --data` must leave nothing, which the `instance` fixture checks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.layout import Layout
from tests.e2e.own_story import own_story
from tests.e2e.story import PROGRAM, Story, is_alive


@pytest.fixture
def quiet_story(instance: Layout, tmp_path: Path) -> Iterator[Story]:
    """A work tree with one empty commit; no agent yet."""
    if not PROGRAM.exists():
        pytest.skip(f"there is no {PROGRAM}: ops/up or ops/test makes it")
    story = Story(instance, tmp_path / "tree")
    story.tree.mkdir()
    story.git("init", "-q", "-b", "main")
    story.git("commit", "-q", "--allow-empty", "-m", "Begin")
    yield story
    story.take_down()


@pytest.fixture
def story(quiet_story: Story, busybox_archive: Path) -> Story:
    quiet_story.start_agent()
    quiet_story.setpoint("image", "load", busybox_archive)
    return quiet_story


@pytest.fixture(scope="session")
def shared_story(busybox_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """One instance for all tests of single fields; at its end nothing may be left."""
    with own_story(tmp_path_factory.mktemp("fields")) as story:
        story.git("commit", "-q", "--allow-empty", "-m", "Begin")
        story.start_agent()
        story.setpoint("image", "load", busybox_archive)
        yield story


@pytest.fixture(autouse=True)
def _agent_outlives(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that the shared story's agent does not survive is told so, and those after it have one again."""
    if "shared_story" not in request.fixturenames:
        yield
        return
    story: Story = request.getfixturevalue("shared_story")
    yield
    if is_alive(story.agent_pid()):
        return
    story.start_agent()
    pytest.fail("the shared story's agent has ended in this test")
