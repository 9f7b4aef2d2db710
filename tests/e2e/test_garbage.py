"""Images that nobody needs go by themselves; what runs, is wanted, went well before or is held stays."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.layout import Layout
from tests.e2e.images import write_image
from tests.e2e.story import Story, eventually
from tests.faults.disks import Disk, small_disk
from tests.registry import Registry, started

SHOP = """\
services:
  web:
    image: {image}
    command: [sleep, "1003"]
    stop_signal: SIGKILL
"""
WEB = "shop/container/web"
EAGER = ("--image-age", "1s", "--image-grace", "0s", "--image-look", "500ms")


@pytest.fixture
def registry(tmp_path: Path, busybox_archive: Path) -> Iterator[Registry]:
    with started(tmp_path / "registry") as registry:
        for tag in "12345":
            archive = write_image(tmp_path / f"{tag}.tar", busybox_archive, "x:1", Env=[f"NUMBER={tag}"])
            registry.put(f"oci-archive:{archive}", f"lab/web:{tag}")
        yield registry


def settings(registry: Registry, tmp_path: Path) -> tuple[str, str]:
    path = tmp_path / "registries.yaml"
    path.write_text(registry.settings())
    return "--registries", str(path)


def names(story: Story) -> set[str]:
    found = json.loads(story.setpoint("image", "ls", "-o", "json"))
    return {name.rpartition("/")[2] for image in found for name in image["names"]}


def test_what_is_needed_stays_and_a_revert_needs_no_registry(
    quiet_story: Story, tmp_path: Path, busybox_archive: Path
) -> None:
    story = quiet_story
    with contextlib.ExitStack() as stack:
        registry = stack.enter_context(started(tmp_path / "registry"))
        for tag in "12345":
            archive = write_image(tmp_path / f"{tag}.tar", busybox_archive, "x:1", Env=[f"NUMBER={tag}"])
            registry.put(f"oci-archive:{archive}", f"lab/web:{tag}")
        image = f"{registry.host}/lab/web"
        story.start_agent(*settings(registry, tmp_path), *EAGER)
        story.setpoint("image", "load", busybox_archive)
        story.setpoint("image", "pull", f"{image}:5", "--lease", "1h")
        for tag in "123":
            story.apply({"shop/compose.yaml": SHOP.format(image=f"{image}:{tag}")}, f"Version {tag}")
        story.setpoint("image", "pull", f"{image}:4")
        eventually(lambda: names(story) == {"busybox:latest", "web:2", "web:3", "web:5"}, "1 and 4 go")

    told = story.setpoint("events")
    assert "ImageCollected" in told and f"{image}:1 went" in told and "unused for" in told
    kept = {thing["name"]: thing for thing in planned(story, "--all")["things"] if not thing["goes"]}
    assert "shop-web-1 runs it" in kept[f"{image}:3"]["why"]
    assert "a revert would need it" in kept[f"{image}:2"]["why"]
    assert "holds it until" in kept[f"{image}:5"]["why"]

    # The registry is gone, the agent another one: what went well last starts all the same.
    story.setpoint("agent", "stop")
    story.start_agent(*EAGER)
    story.git("revert", "--no-edit", "HEAD")
    story.setpoint("sync", "--wait", "--timeout", "30s")
    story.setpoint("wait", "--for", "ready", "--timeout", "30s")
    assert "NUMBER=2" in Path(f"/proc/{story.pid(WEB)}/environ").read_text()


def planned(story: Story, *words: str) -> dict[str, object]:
    return dict(json.loads(story.setpoint("system", "prune", "--dry-run", "-o", "json", *words)))


def test_prune_says_why_and_takes_what_it_said(
    quiet_story: Story, registry: Registry, tmp_path: Path, busybox_archive: Path
) -> None:
    story, image = quiet_story, f"{registry.host}/lab/web"
    story.start_agent(*settings(registry, tmp_path))
    story.setpoint("image", "load", busybox_archive)
    story.apply({"shop/compose.yaml": SHOP.format(image=f"{image}:1")})
    story.setpoint("image", "pull", f"{image}:4")

    assert "nothing to remove; 3 stay (--dry-run says why)" in story.setpoint("system", "prune")
    told = story.setpoint("system", "prune", "--dry-run")
    assert f"image {image}:4" in told and "has a name (--all takes it) (stays)" in told
    story.setpoint("system", "prune", "--all", code=1)
    assert "nobody is here to be asked" in story.said and "--yes" in story.said
    assert names(story) == {"busybox:latest", "web:1", "web:4"}
    assert "nothing to remove" in story.setpoint("system", "prune", "--all", "--filter", "until=1h")

    done = json.loads(story.setpoint("system", "prune", "--all", "--yes", "-o", "json"))
    assert sorted(thing["name"] for thing in done["things"]) == [f"{image}:4", "busybox:latest"]
    assert names(story) == {"web:1"} and story.pid(WEB)
    story.setpoint("system", "prune", "--filter", "label=x", code=1)


def test_df_counts_what_is_there(
    quiet_story: Story, registry: Registry, tmp_path: Path, busybox_archive: Path
) -> None:
    story, image = quiet_story, f"{registry.host}/lab/web"
    story.start_agent(*settings(registry, tmp_path))
    command = '[sh, -c, "head -c 3000000 /dev/urandom >/file; exec sleep 1003"]'
    shop = SHOP.format(image=f"{image}:1").replace('[sleep, "1003"]', command)
    story.apply({"shop/compose.yaml": shop + "    volumes: [data:/data]\nvolumes: {data: {}}\n"})
    story.setpoint("image", "pull", f"{image}:2")

    def grown() -> dict[str, dict[str, object]]:
        found: dict[str, dict[str, object]] = json.loads(story.setpoint("system", "df", "-o", "json"))
        return found if int(str(found["containers"]["bytes"])) > 3_000_000 else {}

    found = eventually(grown, "the writable layer has grown")
    assert found["containers"]["is_whole"] and found["containers"]["in_use"] == 1
    assert found["images"]["count"] == 2 and found["images"]["in_use"] == 1
    shared = int(str(found["images"]["shared_bytes"]))
    size = int(str(found["images"]["bytes"]))
    assert 0.9 * size < shared <= size  # they differ in their config alone
    assert int(str(found["images"]["reclaimable_bytes"])) < 10_000
    assert found["volumes"]["count"] == 1
    table = story.setpoint("system", "df", "-o", "wide")
    assert "WHY IT IS KEPT" in table and "shop-web-1 runs it" in table and "MAY GO" in table


@pytest.fixture
def disk(instance: Layout, tmp_path: Path) -> Iterator[Disk]:
    with small_disk(instance.data, tmp_path / "disk.img") as disk:
        yield disk


def test_at_no_byte_free_images_go_by_themselves(
    disk: Disk, instance: Layout, registry: Registry, tmp_path: Path, busybox_archive: Path
) -> None:
    story, image = Story(instance, tmp_path / "tree"), f"{registry.host}/lab/web"
    story.tree.mkdir()
    story.git("init", "-q", "-b", "main")
    story.git("commit", "-q", "--allow-empty", "-m", "Begin")
    try:
        options = ("--image-age", "0", "--image-grace", "1s", "--image-look", "500ms")
        story.start_agent(*settings(registry, tmp_path), *options)
        story.apply({"shop/compose.yaml": SHOP.format(image=f"{image}:1")})
        for tag in "234":
            story.setpoint("image", "pull", f"{image}:{tag}")
        assert names(story) == {"web:1", "web:2", "web:3", "web:4"}  # there is room
        fill(instance.data / "filler")
        eventually(lambda: names(story) == {"web:1"}, "what nobody needs goes")
        assert story.pid(WEB)
        told = eventually(lambda: "over the 85% for images" in story.setpoint("status"), "it is not enough")
        assert told
        (instance.data / "filler").unlink()
        eventually(lambda: "for images" not in story.setpoint("status"), "the alarm is over")
        eventually(lambda: "ImageCollected" in story.setpoint("events"), "what went is told")
    finally:
        story.take_down(is_whole=False)


def fill(path: Path) -> None:
    """To the last byte."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    os.write(descriptor, bytes(size))
    finally:
        os.close(descriptor)


