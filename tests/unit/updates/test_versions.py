"""Which tags are newer than one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.updates.versions import Level, newer_tags, parse_version

_TAGS = """
latest stable 1 2 16 17 1.26 1.27 1.28 2.0 1.27.3 1.27.4 1.27.10 1.28.0 2.0.0 2.1.0-rc.1 2.1.0-rc.10
2.1.0-rc.2 2.1.0-beta1 2.1.0 1.27.3-alpine 1.27.4-alpine 1.28.0-alpine 1.28.0-alpine3.20 v1.27.4
1.27.5-rc1-alpine 1.27.5-alpine 20240105 3f2a9c1 1.27.4_2
1.27.04 1.27.4+build 99999999.1 1.2.3.4 1.2.3.5 nightly 3.0.0-SNAPSHOT
"""
TAGS = _TAGS.split()


@pytest.mark.parametrize(
    ("tag", "level", "newest"),
    [
        ("1.27.3", "patch", ("1.27.10", "1.27.4", "1.27.04")),
        ("1.27.3", "minor", ("1.28.0", "1.27.10", "1.27.4", "1.27.04")),
        ("1.27.10", "major", ("2.1.0", "2.0.0", "1.28.0")),
        ("1.27", "minor", ("1.28",)),
        ("1.27", "patch", ()),
        ("16", "major", ("17",)),
        ("16", "minor", ()),
        ("1.27.3-alpine", "minor", ("1.28.0-alpine", "1.27.5-alpine", "1.27.4-alpine")),
        ("1.2.3.4", "patch", ("1.2.3.5",)),
        ("2.1.0-rc.2", "patch", ("2.1.0",)),
        ("latest", "major", ()),
        ("20240101", "major", ()),
        ("3f2a9c0", "major", ()),
    ],
)
def test_newer_of_the_same_kind(tag: str, level: Level, newest: tuple[str, ...]) -> None:
    assert newer_tags(tag, TAGS, level) == newest


def test_prereleases_when_asked_for_in_the_order_of_semver() -> None:
    found = newer_tags("2.0.0", TAGS, "minor", prereleases=True)
    assert found == ("2.1.0", "2.1.0-rc.10", "2.1.0-rc.2", "2.1.0-rc.1", "2.1.0-beta1")
    assert newer_tags("1.27.4-alpine", TAGS, "patch", prereleases=True) == (
        "1.27.5-alpine",
        "1.27.5-rc1-alpine",
    )
    assert "3.0.0-SNAPSHOT" in newer_tags("2.0.0", TAGS, "major", prereleases=True)


def test_what_is_no_version() -> None:
    for tag in ("", "v", "latest", "1.2.3.4.5", "1..2", "1234567", "1.2.3-", "a1.2", "1" * 200, "1.2.3\n"):
        assert parse_version(tag) is None, tag
    assert parse_version("123456") is not None


ANY = st.text(alphabet="0123456789.v-rcabetlpin_+", max_size=14)


@given(ANY, st.lists(ANY, max_size=12), st.sampled_from(["patch", "minor", "major"]), st.booleans())
def test_whatever_the_tags_are_it_is_total_and_never_goes_back(
    tag: str, tags: list[str], level: Level, prereleases: bool
) -> None:
    found = newer_tags(tag, tags, level, prereleases=prereleases)
    current = parse_version(tag)
    assert set(found) <= set(tags) and tag not in found
    for other in found:
        version = parse_version(other)
        assert version is not None and current is not None
        assert version.order > current.order and version.variant == current.variant
        assert not newer_tags(other, [tag], "major", prereleases=True)
    assert found == newer_tags(tag, reversed(tags), level, prereleases=prereleases)
    orders = [version.order for version in map(parse_version, found) if version]
    assert orders == sorted(orders, reverse=True)
