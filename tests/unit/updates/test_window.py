"""When a window of time is open."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.updates.window import parse_window


def at(text: str) -> time.struct_time:
    return time.strptime(text, "%a %H:%M")


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [
        ("02:00-04:00", ["Mon 02:00", "Sun 03:59"], ["Mon 01:59", "Mon 04:00"]),
        ("02:00-04:00 Sun", ["Sun 02:00"], ["Sat 03:00", "Sun 04:00"]),
        (
            "22:00-02:00 Sat,sun",
            ["Sat 22:00", "Sun 01:59", "Mon 01:00"],
            ["Sat 01:00", "Mon 22:00", "Sun 02:00"],
        ),
        ("03:00-05:00 Mon-Fri", ["Mon 03:00", "Fri 04:00"], ["Sat 04:00"]),
        ("03:00-05:00 Sat-Mon", ["Sat 03:00", "Sun 03:00", "Mon 03:00"], ["Tue 03:00"]),
        ("00:00-24:00 Wed", ["Wed 00:00", "Wed 23:59"], ["Tue 23:59", "Thu 00:00"]),
        ("12:00-12:00 Wed", ["Wed 12:00", "Thu 11:59"], ["Wed 11:59", "Thu 12:00"]),
    ],
)
def test_open_and_closed(window: str, inside: list[str], outside: list[str]) -> None:
    found = parse_window(window)
    assert found is not None
    assert all(found.is_open(at(text)) for text in inside)
    assert not any(found.is_open(at(text)) for text in outside)


@pytest.mark.parametrize(
    "text",
    ["", "02:00", "2:00-4:00", "02:00-04:00 Someday", "02:00-04:00 Mon-", "24:01-02:00", "02:60-03:00",
     "02:00-25:00", "02:00-04:00 ,", "02:00-04:00Sun", "02:00-04:00 Mon Tue", "02:00-04:00 mon-xyz"],
)  # fmt: skip
def test_no_window(text: str) -> None:
    assert parse_window(text) is None


@given(st.text(max_size=40))
def test_any_text_is_a_window_or_none(text: str) -> None:
    found = parse_window(text)
    assert found is None or found.days
