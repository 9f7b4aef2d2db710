"""Directories of containers on ext4 lie in block groups of their own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.block_groups import is_spread, spread


@pytest.fixture
def ext4(tmp_path: Path) -> Iterator[Path]:
    image, mounted = tmp_path / "image", tmp_path / "mounted"
    with image.open("wb") as file:
        file.truncate(256 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-G", "1", "-g", "8192", image], check=True)
    mounted.mkdir()
    subprocess.run(["mount", "-o", "loop", image, mounted], check=True)
    yield mounted
    subprocess.run(["umount", mounted], check=True)


def test_children_lie_apart(ext4: Path) -> None:
    """The first inode number of a block group is a multiple of the inodes in a group, and one."""
    together, apart = ext4 / "together", ext4 / "apart"
    for parent in (together, apart):
        parent.mkdir()
    spread(apart)
    assert is_spread(apart) and not is_spread(together)
    for parent in (together, apart):
        for number in range(8):
            (parent / str(number)).mkdir()
    groups = {parent: {_group(ext4, each) for each in parent.iterdir()} for parent in (together, apart)}
    assert len(groups[together]) == 1
    assert len(groups[apart]) > 4


def test_twice_is_once(ext4: Path) -> None:
    spread(ext4)
    spread(ext4)
    assert is_spread(ext4)


def test_without_the_flag_nothing_happens() -> None:
    spread(Path("/proc/self"))


def _group(mounted: Path, path: Path) -> int:
    """dumpe2fs would say the same; f_files is inodes a group times groups."""
    source = subprocess.run(
        ["findmnt", "-no", "SOURCE", mounted], check=True, capture_output=True, text=True
    ).stdout.strip()
    said = subprocess.run(["dumpe2fs", "-h", source], check=True, capture_output=True, text=True).stdout
    in_group = next(
        int(line.split()[-1]) for line in said.splitlines() if line.startswith("Inodes per group")
    )
    return (path.stat().st_ino - 1) // in_group
