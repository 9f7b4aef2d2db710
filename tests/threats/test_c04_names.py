"""C4, CVE-2026-50195: who can hand us an archive cannot change what a name here means."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from runtime.errors import Conflict
from runtime.images.images import Images
from runtime.images.worker import IsolatedImages
from runtime.layout import Layout
from runtime.model import ImageInfo
from tests.unit.images import craft
from tests.unit.images.craft import entry, tar

GOOD, EVIL = tar(entry("program", b"good")), tar(entry("program", b"evil"))


@pytest.fixture
def images(tmp_path: Path) -> IsolatedImages:
    return IsolatedImages(Layout("tnames", tmp_path / "data", tmp_path / "run"))


@pytest.fixture
def good(images: IsolatedImages, tmp_path: Path) -> ImageInfo:
    archive = craft.write_tar(tmp_path / "good.tar", craft.image(GOOD, name="lab/app:1"))
    return images.load(archive)[0]


def evil(tmp_path: Path, *names: str) -> Path:
    """In the forms of both: as `docker save` wrote it, several names."""
    return craft.write_tar(tmp_path / "evil.tar", craft.docker_save(EVIL, tags=names))


def test_c4_a_load_moves_no_name(images: IsolatedImages, good: ImageInfo, tmp_path: Path) -> None:
    with pytest.raises(Conflict, match=r"lab/app:1: it is another image here.*--force"):
        images.load(evil(tmp_path, "lab/other:1", "lab/app:1"))
    assert images.list() == (good,)  # all of an archive or nothing
    archive = craft.write_tar(tmp_path / "oci.tar", craft.image(EVIL, name="docker.io/lab/app:1"))
    with pytest.raises(Conflict, match="lab/app:1"):
        images.load(archive)
    assert images.get("lab/app:1") == good
    assert images.load(tmp_path / "good.tar") == (good,)  # what it means already is no move


def test_c4_an_import_moves_no_name(images: IsolatedImages, good: ImageInfo, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "root.tar", "w") as root:
        root.addfile(tarfile.TarInfo("program"), io.BytesIO())
    with pytest.raises(Conflict, match="lab/app:1"):
        images.import_rootfs(tmp_path / "root.tar", "lab/app:1")
    assert images.list() == (good,)


def test_c4_who_says_so_moves_it(images: IsolatedImages, good: ImageInfo, tmp_path: Path) -> None:
    (moved,) = images.load(evil(tmp_path, "lab/app:1"), moves_names=True)
    assert images.get("lab/app:1") == moved != good
    assert images.names(good.id) == ()


def test_c4_a_name_that_is_given_while_a_load_is_under_way(
    images: IsolatedImages, good: ImageInfo, tmp_path: Path
) -> None:
    """It is looked at again under the lock that gives names."""
    store = Images(Layout("tnames", tmp_path / "data", tmp_path / "run"))

    def report(progress: object) -> None:
        if getattr(progress, "step", "") == "sync":
            store.tag("lab/app:1", "lab/new:1")

    with pytest.raises(Conflict, match="lab/new:1"):
        store.load(evil(tmp_path, "lab/new:1"), report)
    found = images.get("lab/new:1")
    assert found is not None
    assert found.id == good.id
