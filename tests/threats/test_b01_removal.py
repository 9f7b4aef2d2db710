"""Removal of what a container or an administrator filled takes nothing that is not its own."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from runtime import mount_table, syscalls
from runtime.removal import remove_tree


@pytest.mark.parametrize("name", ["disk", "disk ü\\n and\ttabs"])
def test_what_is_mounted_in_a_tree_is_not_removed_with_it(tmp_path: Path, canary: Path, name: str) -> None:
    tree = tmp_path / "tree"
    point = tree / "volumes" / name
    point.mkdir(parents=True)
    (tree / "volumes/own").write_text("x")
    syscalls.mount(str(canary), str(point), None, syscalls.MS_BIND)
    try:
        with pytest.raises(OSError) as caught:
            remove_tree(tree)
        assert caught.value.errno == errno.EXDEV
        assert list(mount_table.points_below(f"{tree}/")) == [str(point)]
    finally:
        syscalls.umount2(str(point), syscalls.MNT_DETACH)
    remove_tree(tree)
    assert not tree.exists()


def test_links_are_removed_and_not_followed(tmp_path: Path, canary: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    (tree / "deep/link").symlink_to(canary)
    os.mkfifo(tree / "fifo")
    remove_tree(tree)
    assert not tree.exists()
