"""Filling a volume from layers: whiteouts, links, owners, attributes, and what hostile layers try."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from runtime.errors import Invalid
from runtime.layout import Layout
from runtime.removal import remove_tree
from runtime.volumes import Volumes


@pytest.fixture
def layers(tmp_path: Path) -> tuple[Path, Path]:
    """Topmost first, both with a directory /data."""
    for name in ("top", "bottom"):
        (tmp_path / name / "data").mkdir(parents=True)
    return tmp_path / "top", tmp_path / "bottom"


def _fill(instance: Layout, layers: tuple[Path, ...], target: str = "/data") -> Path:
    volumes = Volumes(instance)
    volumes.open()
    volumes.ensure("v")
    assert volumes.wants_filling("v")
    volumes.fill("v", tuple(map(str, layers)), target)
    assert not list((instance.volumes / "v").glob(".filling*"))
    return volumes.path("v")


@pytest.fixture(autouse=True)
def _no_data_stays(instance: Layout) -> object:
    yield
    remove_tree(instance.data)


def test_layers_are_seen_as_one_with_whiteouts(instance: Layout, layers: tuple[Path, Path]) -> None:
    top, bottom = layers
    for name in ("kept", "hidden", "changed"):
        (bottom / "data" / name).write_text("bottom")
    (bottom / "data" / "opaque").mkdir()
    (bottom / "data" / "opaque" / "old").write_text("x")
    os.mknod(top / "data" / "hidden", stat.S_IFCHR, os.makedev(0, 0))
    (top / "data" / "changed").write_text("top")
    (top / "data" / "opaque").mkdir()
    os.setxattr(top / "data" / "opaque", "trusted.overlay.opaque", b"y")
    data = _fill(instance, layers)
    found = {path.relative_to(data).as_posix() for path in data.rglob("*")}
    assert found == {"kept", "changed", "opaque"}
    assert (data / "changed").read_text() == "top"
    assert "trusted.overlay.opaque" not in os.listxattr(data / "opaque")


def test_owners_modes_times_links_and_attributes(instance: Layout, layers: tuple[Path, Path]) -> None:
    top, _ = layers
    source = top / "data"
    (source / "file").write_bytes(b"\0binary" * 100_000)
    os.chown(source / "file", 1234, 5678)
    (source / "file").chmod(0o4755)
    os.setxattr(source / "file", "user.note", b"kept")
    os.utime(source / "file", ns=(1_000_000_001, 2_000_000_002))
    os.link(source / "file", source / "again")
    os.symlink("/etc/passwd", source / "link")
    os.lchown(source / "link", 11, 12)
    os.chown(source, 77, 78)
    source.chmod(0o1770)
    os.mkfifo(source / "fifo", 0o640)
    data = _fill(instance, (top,))
    found = (data / "file").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1234, 5678, 0o4755)
    assert found.st_mtime_ns == 2_000_000_002 and found.st_size == 700_000
    assert (data / "file").samefile(data / "again") and found.st_nlink == 2
    assert os.getxattr(data / "file", "user.note") == b"kept"
    assert os.readlink(data / "link") == "/etc/passwd" and os.lstat(data / "link").st_uid == 11
    assert (data.stat().st_uid, stat.S_IMODE(data.stat().st_mode)) == (77, 0o1770)
    assert stat.S_ISFIFO((data / "fifo").stat().st_mode)


def test_devices_are_left_out_and_links_lead_nowhere_else(
    instance: Layout, layers: tuple[Path, Path], tmp_path: Path
) -> None:
    top, _ = layers
    canary = tmp_path / "host"
    canary.mkdir()
    (canary / "secret").write_text("host")
    os.mknod(top / "data" / "disk", stat.S_IFBLK | 0o666, os.makedev(8, 0))
    os.symlink(canary, top / "data" / "out")
    os.symlink("../../../../../.." + str(canary), top / "escape")
    data = _fill(instance, (top,))
    assert [path.name for path in data.iterdir()] == ["out"]
    remove_tree(instance.data)
    (top / str(canary).lstrip("/")).mkdir(parents=True)
    (top / str(canary).lstrip("/") / "inside").write_text("image")
    data = _fill(instance, (top,), "/escape")
    assert [path.name for path in data.iterdir()] == ["inside"]


@pytest.mark.parametrize("target", ["/missing", "/data/file", "/loop"])
def test_a_target_that_is_no_directory_fills_nothing(
    instance: Layout, layers: tuple[Path, Path], target: str
) -> None:
    top, _ = layers
    (top / "data" / "file").write_text("x")
    os.symlink("loop", top / "loop")
    assert list(_fill(instance, (top,), target).iterdir()) == []


def test_a_copy_that_fails_leaves_an_empty_volume(
    instance: Layout, layers: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime import volume_copy

    top, _ = layers
    for number in range(5):
        (top / "data" / f"f{number}").write_text("x")
    real, count = volume_copy._copy_bytes, 0

    def fail(reader: int, writer: int) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise OSError(28, "No space left on device")
        real(reader, writer)

    with monkeypatch.context() as patched:
        patched.setattr(volume_copy, "_copy_bytes", fail)
        with pytest.raises(Exception, match="no space left"):
            _fill(instance, (top,))
    assert list((instance.volumes / "v" / "_data").iterdir()) == []
    assert len(list(_fill(instance, (top,)).iterdir())) == 5


def test_a_half_made_copy_is_swept_and_data_without_a_record_is_kept(instance: Layout) -> None:
    half = instance.volumes / "v"
    (half / ".filling" / "deep").mkdir(parents=True)
    (half / "_data").mkdir()
    (half / "_data" / "mine").write_text("x")
    volumes = Volumes(instance)
    volumes.open()
    assert not (half / ".filling").exists()
    assert [volume.name for volume in volumes.list()] == ["v"]
    assert (volumes.path("v") / "mine").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", ".hidden", "x" * 300, "a\0b"])
def test_names_that_are_no_names(instance: Layout, name: str) -> None:
    volumes = Volumes(instance)
    volumes.open()
    with pytest.raises(Invalid):
        volumes.ensure(name)


def test_removal_follows_no_link_and_knows_no_depth(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    tree = tmp_path / "tree"
    tree.mkdir()
    os.symlink(outside, tree / "link")
    here = os.open(tree, os.O_RDONLY)
    for number in range(2500):
        os.mkdir("d", dir_fd=here)
        if number % 100 == 0:
            os.symlink(outside, "out", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    remove_tree(tree)
    assert not tree.exists() and (outside / "kept").exists()
    remove_tree(tree)
