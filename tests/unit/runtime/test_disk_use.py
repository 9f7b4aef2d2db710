"""What a tree takes on disk: counted within a time, and never outside of it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from runtime.disk_use import MAX_DEPTH, DiskUse, TreeUse, count

FAR = 1e12


def fill(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))


def test_files_count_once_by_what_is_allocated(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    fill(tree / "a/b/file", 1_000_000)
    os.link(tree / "a/b/file", tree / "again")
    with (tree / "holes").open("wb") as file:
        file.truncate(1 << 40)
    fill(tmp_path / "outside/large", 5_000_000)
    (tree / "link").symlink_to(tmp_path / "outside")
    found = count(tree, FAR, 7.0)
    assert found.is_whole and found.at == 7.0 and 1_000_000 <= found.bytes < 1_300_000


def test_what_is_no_directory_is_not_entered(tmp_path: Path) -> None:
    fill(tmp_path / "outside/large", 5_000_000)
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    assert count(tmp_path / "link", FAR, 7.0) == TreeUse(0, False, 7.0)
    assert count(tmp_path / "outside/large", FAR, 7.0) == TreeUse(0, False, 7.0)
    assert count(tmp_path / "gone", FAR, 7.0) == TreeUse(0, True, 7.0)


def test_a_tree_without_an_end_is_counted_in_part(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    for _ in range(MAX_DEPTH + 5):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    before = len(os.listdir("/proc/self/fd"))
    assert not count(tmp_path, FAR, 7.0).is_whole
    assert len(os.listdir("/proc/self/fd")) == before


def test_when_the_time_is_over_it_says_so_and_keeps_what_it_knew(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    fill(first / "file", 100_000)
    now = [10.0]
    use = DiskUse(lambda: now[0])
    whole = use.of([first], 60.0)[first]
    assert whole.is_whole and whole.bytes >= 100_000
    fill(first / "more", 100_000)
    fill(second / "file", 100_000)
    now[0] = 20.0
    found = use.of([first, second], -1.0)
    assert found[first] == whole  # better the whole of a while ago than a part of now
    assert not found[second].is_whole
    now[0] = 30.0
    found = use.of([first, second], 60.0)
    assert found[first].is_whole and found[first].bytes > whole.bytes and found[second].is_whole
    assert time.monotonic() < FAR
