"""How an image came to be, from what its config says of it."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.images.history import Step, read_history

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def test_each_step_has_the_layer_that_it_made() -> None:
    config = {
        "history": [
            {"created": "2024-01-02T03:04:05Z", "created_by": "ADD rootfs", "comment": "base"},
            {"created_by": "ENV a=b", "empty_layer": True, "author": "me"},
            {"created_by": "RUN make"},
        ]
    }
    assert read_history(config, (ONE, TWO)) == (
        Step("ADD rootfs", 1704164645.0, "base", "", ONE),
        Step("ENV a=b", 0.0, "", "me", ""),
        Step("RUN make", 0.0, "", "", TWO),
    )


@pytest.mark.parametrize("said", [None, 7, "x", [], [7, "x", None], {}])
def test_no_layer_is_missing_whatever_is_said(said: Any) -> None:
    assert [step.layer for step in read_history({"history": said}, (ONE, TWO))] == [ONE, TWO]
    assert [step.layer for step in read_history({}, (ONE,))] == [ONE]


def test_more_steps_than_layers() -> None:
    config = {"history": [{"created_by": str(number)} for number in range(5)]}
    assert [step.layer for step in read_history(config, (ONE,))] == [ONE, "", "", "", ""]


def test_what_is_no_text_or_too_much() -> None:
    config = {"history": [{"created_by": 7, "comment": ["x"], "author": "a" * 10**6, "created": -1}] * 5000}
    steps = read_history(config, ())
    assert len(steps) == 1000 and len(steps[0].author) == 65536
    assert (steps[0].created_by, steps[0].comment, steps[0].created_at) == ("", "", 0.0)


def test_half_a_character_is_no_end() -> None:
    read_history({"history": [{"created_by": "\ud800"}]}, ())[0].created_by.encode()
