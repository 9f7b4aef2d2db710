"""The header that tells what a path in a container names, as Go's clients read it."""

from __future__ import annotations

import base64
import json
import stat

import pytest

from agent.api.docker.path_stat import go_mode, header_of
from runtime.copies.places import PathStat, base_of, plain
from runtime.errors import Invalid


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (stat.S_IFREG | 0o644, 0o644),
        (stat.S_IFDIR | 0o755, 0x80000000 | 0o755),
        (stat.S_IFDIR | stat.S_ISVTX | 0o777, 0x80100000 | 0o777),
        (stat.S_IFLNK | 0o777, 0x8000000 | 0o777),
        (stat.S_IFREG | stat.S_ISUID | stat.S_ISGID | 0o755, 0xC00000 | 0o755),
        (stat.S_IFIFO | 0o600, 0x2000000 | 0o600),
        (stat.S_IFSOCK | 0o600, 0x1000000 | 0o600),
        (stat.S_IFBLK | 0o660, 0x4000000 | 0o660),
        (stat.S_IFCHR | 0o666, 0x4200000 | 0o666),
    ],
)
def test_modes(mode: int, expected: int) -> None:
    assert go_mode(mode) == expected


def test_header() -> None:
    found = PathStat("na\udcffme", 3, stat.S_IFLNK | 0o777, 1_500_000_000, "/d")
    view = json.loads(base64.b64decode(header_of(found)))
    assert view == {
        "name": "na�me", "size": 3, "mode": 0x8000000 | 0o777,
        "mtime": "1970-01-01T00:00:01.5Z", "linkTarget": "/d",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "clean", "base"),
    [
        ("/", "/", "/"), ("a", "/a", "a"), ("/a/", "/a", "a"), ("/a/.", "/a", "."), ("a/../b", "/b", "b"),
        ("/../../x", "/x", "x"), ("//a//b//", "/a/b", "b"), (".", "/", "."),
    ],
)  # fmt: skip
def test_paths(path: str, clean: str, base: str) -> None:
    assert (plain(path), base_of(path)) == (clean, base)


@pytest.mark.parametrize("path", ["", "a\0b", "x" * 5000])
def test_no_paths(path: str) -> None:
    with pytest.raises(Invalid):
        plain(path)
