"""What an instruction makes of a config, and the config as JSON."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import Invalid
from runtime.images.dockerfile.config_document import from_document, to_document
from runtime.images.dockerfile.image_config import HealthConfig, ImageConfig, apply, below
from runtime.images.dockerfile.stop_signals import is_signal
from tests.unit.images.dockerfile.build import instructions_of


def after(body: str, config: ImageConfig = ImageConfig()) -> ImageConfig:
    for instruction in instructions_of(body):
        config = apply(config, instruction)
    return config


def test_an_entrypoint_takes_the_bases_command_away_and_keeps_its_own() -> None:
    base = ImageConfig(command=("old",), entrypoint=("e",))
    assert after('ENTRYPOINT ["n"]', base).command is None
    assert after('CMD ["c"]\nENTRYPOINT ["n"]', base).command == ("c",)
    assert after('ENTRYPOINT ["n"]\nCMD ["c"]', base).command == ("c",)
    assert after("ENTRYPOINT []", base).entrypoint is None
    assert after("CMD []", base).command == ()
    assert after("RUN x\nARG y\nCOPY a b", base) == base


def test_a_shell_is_for_the_commands_after_it() -> None:
    config = after('CMD a\nSHELL ["/b", "-x"]\nENTRYPOINT c d')
    assert (config.command, config.entrypoint) == (("/bin/sh", "-c", "a"), ("/b", "-x", "c d"))


def test_later_values_take_the_place_of_earlier_ones() -> None:
    config = after(
        "ENV a=1 b=2\nENV a=3 c=4\nLABEL x=1\nLABEL x=2 y=3\n"
        "EXPOSE 80 80/udp\nEXPOSE 80/tcp 81\nVOLUME /a\nVOLUME /a /b"
    )
    assert config.environment == (("a", "3"), ("b", "2"), ("c", "4"))
    assert config.labels == (("x", "2"), ("y", "3"))
    assert config.ports == ("80/tcp", "80/udp", "81/tcp")
    assert config.volumes == ("/a", "/b")


def test_a_working_directory_is_below_the_one_before() -> None:
    assert after("WORKDIR /a\nWORKDIR b\nWORKDIR ../c").working_dir == "/a/c"
    assert below("/a", "../../..") == "/" and below("", "x") == "/x" and below("/a", "//b/") == "/b"


def test_health() -> None:
    assert after('HEALTHCHECK --retries=2 CMD ["a"]').healthcheck == HealthConfig(("CMD", "a"), retries=2)
    assert after("HEALTHCHECK CMD a b").healthcheck == HealthConfig(("CMD-SHELL", "a b"))
    assert after("HEALTHCHECK CMD a\nHEALTHCHECK NONE").healthcheck == HealthConfig(("NONE",))


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("SIGTERM", True),
        ("term", True),
        ("9", True),
        ("64", True),
        ("SIGRTMIN+3", True),
        ("RTMAX-14", True),
        ("0", False),
        ("65", False),
        ("-1", False),
        ("SIGRTMIN+16", False),
        ("SIG", False),
        ("", False),
        ("٣", False),
    ],
)
def test_signals(name: str, is_one: bool) -> None:
    assert is_signal(name) is is_one


FULL: dict[str, Any] = {
    "User": "1:2",
    "ExposedPorts": {"80/tcp": {}},
    "Env": ["A=b=c", "E="],
    "Entrypoint": ["e"],
    "Cmd": [],
    "Healthcheck": {"Test": ["CMD", "x"], "Interval": 10**9, "Retries": 3},
    "Volumes": {"/v": {}},
    "WorkingDir": "/w",
    "Labels": {"a": "b"},
    "StopSignal": "SIGINT",
    "Shell": ["/s", "-c"],
    "OnBuild": ["RUN x"],
}


def test_a_config_survives_its_json() -> None:
    config = from_document({"config": FULL, "author": "me"}, "image")
    assert config.environment == (("A", "b=c"), ("E", "")) and config.command == () and config.author == "me"
    assert to_document(config) == FULL
    assert to_document(ImageConfig()) == {}
    assert from_document({}, "image") == ImageConfig()


words = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5), max_size=3
).map(tuple)
pairs = st.dictionaries(st.text("abc", min_size=1, max_size=3), st.text("xyz=", max_size=4), max_size=3)


@given(st.none() | words, st.none() | words, words, pairs, pairs)
def test_any_config_survives_its_json(
    entrypoint: tuple[str, ...] | None,
    command: tuple[str, ...] | None,
    on_build: tuple[str, ...],
    environment: dict[str, str],
    labels: dict[str, str],
) -> None:
    config = ImageConfig(
        tuple(environment.items()),
        entrypoint,
        command,
        labels=tuple(sorted(labels.items())),
        on_build=on_build,
    )
    assert from_document({"config": to_document(config)}, "image") == config


@pytest.mark.parametrize(
    "config",
    [
        {"Env": "A=b"},
        {"Env": ["a\0=b"]},
        {"Cmd": [1]},
        {"Cmd": "x"},
        {"User": 0},
        {"Labels": {"a": 1}},
        {"Labels": []},
        {"OnBuild": ["x"] * 10_001},
        {"Healthcheck": {"Test": ["CMD"], "Interval": -1}},
        {"Healthcheck": {"Test": ["CMD"], "Retries": True}},
        {"WorkingDir": "x" * 200_000},
        {"User": "\ud800"},
        [],
    ],
)
def test_a_broken_config_is_refused_by_name(config: object) -> None:
    with pytest.raises(Invalid, match="read the config of a base image image"):
        from_document({"config": config}, "image")
