"""The walk behind a pattern of COPY: what it finds is what a plain reading of the pattern finds, and no
pattern makes it look at a directory twice."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.errors import Invalid
from runtime.images.build.paths import Parts
from runtime.images.build.sources import SourceTree
from runtime.images.build.transfer import find
from runtime.images.dockerfile.steps import PathSource
from runtime.images.limits import Limits


class Counted(SourceTree):
    """Remembers which directories were looked into."""

    def __init__(self, root: int, **more: object) -> None:
        super().__init__(root, "the context", keeps_owner=False, **more)  # type: ignore[arg-type]
        self.listed: list[Parts] = []

    def names(self, parts: Parts) -> Iterator[tuple[str, bool]]:
        self.listed.append(parts)
        yield from super().names(parts)


def found(source: SourceTree, pattern: str) -> list[str]:
    return ["/".join(chosen.given) for chosen in find(source, PathSource(pattern, has_pattern=True))]


def plainly(pattern: Sequence[str], path: Sequence[str]) -> bool:
    """By trying everything: part by part, and `**` as nothing or a part more."""
    if not pattern or not path:
        return not pattern and not path
    head, *rest = pattern
    if head == "**" and rest:
        return plainly(rest, path) or plainly(pattern, path[1:])
    return plainly_part(head, path[0]) and plainly(rest, path[1:])


def plainly_part(pattern: str, name: str) -> bool:
    if not pattern or not name:
        return not pattern.strip("*") and not name
    if pattern[0] == "*":
        return plainly_part(pattern[1:], name) or plainly_part(pattern, name[1:])
    return pattern[0] in ("?", name[0]) and plainly_part(pattern[1:], name[1:])


NAME = st.text("ab", min_size=1, max_size=2)
TREES = st.lists(st.lists(NAME, min_size=1, max_size=4).map("/".join), max_size=8)
PART = st.one_of(st.just("**"), st.text("ab*?", min_size=1, max_size=3))
PATTERNS = st.lists(PART, min_size=1, max_size=5).map("/".join)


@settings(deadline=None)
@given(TREES, PATTERNS)
def test_it_finds_what_a_plain_reading_finds(directories: list[str], pattern: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        for name in directories:
            os.makedirs(f"{place}/{name}", exist_ok=True)
        every = sorted(str(path.relative_to(place)) for path in Path(place).rglob("*"))
        root = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            source = Counted(root)
            took = found(source, pattern)
        finally:
            os.close(root)
    parts = [part for part in pattern.split("/") if part]
    assert sorted(took) == [path for path in every if plainly(parts, path.split("/"))]
    assert took == sorted(took, key=lambda path: path.split("/"))  # parents first, each name in its place
    assert len(set(source.listed)) == len(source.listed)


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[int]:
    """Twelve directories in each other, each with two beside it."""
    place = tmp_path
    for _ in range(12):
        for name in "bcd":
            (place / name).mkdir()
        place = place / "b"
    (place / "a").touch()
    root = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield root
    os.close(root)


@pytest.mark.parametrize(
    "pattern",
    [
        "**/" * 300 + "a",
        "**/*/" * 150 + "**/x",
        "**/**/b/**/**/b/**/**/b/**/**/a",
        "*" * 900 + "/**/" + "a",
        "**/" + "*b" * 400,
        "**/" + "[a-z]*" * 100 + "x",
    ],
)
def test_no_pattern_looks_into_a_directory_twice(deep: int, pattern: str) -> None:
    source = Counted(deep)
    took = found(source, pattern)
    assert len(source.listed) == len(set(source.listed)) <= 37
    assert len(took) == len(set(took))


def test_where_nothing_can_fit_is_not_looked_at(deep: int) -> None:
    source = Counted(deep)
    assert found(source, "c/**/a") == []
    assert source.listed == [("c",)]  # from the part without a wildcard on
    source = Counted(deep)
    assert found(source, "?/b/*") == ["b/b/b", "b/b/c", "b/b/d"]
    assert source.listed == [(), ("b",), ("b", "b"), ("c",), ("d",)]


def test_a_walk_has_bounds(deep: int) -> None:
    with pytest.raises(Invalid, match="deeper than 5"):
        found(SourceTree(deep, "it", keeps_owner=False, limits=Limits(depth=5)), "**/a")
    with pytest.raises(Invalid, match="more than 3 files"):
        found(SourceTree(deep, "it", keeps_owner=False, limits=Limits(entries=3)), "**/a")


def test_links_on_the_way_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").touch()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "loop").symlink_to(".")
    root = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert found(SourceTree(root, "it", keeps_owner=False), "**/a") == ["real/a"]
        assert found(SourceTree(root, "it", keeps_owner=False), "*/a") == ["real/a"]
    finally:
        os.close(root)
