"""Detach keys: their names, and how they are found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.api.docker.detach_keys import DEFAULT, DetachFinder, read_keys
from runtime.errors import Invalid


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", DEFAULT),
        ("ctrl-p,ctrl-q", DEFAULT),
        ("ctrl-a,a", b"\x01a"),
        ("ctrl-@", b"\0"),
        ("ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", b"\x1b\x1c\x1d\x1e\x1f"),
        ("DEL", b"\x7f"),
        ("a,b,c", b"abc"),
    ],
)
def test_names_are_read(text: str, keys: bytes) -> None:
    assert read_keys(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-A", "ctrl-p,", ",", "é", "alt-x", "ctrl-ab", "a," * 100])
def test_what_names_no_keys_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="detach keys"):
        read_keys(text)


def test_a_beginning_is_held_until_it_is_known_not_to_be_the_keys() -> None:
    finder = DetachFinder(DEFAULT)
    assert finder.feed(b"ls\x10") == (b"ls", False)
    assert finder.feed(b"x") == (b"\x10x", False)
    assert finder.feed(b"\x10") == (b"", False)
    assert finder.rest() == b"\x10"


def test_a_beginning_within_a_beginning() -> None:
    finder = DetachFinder(b"aab")
    assert finder.feed(b"aa") == (b"", False)
    assert finder.feed(b"a") == (b"a", False)
    assert finder.feed(b"b") == (b"", True)


@given(st.lists(st.text("ab", max_size=5).map(str.encode), max_size=8), st.text("ab", min_size=1, max_size=3))
def test_however_it_is_cut_the_keys_are_found_where_they_first_are(pieces: list[bytes], text: str) -> None:
    keys = text.encode()
    finder, passed, is_found = DetachFinder(keys), b"", False
    for piece in pieces:
        if is_found:
            break
        more, is_found = finder.feed(piece)
        passed += more
    if not is_found:
        passed += finder.rest()
    whole = b"".join(pieces)
    before, sign, _after = whole.partition(keys)
    assert is_found == bool(sign)
    assert passed == (before if sign else whole)
