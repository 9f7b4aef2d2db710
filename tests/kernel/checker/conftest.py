"""An instance that runs well, whose agent was stopped: nobody repairs what a test plants, and takes away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import checker
from tests.e2e.own_story import own_story
from tests.e2e.story import Story, free_port

COMPOSE = """\
x-base: &base
  image: busybox:latest
  command: [sh, -c, "echo begun; exec sleep 100000"]
  stop_signal: SIGKILL
services:
  a: {{<<: *base, ports: ["127.0.0.1:{port}:80"], mem_limit: 32m, volumes: ["data:/data"]}}
  b: {{<<: *base, networks: [other]}}
  c: {{<<: *base, scale: 2}}
networks: {{other: }}
volumes: {{data: }}
"""


@pytest.fixture(scope="module")
def healthy(busybox_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Four containers, two networks, a volume and a published port; no agent."""
    with own_story(tmp_path_factory.mktemp("planted")) as story:
        story.git("commit", "-q", "--allow-empty", "-m", "Begin")
        story.start_agent()
        story.setpoint("image", "load", busybox_archive)
        story.apply({"shop/compose.yaml": COMPOSE.format(port=free_port())})
        story.setpoint("agent", "stop")
        yield story


@pytest.fixture
def planted(healthy: Story) -> Iterator[Story]:
    """Nothing is amiss before the test, and nothing after it has taken away what it planted."""
    assert checker.check(healthy.layout) == ()
    yield healthy
    assert [str(each) for each in checker.check(healthy.layout)] == []