def test_an_image_that_a_manifest_wants_is_pulled_and_kept_until_it_does_not(
    quiet_story: Story, registry: Registry, tmp_path: Path
) -> None:
    story, image = quiet_story, f"{registry.host}/lab/web"
    story.start_agent(*settings(registry, tmp_path), *EAGER)
    head = "apiVersion: setpoint/v1\nkind: Image\nmetadata: {name: next}\nspec: "
    story.apply({"shop/next.yaml": f"{head}{{image: '{image}:1'}}\n"})
    assert names(story) == {"web:1"} and "shop/image/next" in story.setpoint("get", "images")
    story.apply({"shop/next.yaml": f"{head}{{image: '{image}:2'}}\n"})
    kept = {thing["name"]: thing["why"] for thing in planned(story, "--all")["things"]}
    assert "shop/image/next wants it (shop/next.yaml:3)" in kept[f"{image}:2"]
    assert "a revert would need it" in kept[f"{image}:1"]
    story.apply({"shop/next.yaml": f"{head}{{image: '{image}:3'}}\n"})
    eventually(lambda: names(story) == {"web:2", "web:3"}, "what a revert does not need goes")
    story.commit({"shop/next.yaml": f"{head}{{image: '{image}:none'}}\n"})
    eventually(lambda: "no manifest 'none'" in story.setpoint("status"), "it says why it is not here")
    story.apply({"shop/next.yaml": None})
    assert "shop/image/next" not in story.setpoint("status")
