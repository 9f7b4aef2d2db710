"""Patterns as Go's path.Match has them."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.api.docker.globs import fits_glob
from runtime.errors import Invalid
from tests.bounds import BROKEN_SECONDS


# From Go's own path/match_test.go.
@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("abc", "abc", True),
        ("*", "abc", True),
        ("*c", "abc", True),
        ("a*", "a", True),
        ("a*", "ab/c", False),
        ("a*/b", "abc/b", True),
        ("a*/b", "a/c/b", False),
        ("a*b*c*d*e*/f", "axbxcxdxe/f", True),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/f", True),
        ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", False),
        ("a*b?c*x", "abxbbxdbxebxczzx", True),
        ("a*b?c*x", "abxbbxdbxebxczzy", False),
        ("ab[c]", "abc", True),
        ("ab[b-d]", "abc", True),
        ("ab[e-g]", "abc", False),
        ("ab[^c]", "abc", False),
        ("ab[^e-g]", "abc", True),
        ("a\\*b", "a*b", True),
        ("a\\*b", "ab", False),
        ("a?b", "a☺b", True),
        ("a[^a]b", "a☺b", True),
        ("a???b", "a☺b", False),
        ("[a-ζ]*", "α", True),
        ("*[a-ζ]", "A", False),
        ("a?b", "a/b", False),
        ("a*b", "a/b", False),
        ("[\\]a]", "]", True),
        ("[\\-]", "-", True),
        ("[x\\-]", "x", True),
        ("[x\\-]", "z", False),
        ("", "", True),
        ("", "a", False),
        ("*x", "xxx", True),
    ],
)
def test_as_go_has_it(pattern: str, text: str, expected: bool) -> None:
    assert fits_glob(pattern, text) is expected


@pytest.mark.parametrize("pattern", ["[]a]", "[-]", "[x-]", "[-x]", "[", "[^", "[^bc", "a[", "\\", "[a-b-c]"])
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(Invalid, match="syntax error in pattern"):
        fits_glob(pattern, "a")


def test_a_pattern_that_is_made_to_be_slow() -> None:
    began = time.process_time()
    assert not fits_glob("*a" * 500, "a" * 5000 + "b")
    assert time.process_time() - began < BROKEN_SECONDS


def test_a_pattern_that_is_too_long() -> None:
    with pytest.raises(Invalid, match="syntax error"):
        fits_glob("*" * 1025, "a")


@given(st.text(alphabet="ab/*?[]\\^-", max_size=12), st.text(alphabet="ab/", max_size=12))
def test_any_pattern_has_an_answer(pattern: str, text: str) -> None:
    with contextlib.suppress(Invalid):
        assert fits_glob(pattern, text) in (True, False)


@given(st.text(alphabet="ab/[?*", max_size=12))
def test_a_name_fits_itself_when_escaped(text: str) -> None:
    assert fits_glob("".join(f"\\{character}" for character in text), text)
