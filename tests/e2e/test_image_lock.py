"""A tag that moves in its registry moves nothing here until somebody commits what it means now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.images import write_image
from tests.e2e.story import Story
from tests.registry import Registry, started

SHOP = """\
services:
  web:
    image: {host}/lab/web:1
    command: [sleep, "1003"]
    stop_signal: SIGKILL
  local:
    image: busybox
    pull_policy: never
    command: [sleep, "1003"]
    stop_signal: SIGKILL
"""
WEB = "shop/container/web"


class Shop:
    def __init__(self, story: Story, registry: Registry, folder: Path, busybox: Path) -> None:
        self.story, self.registry, self.folder, self.busybox = story, registry, folder, busybox
        self.options = ("--registries", str(folder / "registries.yaml"))
        (folder / "registries.yaml").write_text(registry.settings())

    def put(self, tag: str, number: int) -> None:
        archive = write_image(self.folder / f"{number}.tar", self.busybox, "x:1", Env=[f"NUMBER={number}"])
        self.registry.put(f"oci-archive:{archive}", f"lab/web:{tag}")

    def lock(self, *words: str, code: int = 0) -> str:
        return self.story.setpoint("image", "lock", self.story.tree, *self.options, *words, code=code)

    def number(self) -> str:
        data = Path(f"/proc/{self.story.pid(WEB)}/environ").read_text()
        return next(word for word in data.split("\0") if word.startswith("NUMBER="))


@pytest.fixture
def shop(quiet_story: Story, tmp_path: Path, busybox_archive: Path) -> Iterator[Shop]:
    with started(tmp_path / "registry") as registry:
        shop = Shop(quiet_story, registry, tmp_path, busybox_archive)
        shop.put("1", 1)
        quiet_story.start_agent(*shop.options)
        quiet_story.setpoint("image", "load", busybox_archive)
        yield shop


def test_what_is_locked_runs_whatever_the_tag_means_by_then(shop: Shop) -> None:
    story, host = shop.story, shop.registry.host
    story.apply({"shop/compose.yaml": SHOP.format(host=host)})
    assert "is not locked" in shop.lock("--check", "--offline", code=1)
    assert f"+ {host}/lab/web:1: sha256:" in shop.lock()
    locked = (story.tree / "images.lock.yaml").read_text()
    assert locked.startswith("# What the tags") and "busybox" not in locked
    assert shop.lock("--check") == shop.lock("--check", "--offline") == "up to date: 1 image\n"

    pid = story.pid(WEB)
    shop.put("1", 2)
    story.apply({}, "Lock")
    assert shop.number() == "NUMBER=1" and story.pid(WEB) == pid  # it ran already
    assert "~ " in shop.lock("--check", code=1) and "stale" in story.said
    assert shop.lock("--check", "--keep") == "up to date: 1 image\n"
    shop.lock()
    assert (story.tree / "images.lock.yaml").read_text() != locked
    story.apply({}, "Newer")
    assert shop.number() == "NUMBER=2"

    story.git("revert", "--no-edit", "HEAD")
    story.setpoint("sync", "--wait", "--timeout", "30s")
    story.setpoint("wait", "--for", "ready", "--timeout", "30s")
    assert shop.number() == "NUMBER=1"


def test_nothing_is_written_when_one_tag_cannot_be_resolved_or_a_manifest_cannot_be_read(shop: Shop) -> None:
    story, host = shop.story, shop.registry.host
    text = SHOP.format(host=host)
    story.commit({"shop/compose.yaml": text.replace("lab/web:1", "lab/web:none")})
    shop.lock(code=1)
    assert "lab/web:none" in story.said and "1 of 1 tags could not be resolved" in story.said
    story.commit({"shop/compose.yaml": text + "  odd: {imag: x}\n"})
    shop.lock(code=1)
    assert "not all manifests can be read" in story.said
    assert not (story.tree / "images.lock.yaml").exists()


def test_an_entry_that_nothing_names_is_said_and_a_broken_lock_changes_nothing_that_runs(shop: Shop) -> None:
    story, host = shop.story, shop.registry.host
    story.apply({"shop/compose.yaml": SHOP.format(host=host)})
    shop.lock()
    text = (story.tree / "images.lock.yaml").read_text() + f"  old:1: sha256:{'a' * 64}\n"
    story.apply({"images.lock.yaml": text})
    assert "no manifest names old:1" in str(story.status()["source"]["warnings"])
    assert "- old:1: no manifest names it" in shop.lock("--check", code=1)
    pid = story.pid(WEB)
    story.commit({"images.lock.yaml": text.replace("old:1: sha256:a", "old:1: sha256:z")})
    story.setpoint("sync", code=1)
    assert any("images.lock.yaml:6:3" in line for line in story.setpoint("status").splitlines())
    assert story.pid(WEB) == pid
    shop.lock()
    story.apply({})
    assert story.pid(WEB) == pid
