"""Tables, sizes, times, and above all: nothing that steers a terminal gets through."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cli import output
from agent.cli.logs import harmless

HOSTILE = [
    "\x1b[2J", "\x1b]0;title\x07", "\x1b]52;c;ZXZpbA==\x07", "\x9b31m", "\x90q\x9c", "a\rb", "a\x08b", "\x00",
    "\x7f",
    "\u202eevil", "\u2066x\u2069", "\u200b", "\u200f", "\u061c", "\ufeff", "\u2028", "\u2029", "\U000e0041",
    "\x1bP1;2|", "\x1b^", "\x1b_", "\x1bc", "\x85", "\x0b", "\x0c", "\x0e", "\u2060", "\ufff9",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_what_steers_a_terminal_is_shown_escaped(text: str) -> None:
    shown = output.clean(text)
    assert shown != text
    assert all(unicodedata.category(c) not in ("Cc", "Cf", "Zl", "Zp", "Cs") for c in shown)


@given(st.text())
def test_no_control_or_format_character_survives(text: str) -> None:
    # Cf: what is left of it neither reorders nor hides (the soft hyphen, Arabic number signs and such).
    left = {c for c in output.clean(text) if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")}
    steering = ("RLO", "LRO", "RLE", "LRE", "PDF", "RLI", "LRI", "FSI", "PDI")
    bidi = {c for c in output.clean(text) if unicodedata.bidirectional(c) in steering}
    assert not left | bidi


def test_plain_words_stay() -> None:
    assert output.clean("käse 漢字 ☂ https://x/y?z=1") == "käse 漢字 ☂ https://x/y?z=1"


def test_a_cell_of_a_table_cannot_break_its_line() -> None:
    text = output.table(("A", "B"), [("x\ny", "\x1b[31mred"), ("1", 2)], width=0)
    assert text.splitlines() == ["A     B", "x\\ny  \\x1b[31mred", "1     2"]


def test_the_last_column_is_cut_to_the_terminal() -> None:
    text = output.table(("A", "MESSAGE"), [("x", "long " * 20)], width=30)
    assert all(len(line) <= 30 for line in text.splitlines())
    assert text.endswith("…")


def test_an_empty_table_still_has_its_headings() -> None:
    assert output.table(("A", "B"), []) == "A  B"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0s"), (0, "0s"), (119.9, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (172800, "2d")],
)
def test_spans(seconds: float, text: str) -> None:
    assert output.span(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "-"), (0, "0 B"), (999, "999 B"), (4200, "4.2 kB"), (495_000_000, "495 MB"), (2.5e12, "2.5 TB")],
)
def test_sizes(count: float | None, text: str) -> None:
    assert output.size(count) == text


def test_revisions_are_shortened_as_people_write_them() -> None:
    assert output.short("1234567890abcdef1234567890abcdef12345678") == "1234567"
    assert output.short("dir-3f2a9c1b7d") == "dir-3f2a9c1"
    assert output.short(None) == ""


def test_no_colour_where_there_is_no_terminal() -> None:
    assert output.paint("x", "red") == "x"


def test_logs_keep_colours_and_tabs_and_nothing_else() -> None:
    assert harmless("a\tb\x1b[31mred\x1b[0m\n") == "a\tb\x1b[31mred\x1b[0m\n"
    assert harmless("x\x1b]0;evil\x07y\r\nz\x1b[2J") == "x\\x1b]0;evil\\x07y\nz\\x1b[2J"
    assert harmless("10%\r20%") == "10%\\r20%"
