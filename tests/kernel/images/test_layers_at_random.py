"""Random changes through overlayfs: the image of a commit, and the export, show what the container saw."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.images.compose import Composition
from runtime.images.images import Images
from runtime.images.layer_writer import write_layer
from runtime.images.reference import parse_reference
from runtime.images.root_diff import changes
from tests.kernel.images.test_layer_writer import OCI, seen
from tests.kernel.images.test_root_files import exported
from tests.kernel.images.trees import Facts, overlay

NAMES = ("a", "b", "c", "d", "e")
ROUNDS, CHANGES = 3, 60


@pytest.mark.parametrize("seed", range(12))
def test_commits_one_on_another(images: Images, tmp_path: Path, seed: int) -> None:
    """Three rounds, each in a container of the image that the one before made."""
    luck = random.Random(seed)
    base, lower = "", [str(tmp_path / "empty")]
    Path(lower[0]).mkdir(mode=0o755)
    before: Facts = {}
    for number in range(ROUNDS):
        place = tmp_path / str(number)
        for name in ("upper", "work"):
            (place / name).mkdir(parents=True, mode=0o755)
        with overlay(place / "merged", lower, str(place / "upper"), str(place / "work")) as root:
            for _ in range(CHANGES):
                with contextlib.suppress(OSError):
                    change(root, luck)
            expected = seen(root)
            assert exported([place / "upper", *map(Path, lower)], place / "exported") == expected
            told = {
                change.path.decode(): change.kind
                for change in changes(place / "upper", list(map(Path, lower)), "x")
            }
        check_told(told, before, expected)
        layer = write_layer(place / "upper", place / "layer")
        info = images.compose(Composition(base, (layer,), OCI, (parse_reference(f"round:{number}"),)))
        lower = [str(path) for path in reversed(images.layer_directories(info.id))]
        with overlay(place / "again", lower) as again:
            assert seen(again) == expected, f"round {number}"
        base, before = info.id, expected


def check_told(told: dict[str, str], before: Facts, after: Facts) -> None:
    """Each name that is new or gone is told, below what is gone none."""
    for name in after.keys() - before.keys():
        assert told.get(f"/{name}") == "A"
    for name in before.keys() - after.keys():
        gone = ["/" + str(path) for path in (Path(name), *Path(name).parents)]
        assert any(told.get(path) in ("C", "D") for path in gone)
    for name in after.keys() & before.keys():
        if facts(before[name]) != facts(after[name]):
            assert told.get(f"/{name}") == "C", (name, before[name], after[name])


def facts(of: tuple[object, ...]) -> tuple[object, ...]:
    """What a change is told by: mode, owner, time and size; of a directory not its time."""
    mode, uid, gid, mtime, content, *_ = of
    is_directory = str(mode).startswith("0o40")
    return (
        (mode, uid, gid)
        if is_directory
        else (mode, uid, gid, mtime, content[0] if isinstance(content, tuple) else 0)
    )


def change(root: Path, luck: random.Random) -> None:
    """One thing that a program may do; OSError when it cannot be done here."""
    path, other = (somewhere(root, luck) for _ in range(2))
    match luck.randrange(11):
        case 0 | 1:
            path.mkdir(luck.choice((0o755, 0o700, 0o1777)))
        case 2 | 3 | 4:
            path.write_bytes(luck.randbytes(luck.choice((0, 1, 511, 512, 513, 5000))))
        case 5:
            path.unlink()
        case 6:
            shutil.rmtree(path)
        case 7:
            path.symlink_to(luck.choice(("a", "../b", "/c/d", "x" * 150)))
        case 8:
            os.link(path, other, follow_symlinks=False)
        case 9:
            path.rename(other)
        case _:
            os.chown(path, luck.randrange(3), 2**21 + luck.randrange(3), follow_symlinks=False)
            os.setxattr(path, "user.x", luck.randbytes(5), follow_symlinks=False)


def somewhere(root: Path, luck: random.Random) -> Path:
    """A name at most four directories deep, in one that is there if possible."""
    found = [root, *(path for path in walk(root) if len(path.relative_to(root).parts) < 4)]
    return luck.choice(found) / luck.choice(NAMES)


def walk(root: Path) -> Iterator[Path]:
    for path, directories, _ in os.walk(root):
        directories.sort()
        yield from (Path(path, name) for name in directories if not Path(path, name).is_symlink())
