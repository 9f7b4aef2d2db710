"""Patterns of names: they say what Python's own say, in a time that no pattern stretches."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.api.docker.name_patterns import MAX_DEPTH, MAX_LENGTH, fits_pattern
from runtime.errors import Invalid

ATOMS = st.sampled_from(["a", "b", "-", ".", "[ab]", "[^a]", "[a-c]", "\\.", "\\d", "^", "$"])
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda ways: f"({'|'.join(ways)})"),
        st.tuples(inner, st.sampled_from("*+?")).map(lambda pair: f"({pair[0]}){pair[1]}"),
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("pattern", "is_so"),
    [
        ("we", True), ("^we", True), ("eb$", True), ("^web$", True), ("^eb", False), ("we$", False),
        ("^we$", False), ("w.b", True), ("", True), ("db|web", True), ("^(db|web)$", True),
        ("^w[a-e]+?", True), ("^w[^e]", False), ("x*", True), ("^x+", False), ("^we|db$", True),
        ("\\w+", True), ("(?:we)b", True),
    ],
)  # fmt: skip
def test_patterns(pattern: str, is_so: bool) -> None:
    assert fits_pattern("web", pattern) is is_so


@given(PATTERNS, st.text("ab-.c1", max_size=12))
def test_as_others_read_them(pattern: str, text: str) -> None:
    assert fits_pattern(text, pattern) is bool(re.search(pattern, text))


@pytest.mark.parametrize(
    "bad", ["(", ")", "[", "[a", "*", "a**b(", "a{3}", "\\", "\\b", "a|*", "(" * 99, "." * 999]
)
def test_what_is_no_pattern(bad: str) -> None:
    assert MAX_LENGTH < 999 and MAX_DEPTH < 99
    with pytest.raises(Invalid):
        fits_pattern("web", bad)


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "((a*)*)*b", "(a|a)*(a|a)*(a|aa)*b", "(.*.*.*.*)*x", "a?" * 99 + "a" * 50]
)
def test_no_pattern_takes_long(pattern: str) -> None:
    """Some of these take a backtracking matcher longer than the universe has been there."""
    assert fits_pattern("a" * 255 + "b", pattern) is (pattern.endswith("b") or "?" in pattern)
