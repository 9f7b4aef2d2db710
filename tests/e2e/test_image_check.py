"""A byte of an image flips on the disk: `image check` names image, layer and file, and has it made whole."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.story import Story, eventually, is_alive
from tests.registry import Registry, started

WEB = "shop/container/web"
COMPOSE = """\
services:
  web: {image: busybox:latest, command: [sleep, "1004"], stop_signal: SIGKILL}
"""


@pytest.fixture
def registry(tmp_path: Path, busybox_archive: Path) -> Iterator[Registry]:
    with started(tmp_path / "registry") as registry:
        registry.put(f"oci-archive:{busybox_archive}", "lab/busybox:1")
        yield registry


def flip(path: Path) -> None:
    with path.open("r+b") as file:
        first = file.read(1)
        file.seek(0)
        file.write(bytes([first[0] ^ 1]))


def a_file_of_a_layer(story: Story) -> tuple[Path, str]:
    """One that runs nothing here, and its path in the layer."""
    for tree in (story.layout.images / "layers").glob("*/diff"):
        for path in sorted(tree.rglob("*")):
            if path.is_file() and not path.is_symlink() and path.stat().st_size and path.stat().st_nlink == 1:
                return path, str(path.relative_to(tree))
    raise AssertionError("the image has no file")


def test_found_refused_while_it_runs_and_repaired(story: Story) -> None:
    assert "1 images checked, 0 findings" in story.setpoint("image", "check")
    story.apply({"shop/compose.yaml": COMPOSE})
    pid = story.pid("shop/container/web")
    path, name = a_file_of_a_layer(story)
    whole = path.read_bytes()
    flip(path)
    text = story.setpoint("image", "check", "busybox", code=1)
    assert "busybox:latest: layer " in text and f": {name} has another content" in text
    assert "a running container" in story.setpoint("image", "check", "--repair", code=1)
    assert is_alive(pid)
    said = "its image is damaged: "
    eventually(lambda: said in str((story.object(WEB) or {}).get("message")), "who uses it says so")
    assert "(hint: `setpoint image check --repair busybox:latest`)" in story.setpoint("status", code=None)
    assert said in story.setpoint("why", WEB)
    (condition,) = [c for c in story.object(WEB)["conditions"] if c["type"] == "ImageDamaged"]  # type: ignore[index]
    assert condition["status"] == "True" and name in condition["message"]
    agent = story.agent_pid()
    os.kill(agent, signal.SIGTERM)  # what it knows is stored when it has ended
    eventually(lambda: not is_alive(agent), "the agent ends")
    story.start_agent()
    eventually(lambda: said in str((story.object(WEB) or {}).get("message")), "a new agent, too")
    story.commit({"shop/compose.yaml": None})
    story.setpoint("sync")
    eventually(lambda: not is_alive(pid), "it is stopped")
    eventually(lambda: story.object("shop/container/web") is None, "it is gone")
    assert "(repaired)" in story.setpoint("image", "check", "--repair")
    assert path.read_bytes() == whole
    story.setpoint("image", "check")
    story.apply({"shop/compose.yaml": COMPOSE})
    assert said not in story.setpoint("status")


def test_who_uses_it_is_well_again_when_it_is_repaired(story: Story) -> None:
    story.apply({"shop/compose.yaml": COMPOSE.replace("busybox:latest,", "busybox:latest, ensure: stopped,")})
    path, _ = a_file_of_a_layer(story)
    flip(path)
    story.setpoint("image", "check", code=1)
    eventually(lambda: "is damaged" in str((story.object(WEB) or {}).get("message")), "it is said")
    story.setpoint("image", "check", "--repair")
    eventually(lambda: "is damaged" not in str((story.object(WEB) or {}).get("message")), "and no more")
    assert not [c for c in story.object(WEB)["conditions"] if c["type"] == "ImageDamaged"]  # type: ignore[index]


def test_a_blob_is_pulled_again(quiet_story: Story, registry: Registry, tmp_path: Path) -> None:
    story, settings = quiet_story, tmp_path / "registries.yaml"
    settings.write_text(registry.settings())
    story.start_agent("--registries", str(settings))
    story.setpoint("image", "pull", f"{registry.host}/lab/busybox:1")
    blobs = story.layout.images / "blobs/sha256"
    for blob in blobs.iterdir():
        if blob.read_bytes()[:1] != b"{":
            flip(blob)
    path, _ = a_file_of_a_layer(story)
    whole = path.read_bytes()
    flip(path)
    assert "its content has another digest" in story.setpoint("image", "check", code=1)
    assert "not repaired" not in story.setpoint("image", "check", "--repair")
    assert "0 findings" in story.setpoint("image", "check")
    assert path.read_bytes() == whole


def test_what_no_registry_has_is_to_be_loaded_again(story: Story, busybox_archive: Path) -> None:
    for blob in (story.layout.images / "blobs/sha256").iterdir():
        if blob.read_bytes()[:1] != b"{":
            blob.unlink()
    assert "load it again" in story.setpoint("image", "check", "--repair", code=1)
    story.setpoint("image", "load", busybox_archive)
    story.setpoint("image", "check")
