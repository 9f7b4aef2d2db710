"""A directory of the host becomes a volume's content: whole or not at all, and never over what is there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime import volume_copy
from runtime.errors import Conflict, NotFound, Temporary
from runtime.layout import Layout
from runtime.removal import remove_tree
from runtime.volumes import Volumes


@pytest.fixture
def volumes(instance: Layout) -> Iterator[Volumes]:
    found = Volumes(instance)
    found.open()
    yield found
    remove_tree(instance.data)


def test_links_lead_nowhere_while_it_is_copied(volumes: Volumes, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("x")
    source = tmp_path / "source"
    source.mkdir()
    (source / "way").symlink_to(outside)
    (source / "file").write_text("y")
    volumes.take_over("v", str(source))
    copy = volumes.path("v")
    assert (copy / "way").readlink() == outside and (copy / "file").read_text() == "y"
    assert sorted(path.name for path in copy.iterdir()) == ["file", "way"]


def test_what_is_in_it_already_stays(volumes: Volumes, tmp_path: Path) -> None:
    volumes.ensure("v")
    (volumes.path("v") / "mine").write_text("x")
    with pytest.raises(Conflict):
        volumes.take_over("v", str(tmp_path))
    assert [path.name for path in volumes.path("v").iterdir()] == ["mine"]


def test_once_is_enough(volumes: Volumes, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    volumes.take_over("v", str(tmp_path))
    (volumes.path("v") / "a").unlink()
    with pytest.raises(Conflict):
        volumes.take_over("v", str(tmp_path))


def test_no_directory_is_said(volumes: Volumes, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(NotFound):
            volumes.take_over("v", str(path))
    assert list(volumes.path("v").iterdir()) == []


def test_half_a_copy_is_none(volumes: Volumes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        (tmp_path / name).write_text("x" * 100)

    def full(reader: int, writer: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(volume_copy, "_copy_bytes", full)
    with pytest.raises(Temporary):
        volumes.take_over("v", str(tmp_path))
    assert list(volumes.path("v").iterdir()) == []
    monkeypatch.undo()
    volumes.take_over("v", str(tmp_path))
    assert sorted(path.name for path in volumes.path("v").iterdir()) == ["a", "b", "c"]


def test_a_file_with_holes_keeps_them(volumes: Volumes, tmp_path: Path) -> None:
    size = 16 << 20
    for name, at in (("end", size - 3), ("start", 0), ("all", None)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
            if at is not None:
                file.seek(at)
                file.write(b"abc")
    volumes.take_over("v", str(tmp_path))
    for name in ("end", "start", "all"):
        copy = volumes.path("v") / name
        assert copy.read_bytes() == (tmp_path / name).read_bytes()
        assert copy.stat().st_blocks * 512 < 1 << 20


def test_devices_are_left_out_and_told_and_times_stay(volumes: Volumes, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    os.mknod(tmp_path / "inner/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(tmp_path / "disk", stat.S_IFBLK | 0o600, os.makedev(7, 0))
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("fifo", "link"):
        os.utime(tmp_path / name, ns=(1, 1_500_000_000_123_456_789), follow_symlinks=False)
    assert sorted(volumes.take_over("v", str(tmp_path))) == ["disk", "inner/null"]
    copy = volumes.path("v")
    assert sorted(path.name for path in copy.rglob("*")) == ["fifo", "inner", "link"]
    times = [(copy / name).lstat().st_mtime_ns for name in ("fifo", "link")]
    assert times == [1_500_000_000_123_456_789] * 2
