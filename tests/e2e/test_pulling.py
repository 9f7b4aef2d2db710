"""A commit names an image that is in a registry alone; the registry is late, comes, and goes again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.story import Story, eventually
from tests.registry import Registry, started

SHOP = """\
services:
  web:
    image: {host}/lab/busybox:{tag}
    command: [sleep, "1003"]
    stop_signal: SIGKILL
    scale: 2
"""
WEB = "shop/container/web"


@pytest.fixture
def registry(tmp_path: Path, busybox_archive: Path) -> Iterator[Registry]:
    with started(tmp_path / "registry") as registry:
        registry.put(f"oci-archive:{busybox_archive}", "lab/busybox:1")
        yield registry


@pytest.fixture
def pulling_story(quiet_story: Story, registry: Registry, tmp_path: Path) -> Story:
    settings = tmp_path / "registries.yaml"
    settings.write_text(registry.settings())
    quiet_story.start_agent("--registries", str(settings))
    return quiet_story


def message(story: Story) -> str:
    found = story.object(WEB)
    return str(found["message"]) if found else ""


def test_what_is_committed_is_pulled_and_runs(pulling_story: Story, registry: Registry) -> None:
    story = pulling_story
    story.apply({"shop/compose.yaml": SHOP.format(host=registry.host, tag="1")})
    pids = [story.pid(WEB, replica) for replica in (0, 1)]
    assert f"{registry.host}/lab/busybox:1" in story.setpoint("image", "ls")
    told = story.setpoint("events", WEB)
    assert "Pulling" in told and "ImagePulled" in told

    story.commit({"shop/compose.yaml": SHOP.format(host=registry.host, tag="2")})
    eventually(lambda: "there is no manifest '2'" in message(story), "the failure is said on the object")
    assert [story.pid(WEB, replica) for replica in (0, 1)] == pids


def test_an_image_that_is_pushed_late_is_taken_at_the_next_try(
    pulling_story: Story, registry: Registry, busybox_archive: Path
) -> None:
    story = pulling_story
    story.commit({"shop/compose.yaml": SHOP.format(host=registry.host, tag="late")})
    eventually(lambda: "there is no manifest 'late'" in message(story), "the failure is said on the object")
    registry.put(f"oci-archive:{busybox_archive}", "lab/busybox:late")
    story.setpoint("wait", "--for", "ready", "--timeout", "30s")
    assert story.pid(WEB)


def test_pull_by_hand_wakes_who_waits(
    pulling_story: Story, registry: Registry, busybox_archive: Path
) -> None:
    story = pulling_story
    story.commit({"shop/compose.yaml": SHOP.format(host=registry.host, tag="hand")})
    eventually(lambda: "there is no manifest" in message(story), "the failure is said on the object")
    registry.put(f"oci-archive:{busybox_archive}", "lab/busybox:hand")
    assert (
        story.setpoint("image", "pull", f"{registry.host}/lab/busybox:hand")
        == f"pulled {registry.host}/lab/busybox:hand\n"
    )
    story.setpoint("wait", "--for", "ready", "--timeout", "30s")
    story.setpoint("image", "pull", f"{registry.host}/lab/none", code=1)
    assert "there is no manifest 'latest'" in story.said
