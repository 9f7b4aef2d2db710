"""What is known of an agent that runs already."""

from __future__ import annotations

import pytest

from agent.cli.running_agent import DETACHED, asked_otherwise, options_in, options_of


@pytest.mark.parametrize(
    ("asked", "had", "told"),
    [
        (["--poll", "30s"], ["--poll", "5s"], []),
        (["--poll", "10s"], ["--poll", "10s"], []),
        (["--poll", "10s"], ["--poll", "30s"], ["--poll"]),
        (["--poll", "30s", "--unsafe-plain-tcp", "--listen", "tcp://a"], ["--poll", "30s"],
         ["--listen", "--unsafe-plain-tcp"]),
        (["--listen", "tcp://a", "--listen", "tcp://b"], ["--listen", "tcp://a"], ["--listen"]),
    ],
)  # fmt: skip
def test_what_is_asked_for_and_is_not_so(asked: list[str], had: list[str], told: list[str]) -> None:
    assert asked_otherwise(asked, ["--poll", "30s"], had) == told


def test_options_of_one_that_was_started_in_the_background() -> None:
    options = ["--watch", "/a b", "--profile", "", "--unsafe-plain-tcp"]
    assert options_in(_command("/p", *DETACHED, "--instance", "x", "agent", *options)) == options
    assert options_in(_command("/p", *DETACHED, "--instance", "agent", "agent")) == []


@pytest.mark.parametrize(
    "command",
    [
        b"",  # it has ended
        b"\0",
        b"/p\0-IS\0/b/setpoint\0agent\0--watch\0/a\0",
        b"/p\0-I\0-m\0agent.cli\0--instance\0x\0status\0",
    ],
)
def test_any_other_is_for_who_started_it(command: bytes) -> None:
    assert options_in(command) is None


def test_nobody_has_no_options() -> None:
    assert options_of(0) is None


def _command(*words: str) -> bytes:
    return b"".join(word.encode() + b"\0" for word in words)
