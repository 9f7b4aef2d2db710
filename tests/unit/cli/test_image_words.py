"""What `image push`, `search`, `history` print, by the values that the agent gives."""

from __future__ import annotations

import pytest

from agent.cli.image_details import shown, steps_of
from agent.cli.image_registry import _done, _row, split_word


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgres", ("", "postgres")),
        ("library/app", ("", "library/app")),
        ("registry.example.com/", ("registry.example.com", "")),
        ("localhost/app", ("localhost", "app")),
        ("127.0.0.1:5000/team/app", ("127.0.0.1:5000", "team/app")),
    ],
)
def test_where_a_word_is_searched(text: str, expected: tuple[str, str]) -> None:
    assert split_word(text) == expected


def test_what_a_push_did() -> None:
    pushed = {
        "name": "r.io/app:1",
        "digest": "sha256:ab",
        "sent": 2,
        "mounted": 1,
        "there": 0,
        "sent_bytes": 2_000_000,
    }
    said = _done(pushed, quiet=False)
    assert said == "pushed r.io/app:1 sha256:ab (2 sent, 1 taken from other repositories, 2.0 MB)"
    assert _done({**pushed, "sent": 0, "mounted": 0, "there": 3}, quiet=False).endswith("(3 there already)")
    assert _done(pushed, quiet=True) == "sha256:ab"
    assert "\x1b" not in _done({**pushed, "name": "\x1b[31m"}, quiet=False)


def test_a_long_description_is_cut() -> None:
    found = {"name": "a", "description": "x" * 100, "stars": 3, "is_official": True}
    assert _row(found, has_stars=True) == ("a", "3", "yes", "x" * 59 + "…")
    assert _row({"name": "a"}, has_stars=False) == ("a", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('/bin/sh -c #(nop)  CMD ["sh"]', 'CMD ["sh"]'),
        ("/bin/sh -c apt-get   update", "apt-get update"),
        ("RUN a\n b", "RUN a b"),
        ("x" * 80, "x" * 69 + "…"),
    ],
)
def test_a_step_is_one_line(text: str, expected: str) -> None:
    assert shown(text, full=False) == expected


def test_in_full() -> None:
    assert shown("x" * 80, full=True) == "x" * 80


def test_steps_newest_first_with_what_they_added() -> None:
    image = {
        "layers": [{"diff_id": "one", "size_bytes": 5}],
        "history": [{"created_by": "a", "layer": "one"}, {"created_by": "b", "layer": ""}, "no step"],
    }
    assert [(step["created_by"], step["size_bytes"]) for step in steps_of(image)] == [("b", 0), ("a", 5)]
    assert steps_of({}) == []
