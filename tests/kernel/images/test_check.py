"""Images that are damaged on the disk are found by name, layer and file, and made whole from their blobs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.images.check import Finding
from runtime.images.images import Images
from runtime.images.worker import IsolatedImages
from runtime.layout import Layout
from tests.kernel.images.trees import describe
from tests.unit.images import craft
from tests.unit.images.craft import directory, entry, symlink, tar

LOW = tar(directory("d"), entry("d/f", b"content"), entry("d/other", b"x"), symlink("l", "d/f"))
HIGH = tar(entry("d/.wh.other"), entry("new", b"more", mode=0o4755))


@pytest.fixture
def loaded(layout: Layout, tmp_path: Path) -> tuple[IsolatedImages, str, tuple[Path, ...]]:
    """The store, the image's id, and its trees, lowest first."""
    images = IsolatedImages(layout)
    (info,) = images.load(craft.write_tar(tmp_path / "image.tar", craft.image(LOW, HIGH)))
    return images, info.id, images.layer_directories(info.id)


def check(images: IsolatedImages, *, repair: bool = False, busy: tuple[str, ...] = ()) -> tuple[Finding, ...]:
    """What is damaged; what is weak of it is in tests/threats/test_b10_weak_images.py."""
    found = images.check((), repair=repair, busy=busy)
    return tuple(finding for finding in found if not finding.is_warning)


def flip(path: Path) -> None:
    """One bit, and the times as they were: as a disk does it."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(bytes(data))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def give_away(path: Path) -> None:
    os.chown(path, 7, 0)


def turn_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("elsewhere")


def tag(path: Path) -> None:
    os.setxattr(path, "user.x", b"1")


Loaded = tuple[IsolatedImages, str, tuple[Path, ...]]
DAMAGE = [
    (0, "d/f", flip, "has another content"),
    (0, "d/f", lambda path: path.write_bytes(b"cont"), "has 4 bytes, not 7"),
    (0, "d/f", Path.unlink, "is missing"),
    (0, "d/f", give_away, "is of 7:0, not of 0:0"),
    (0, "d/f", tag, "has other extended attributes"),
    (0, "d", lambda path: path.chmod(0o700), "has mode 0700, not 0755"),
    (0, "l", turn_link, "has another target"),
    (0, "d/extra", Path.touch, "is not of the layer"),
    (1, "new", lambda path: path.chmod(0o755), "has mode 0755, not 4755"),
    (1, "d/other", Path.unlink, "is missing"),  # a whiteout: what was removed would be there again
]


def test_whole_images_have_no_finding(loaded: Loaded, layout: Layout) -> None:
    images, _, trees = loaded
    before = [describe(tree) for tree in trees]
    assert check(images) == check(images, repair=True) == ()
    assert [describe(tree) for tree in trees] == before
    assert not list((layout.images / "ingest").iterdir())


@pytest.mark.parametrize(("position", "name", "damage", "reason"), DAMAGE)
def test_a_damaged_file_is_named_and_repaired(
    loaded: Loaded, position: int, name: str, damage: Callable[[Path], None], reason: str
) -> None:
    images, image_id, trees = loaded
    before = describe(trees[position], times=False)
    damage(trees[position] / name)
    (found,) = check(images)
    assert (found.image, found.path, found.reason, found.repair) == (image_id, name, reason, "")
    assert found.subject == f"sha256:{trees[position].parent.name}"
    (done,) = check(images, repair=True)
    assert done.repair == "done"
    assert check(images) == ()
    assert describe(trees[position], times=False) == before


def test_a_tree_that_runs_is_left(loaded: Loaded) -> None:
    images, image_id, trees = loaded
    flip(trees[0] / "d/f")
    inode = trees[0].stat().st_ino
    (found,) = check(images, repair=True, busy=(image_id,))
    assert "a running container" in found.repair
    assert trees[0].stat().st_ino == inode


def test_a_damaged_blob_is_for_a_registry_to_give(loaded: Loaded, layout: Layout) -> None:
    images, image_id, _ = loaded
    blobs = list((layout.images / "blobs/sha256").iterdir())
    packed = [path for path in blobs if path.read_bytes()[:2] == b"\x1f\x8b"]
    flip(packed[0])
    packed[1].unlink()
    found = {finding.subject[7:]: finding for finding in check(images, repair=True)}
    assert found[packed[0].name].reason == "its content has another digest"
    assert found[packed[1].name].reason == "is missing"
    assert {finding.repair for finding in found.values()} == {"pull"}
    assert {finding.image for finding in found.values()} == {image_id}


def test_a_damaged_config(loaded: Loaded, layout: Layout) -> None:
    images, image_id, _ = loaded
    flip(layout.images / "blobs/sha256" / image_id[7:])
    (found,) = check(images)
    assert found.subject == image_id and "damaged" in found.reason
    assert Images(layout).names(image_id) == ("crafted:latest",)
