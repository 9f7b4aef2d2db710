"""A container's root as a tar, and as the list of what changed in it, from the directories of its layers."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.errors import Invalid, NotFound
from runtime.images import root_diff
from runtime.images.root_diff import Change, changes
from runtime.images.root_files import export_root
from tests.kernel.images.test_layer_writer import seen
from tests.kernel.images.trees import Facts, overlay

LAYERS = 3


@pytest.fixture
def layers(tmp_path: Path) -> list[Path]:
    """Topmost first; the upper directory of an overlay, then lower ones that hide each other's files."""
    made = [tmp_path / name for name in ("upper", "top", "middle", "bottom")]
    for path in made:
        path.mkdir(0o755)
    _, top, middle, bottom = made
    for path in (bottom / "etc", bottom / "hidden", bottom / "d/deep", middle / "d", top / "d", top / "etc"):
        path.mkdir(parents=True)
    (bottom / "etc/passwd").write_text("root")
    (bottom / "hidden/x").write_text("x")
    (bottom / "d/old").write_text("old")
    (bottom / "d/deep/x").write_text("deep")
    (bottom / "file").write_text("1")
    (bottom / "was").mkdir()
    (bottom / "was/x").touch()
    os.link(bottom / "file", bottom / "d/hard")
    os.mknod(middle / "hidden", stat.S_IFCHR, 0)
    (middle / "was").write_text("a file by now")
    (middle / "d/middle").write_text("m")
    os.setxattr(middle / "d", "trusted.overlay.opaque", b"y")
    (top / "d/top").write_text("t")
    (top / "was").mkdir()
    return made


@pytest.fixture
def merged(layers: list[Path], tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "work").mkdir()
    lower = [str(path) for path in layers[1:]]
    with overlay(tmp_path / "merged", lower, str(layers[0]), str(tmp_path / "work")) as root:
        yield root


def exported(layers: list[Path], folder: Path) -> Facts:
    """What GNU tar makes of the export."""
    folder.mkdir(0o755)
    with (folder.parent / "root.tar").open("wb") as file:
        export_root(layers, file.write, "web")
    options = ["--xattrs", "--xattrs-include=*", "--same-owner", "--numeric-owner", "-p"]
    subprocess.run(["tar", "xf", folder.parent / "root.tar", *options, "-C", folder], check=True)
    return seen(folder)


def change(root: Path) -> None:
    (root / "new/below").mkdir(parents=True)
    (root / "new/below/file").write_text("new")
    os.link(root / "new/below/file", root / "hard")
    (root / "d/top").unlink()
    (root / "file").write_text("2")
    shutil.rmtree(root / "was")
    (root / "was").mkdir()
    (root / "was/new").touch()
    os.chown(root / "etc/passwd", 65534, 65534)
    os.setxattr(root / "etc/passwd", "user.x", b"1")
    (root / "etc/link").symlink_to("/etc/passwd")
    os.mknod(root / "null", 0o20666, os.makedev(1, 3))


def test_an_export_is_what_the_container_sees(layers: list[Path], merged: Path, tmp_path: Path) -> None:
    assert exported(layers, tmp_path / "before") == seen(merged)
    change(merged)
    expected = seen(merged)
    assert exported(layers, tmp_path / "after") == expected
    assert "d/middle" in expected
    assert "d/old" not in expected
    assert "hidden" not in expected
    first = (tmp_path / "root.tar").read_bytes()
    with (tmp_path / "again.tar").open("wb") as file:
        export_root(layers, file.write, "web")
    assert (tmp_path / "again.tar").read_bytes() == first


def test_a_root_of_one_layer_shows_no_whiteouts(layers: list[Path], tmp_path: Path) -> None:
    os.mknod(layers[0] / "gone", stat.S_IFCHR, 0)
    (layers[0] / "there").touch()
    with (tmp_path / "root.tar").open("wb") as file:
        export_root(layers[:1], file.write, "web")
    with tarfile.open(tmp_path / "root.tar") as archive:
        assert archive.getnames() == [".", "there"]


