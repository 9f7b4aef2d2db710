"""B9: a read-only layer is changed for all containers of its image, on the disk or in the page cache."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from runtime.images.progress import Progress
from runtime.images.worker import IsolatedImages
from runtime.layout import Layout
from tests import leaks
from tests.e2e.story import Story, eventually
from tests.unit.images import craft


@pytest.mark.parametrize("is_repaired", [False, True])
def test_b9_a_changed_byte_of_a_layer_is_found(instance: Layout, tmp_path: Path, is_repaired: bool) -> None:
    images = IsolatedImages(Layout(instance.instance, tmp_path / "data", tmp_path / "run"))
    layer = craft.tar(craft.directory("bin"), craft.entry("bin/su", b"a" * 100_000, mode=0o4755))
    (info,) = images.load(craft.write_tar(tmp_path / "image.tar", craft.image(layer)))
    program = images.layer_directories(info.id)[0] / "bin/su"
    with program.open("r+b") as file:
        file.seek(50_000)
        file.write(b"b")
    (found,) = [each for each in images.check((), repair=is_repaired, busy=()) if not each.is_warning]
    assert (found.image, found.path, found.reason) == (info.id, "bin/su", "has another content")
    assert program.read_bytes() == (b"a" * 100_000 if is_repaired else b"a" * 50_000 + b"b" + b"a" * 49_999)


@pytest.mark.slow  # on a busy machine the one that finds it gets next to no time
def test_b9_it_is_found_without_anybody_asking_and_marked_until_it_is_repaired(
    instance: Layout, tmp_path: Path, busybox_archive: Path
) -> None:
    """Over the whole program: marked, told with what to do, and whole again after that."""
    story = Story(instance, tmp_path / "tree")
    story.tree.mkdir()
    try:
        story.start_agent("--verify-every", "1s", "--image-look", "1s")
        story.setpoint("image", "load", busybox_archive)
        (program,) = (instance.data / "images/layers").glob("*/diff/bin/busybox")
        with program.open("r+b") as file:
            file.seek(5000)
            was = file.read(1)
            file.seek(5000)
            file.write(bytes([was[0] ^ 1]))
        eventually(lambda: "image busybox:latest is damaged" in story.setpoint("status"), "it is found", 300)
        (image,) = json.loads(story.setpoint("image", "ls", "-o", "json"))
        assert "has another content" in image["damage"] and image["checked_at"]
        assert "unhealthy: " in story.setpoint("image", "ls")
        story.setpoint("image", "check", "--repair", "busybox")
        eventually(lambda: "is damaged" not in story.setpoint("status"), "it is whole again")
        told = story.setpoint("events")
        assert "ImageDamaged" in told and "ImageWhole" in told
    finally:
        story.take_down(is_whole=False)


def test_b9_a_slow_check_runs_when_nobody_else_does(instance: Layout, tmp_path: Path) -> None:
    images = IsolatedImages(Layout(instance.instance, tmp_path / "data", tmp_path / "run"))
    layer = craft.tar(craft.entry("data", os.urandom(1_000_000)))
    images.load(craft.write_tar(tmp_path / "image.tar", craft.image(layer)))
    before, policies = leaks.descendants(), set[int]()

    def look(_progress: Progress) -> None:
        policies.update(os.sched_getscheduler(pid) for pid in leaks.descendants() - before)

    assert images.check((), repair=False, busy=(), progress=look, bytes_per_second=1e6) == ()
    assert policies == {os.SCHED_IDLE}
