"""Newer images are found in a real registry, shown, and written to a branch; what runs is left alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.images import write_image
from tests.e2e.story import Story
from tests.registry import Registry, started

SHOP = """\
services:
  web:
    image: {host}/lab/web:1.0.0  # the shop
    command: [sleep, "1003"]
    stop_signal: SIGKILL
    x-setpoint-update: {{policy: minor, minimum_age: 0s}}
  slow:
    image: {host}/lab/web:1.0.0
    command: [sleep, "1003"]
    stop_signal: SIGKILL
    update: {{policy: major, minimum_age: 72h}}
"""
WEB, SLOW = "shop/container/web", "shop/container/slow"


class Shop:
    def __init__(self, story: Story, registry: Registry, folder: Path, busybox: Path) -> None:
        self.story, self.registry, self.folder, self.busybox = story, registry, folder, busybox
        (folder / "registries.yaml").write_text(registry.settings())

    def put(self, *tags: str) -> None:
        for tag in tags:
            archive = write_image(self.folder / "image.tar", self.busybox, "x:1", Env=[f"NUMBER={tag}"])
            self.registry.put(f"oci-archive:{archive}", f"lab/web:{tag}")
            archive.unlink()

    def look(self, *words: str) -> dict[str, dict[str, Any]]:
        found = json.loads(self.story.setpoint("image", "update", "--look", "-o", "json", *words))
        return {each["key"]: each for each in found}


@pytest.fixture
def shop(quiet_story: Story, tmp_path: Path, busybox_archive: Path) -> Iterator[Shop]:
    with started(tmp_path / "registry") as registry:
        shop = Shop(quiet_story, registry, tmp_path, busybox_archive)
        shop.put("1.0.0")
        quiet_story.start_agent("--registries", str(tmp_path / "registries.yaml"))
        quiet_story.apply({"shop/compose.yaml": SHOP.format(host=registry.host)})
        yield shop


def test_newer_tags_are_shown_and_written_and_the_age_is_kept_to(shop: Shop) -> None:
    story = shop.story
    found = shop.look()
    assert not found[WEB]["available"] and not found[SLOW]["available"], found
    shop.put("1.0.1", "1.1.0", "2.0.0", "1.2.0-rc.1", "latest")
    found = shop.look()
    assert (found[WEB]["tag"], found[WEB]["waits"]) == ("1.1.0", "")
    assert found[SLOW]["tag"] == "2.0.0" and found[SLOW]["waits"].startswith("is too new for another ")

    (condition,) = [c for c in story.object(WEB)["conditions"] if c["type"] == "UpdateAvailable"]  # type: ignore[index]
    assert (condition["status"], condition["reason"]) == ("True", "NewerTag")
    assert "1.1.0 is newer than 1.0.0" in story.setpoint("status")
    assert "UpdateAvailable" in story.setpoint("events", WEB)
    assert story.status()["ready"]

    head, pid = story.git("rev-parse", "HEAD"), story.pid(WEB)
    told = story.setpoint("image", "update", "--write")
    assert "1.0.0 -> 1.1.0" in told and "too new" in told and "branch setpoint/image-updates" in told
    text = story.git("show", "setpoint/image-updates:shop/compose.yaml")
    assert text + "\n" == SHOP.format(host=shop.registry.host).replace("1.0.0  #", "1.1.0  #")
    assert story.git("rev-parse", "HEAD") == head and not story.git("status", "--porcelain")
    assert story.pid(WEB) == pid
    story.setpoint("image", "update", "--write", code=1)
    assert "commits of its own" in story.said
    story.setpoint("image", "update", "--write", "--branch", "main", code=1)
    assert "checked out" in story.said

    story.git("merge", "-q", "setpoint/image-updates")
    story.setpoint("sync", "--wait", "--timeout", "30s")
    assert "NUMBER=1.1.0" in Path(f"/proc/{story.pid(WEB)}/environ").read_text()
    assert not shop.look()[WEB]["available"]
    assert "nothing to write" in story.setpoint("image", "update", "--write", WEB)


def test_a_moved_tag_is_written_into_the_lock(shop: Shop) -> None:
    story = shop.story
    options = ("--registries", str(shop.folder / "registries.yaml"))
    story.setpoint("image", "lock", story.tree, *options)
    story.apply({}, "Lock")
    shop.put("1.0.0")
    archive = write_image(shop.folder / "moved.tar", shop.busybox, "x:1", Env=["NUMBER=moved"])
    shop.registry.put(f"oci-archive:{archive}", "lab/web:1.0.0")
    found = shop.look()
    assert found[WEB]["tag"] == "1.0.0" and "means sha256:" in found[WEB]["why"]
    story.setpoint("image", "update", "--write")
    changed = story.git("diff", "--name-only", "HEAD", "setpoint/image-updates").split()
    assert changed == ["images.lock.yaml"]
    assert found[WEB]["digest"] in story.git("show", "setpoint/image-updates:images.lock.yaml")


def test_a_registry_that_is_gone_is_said_and_harms_nothing(shop: Shop) -> None:
    story = shop.story
    shop.put("1.1.0")
    assert shop.look()[WEB]["available"]
    (shop.folder / "registry" / "data").rename(shop.folder / "elsewhere")
    found = shop.look()
    assert not found[WEB]["available"] and found[WEB]["error"]
    assert story.status()["ready"] and story.pid(WEB)
    (condition,) = [c for c in story.object(WEB)["conditions"] if c["type"] == "UpdateAvailable"]  # type: ignore[index]
    assert (condition["status"], condition["reason"]) == ("Unknown", "RegistryFailed")