def _anew(path: Path, *, is_file: bool = False) -> None:
    shutil.rmtree(path)
    if is_file:
        path.touch()
    else:
        path.mkdir()
        (path / "again").touch()


def test_changes(layers: list[Path], merged: Path) -> None:
    assert changes(layers[0], layers[1:], "web") == []
    change(merged)
    told = [f"{change.kind} {change.path.decode()}" for change in changes(layers[0], layers[1:], "web")]
    assert told == [
        "C /d", "D /d/top", "C /etc", "A /etc/link", "C /etc/passwd", "C /file", "A /hard", "A /new",
        "A /new/below", "A /new/below/file", "A /null", "C /was", "A /was/new",
    ]  # fmt: skip


@pytest.mark.parametrize(("act", "told"), [
    (lambda root: (root / "d/middle").chmod(0o600), [Change("C", b"/d"), Change("C", b"/d/middle")]),
    (lambda root: (root / "d/middle").chmod(0o644), []),
    (lambda root: _anew(root / "d"), [
        Change("C", b"/d"), Change("A", b"/d/again"), Change("D", b"/d/middle"), Change("D", b"/d/top"),
    ]),
    (lambda root: _anew(root / "d", is_file=True), [Change("C", b"/d")]),
    (lambda root: shutil.rmtree(root / "d"), [Change("D", b"/d")]),
    (lambda root: (root / "d/deep").mkdir(), [Change("C", b"/d"), Change("A", b"/d/deep")]),
    (lambda root: (root / "d").chmod(0o700), [Change("C", b"/d")]),
    (lambda root: os.chown(root / "d", 1, 1), [Change("C", b"/d")]),
    (lambda root: (root / "hidden").mkdir(), [Change("A", b"/hidden")]),
    (lambda root: (root / "x").touch() or (root / "x").unlink(), []),
    (lambda root: (root / os.fsdecode(b"\xff")).touch(), [Change("A", b"/\xff")]),
])  # fmt: skip
def test_one_change(
    layers: list[Path], merged: Path, act: Callable[[Path], None], told: list[Change]
) -> None:
    act(merged)
    assert changes(layers[0], layers[1:], "web") == told


def test_a_quick_look_is_the_same_or_none(layers: list[Path], merged: Path) -> None:
    (merged / "d/new").touch()
    (merged / "etc/passwd").write_text("changed")
    (merged / "file").unlink()
    shutil.rmtree(merged / "was")
    (merged / "was").mkdir()
    assert root_diff.quick_changes(layers[0], layers[1:], "web") == changes(layers[0], layers[1:], "web")


@pytest.mark.parametrize("where", ["one directory", "many directories", "what is hidden"])
def test_a_quick_look_ends_where_there_is_much(tmp_path: Path, where: str) -> None:
    upper, lower = tmp_path / "upper", tmp_path / "lower"
    count = root_diff.QUICK_NAMES
    (upper / "d").mkdir(parents=True)
    (lower / "d").mkdir(parents=True)
    if where == "one directory":
        fill(upper / "d", count)
    elif where == "many directories":
        for number in range(10):
            (upper / f"{number}").mkdir()
            fill(upper / f"{number}", count // 10)
    else:
        os.setxattr(upper / "d", "trusted.overlay.opaque", b"y")
        fill(lower / "d", count)
    assert root_diff.quick_changes(upper, [lower], "web") is None
    assert len(changes(upper, [lower], "web")) >= count


def fill(directory: Path, count: int) -> None:
    for number in range(count):
        (directory / f"f{number}").touch()


def test_more_changes_than_anybody_reads(
    layers: list[Path], merged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(merged)
    monkeypatch.setattr(root_diff, "MAX_CHANGES", 5)
    with pytest.raises(Invalid, match="over 5 changes"):
        changes(layers[0], layers[1:], "web")


def test_a_root_that_is_removed_meanwhile_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="removed meanwhile"):
        changes(tmp_path / "upper", [tmp_path], "web")
