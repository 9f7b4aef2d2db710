"""Filters of lists: both forms, and what is no filter told in the daemon's own words and no others."""

from __future__ import annotations

from typing import Any

import pytest

from agent.api.docker.answers import message_of
from agent.api.docker.container_lists import LIST_FILTERS, check_words
from agent.api.docker.filters import flag_of, read_filters
from runtime.errors import Invalid


@pytest.mark.parametrize("text", ['{"label": ["a=b"]}', '{"label": {"a=b": true, "c": false}}'])
def test_both_forms_are_read(text: str) -> None:
    assert read_filters(text, LIST_FILTERS) == {"label": ("a=b",)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"foo": ["a"]}', "invalid filter 'foo'"),
        ("nonsense", "invalid filter: not JSON: nonsense"),
        ("[1]", "invalid filter: not an object: [1]"),
        ('{"label": 1}', "invalid filter 'label': its values are no list of strings"),
    ],
)
def test_what_is_no_filter_is_told_as_the_daemon_does(text: str, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_filters(text, LIST_FILTERS)
    assert message_of(refused.value) == said


def test_a_flag_is_true_or_false() -> None:
    with pytest.raises(Invalid) as refused:
        flag_of({"dangling": ("maybe",)}, "dangling")
    assert message_of(refused.value) == "invalid filter 'dangling=[maybe]'"


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ({"status": ("running", "foo")}, "invalid filter 'status=foo'"),
        ({"health": ("well",)}, "invalid filter 'health=well'"),
        ({"exited": ("zero",)}, "invalid filter 'exited=zero'"),
    ],
)
def test_a_state_that_there_is_not_is_no_empty_list(filters: Any, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_words(filters)
    assert message_of(refused.value) == said


def test_states_that_there_are_pass() -> None:
    check_words({"status": ("paused", "dead"), "health": ("none",), "exited": ("0", "-1"), "name": ("foo",)})
