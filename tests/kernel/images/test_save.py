"""Images out of the store, for this and for other engines, and in again from what those write."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.errors import Invalid, NotFound
from runtime.images.images import Images
from runtime.images.saver import FORMS, Form
from runtime.layout import Layout
from runtime.model import ImageInfo
from tests.engines import HAS_DOCKER, HAS_PODMAN, Engine, dockerd, podman_in
from tests.kernel.images.trees import Facts, describe
from tests.unit.images import craft
from tests.unit.images.craft import directory, entry, tar

BASE = tar(directory("etc"), entry("etc/passwd", b"root:x:0:0::/:/bin/sh\n"), directory("d"), entry("d/old"))
TOP = tar(directory("d"), entry("d/.wh.old"), entry("d/new", b"new" * 1000))
NAMES = ("one:1", "registry.test:5000/team/two:2")


@pytest.fixture
def two(images: Images, tmp_path: Path) -> tuple[ImageInfo, ImageInfo]:
    """Two images that share a layer."""
    first = craft.write_tar(tmp_path / "1.tar", craft.image(BASE, name=NAMES[0], Labels={"n": "1"}))
    second = craft.write_tar(tmp_path / "2.tar", craft.image(BASE, TOP, name=NAMES[1]))
    return images.load(first)[0], images.load(second)[0]


def save(images: Images, path: Path, names: tuple[str, ...], form: Form) -> Path:
    archive = images.save(names, form)
    with path.open("wb") as file:
        for chunk in archive.chunks():
            file.write(chunk)
    assert path.stat().st_size == archive.size_bytes
    return path


@pytest.mark.parametrize("form", FORMS)
def test_what_is_saved_is_loaded_as_it_was(
    images: Images, two: tuple[ImageInfo, ...], tmp_path: Path, form: Form
) -> None:
    path = save(images, tmp_path / "saved.tar", NAMES, form)
    other = Images(Layout("tother", tmp_path / "other", tmp_path / "run"))
    loaded = {info.names: info for info in other.load(path)}
    assert loaded == {info.names: info for info in two}
    for info in two:
        trees = zip(images.layer_directories(info.id), other.layer_directories(info.id), strict=True)
        assert all(_below(mine) == _below(theirs) for mine, theirs in trees)
    assert save(other, tmp_path / "again.tar", NAMES, form).read_bytes() == path.read_bytes()
    assert save(other, tmp_path / "turned.tar", NAMES[::-1], form).read_bytes() == path.read_bytes()
    with tarfile.open(path) as archive:
        members = archive.getmembers()
    assert len({member.name for member in members}) == len(members)  # the shared layer is there once
    assert {(member.mtime, member.uid, member.gid) for member in members} == {(0, 0, 0)}


def _below(root: Path) -> Facts:
    """No entry says when a whiteout or the directory of the layer itself was made."""
    return {name: fact for name, fact in describe(root, times=False).items() if name != "."}


def test_names_of_one_image(images: Images, two: tuple[ImageInfo, ...], tmp_path: Path) -> None:
    images.tag("one:1", "three")
    path = save(images, tmp_path / "saved.tar", ("three", "one:1"), "oci-archive")
    other = Images(Layout("tother", tmp_path / "other", tmp_path / "run"))
    assert [info.names for info in other.load(path)] == [("one:1", "three:latest")]
    path = save(images, tmp_path / "by-id.tar", (two[0].id[7:19],), "docker-archive")
    nameless = Images(Layout("tother", tmp_path / "nameless", tmp_path / "run"))
    assert [(info.id, info.names) for info in nameless.load(path)] == [(two[0].id, ())]


def test_what_is_not_there_or_damaged(images: Images, two: tuple[ImageInfo, ...], layout: Layout) -> None:
    with pytest.raises(NotFound, match="no such image"):
        images.save(["one:1", "absent"], "docker-archive")
    (layer,) = {path for path in (layout.images / "blobs/sha256").iterdir() if path.name in _layers(images)}
    data = layer.read_bytes()
    layer.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(Invalid, match="damaged"):
        list(images.save(["one:1"], "docker-archive").chunks())
    layer.write_bytes(data[:-1])
    archive = images.save(["one:1"], "docker-archive")
    with pytest.raises(Invalid, match="damaged"):
        list(archive.chunks())
    layer.unlink()
    with pytest.raises(NotFound, match="removed meanwhile"):
        list(archive.chunks())
    with pytest.raises(NotFound, match="not in the store"):
        images.save(["one:1"], "docker-archive")


def _layers(images: Images) -> set[str]:
    archive = images.save(["one:1"], "docker-archive")
    return {digest[7:] for digest, size in archive.blobs} - {
        image.id[7:] for image in images.list()
    } - {image.digest[7:] for image in images.list()}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_skopeo_takes_it(images: Images, two: tuple[ImageInfo, ...], tmp_path: Path, form: Form) -> None:
    path = save(images, tmp_path / "saved.tar", NAMES, form)
    name = "registry.test:5000/team/two:2"
    subprocess.run(
        ["skopeo", "copy", "-q", f"{form}:{path}:{name}", f"oci:{tmp_path}/out:{name}"],
        check=True, capture_output=True,
    )  # fmt: skip
    other = Images(Layout("tother", tmp_path / "other", tmp_path / "run"))
    (loaded,) = other.load(tmp_path / "out")
    assert loaded.names == (name,)
    assert loaded.layers == two[1].layers
    if form == "oci-archive":  # of the other one skopeo writes the config anew
        assert (loaded.id, loaded.digest) == (two[1].id, two[1].digest)


# --- docker and podman ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def docker() -> Iterator[Engine]:
    folder = Path(tempfile.mkdtemp(prefix="dockerd-"))  # pytest's own would be too long for a socket
    try:
        with dockerd(folder) as engine:
            yield engine
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return podman_in(tmp_path_factory.mktemp("podman"))


@pytest.mark.slow
@pytest.mark.skipif(not HAS_DOCKER, reason="docker is not installed")
def test_docker_loads_it_and_gives_it_back(
    docker: Engine, images: Images, two: tuple[ImageInfo, ...], tmp_path: Path
) -> None:
    path = save(images, tmp_path / "saved.tar", NAMES, "docker-archive")
    docker("load", "-i", path)
    for name, info in zip(NAMES, two, strict=True):
        assert docker("inspect", "-f", "{{.Id}}", name).stdout.strip() == info.id
    docker("save", "-o", tmp_path / "back.tar", *NAMES)
    other = Images(Layout("tother", tmp_path / "other", tmp_path / "run"))
    assert {(info.id, info.names) for info in other.load(tmp_path / "back.tar")} == {
        (info.id, info.names) for info in two
    }


@pytest.mark.slow
@pytest.mark.skipif(not HAS_PODMAN, reason="podman is not installed")
@pytest.mark.parametrize("form", FORMS)
def test_podman_loads_it_and_gives_it_back(
    podman: Engine, images: Images, two: tuple[ImageInfo, ...], tmp_path: Path, form: Form
) -> None:
    names = NAMES if form == "docker-archive" else NAMES[1:]  # podman's OCI archives hold one
    podman("load", "-q", "-i", save(images, tmp_path / "saved.tar", names, form))
    ids = {info.names[0]: info.id[7:] for info in two}
    for name in names:
        whole = name if "/" in name else f"docker.io/library/{name}"
        assert podman("inspect", "-f", "{{.Id}}", whole).stdout.strip() == ids[name]
    many = ["-m"] if len(names) > 1 else []
    podman("save", "-q", *many, "--format", form, "-o", tmp_path / "back.tar", *names)
    podman("rmi", "-f", "-a")
    other = Images(Layout("tother", tmp_path / "other", tmp_path / "run"))
    loaded = other.load(tmp_path / "back.tar")
    assert {info.names[0]: info.id[7:] for info in loaded} == {name: ids[name] for name in names}
