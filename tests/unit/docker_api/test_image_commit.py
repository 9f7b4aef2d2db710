"""What an image gets of its container's configuration."""

from __future__ import annotations

import pytest

from agent.api.docker.image_commit import changes_of, image_part, merged
from runtime.errors import Invalid


def test_what_is_said_counts_before_what_the_container_has() -> None:
    own = {"Env": ["A=1", "B=2"], "Cmd": ["sh"], "Labels": {"a": "1", "b": "2"}, "User": "me"}
    said = {"Env": ["B=3", "C=4"], "Labels": {"b": "3"}, "User": "you"}
    assert merged(said, own) == {
        "Env": ["B=3", "C=4", "A=1"], "Cmd": ["sh"], "Labels": {"a": "1", "b": "3"}, "User": "you",
    }  # fmt: skip
    assert merged({}, own) == own
    assert merged(said, {}) == said


def test_only_what_an_image_has_is_taken() -> None:
    said = {"Hostname": "h", "Tty": True, "Cmd": ["sh"], "Env": None, "User": "", "Image": "x"}
    assert image_part(said) == {"Cmd": ["sh"]}
    with pytest.raises(Invalid, match="no field"):
        image_part({"Comand": ["sh"]})


def test_changes() -> None:
    assert changes_of(["CMD sh", "ENV A=1\nENV B=2\n", "  "]) == ("CMD sh", "ENV A=1", "ENV B=2")
