"""COPY and ADD: where things come from and go."""

from __future__ import annotations

import pytest

from runtime.images.dockerfile.steps import (
    GitSource,
    InlineSource,
    PathSource,
    Source,
    TransferAction,
    UrlSource,
)
from tests.unit.images.dockerfile.build import mistakes_of, steps_of


def action(line: str) -> TransferAction:
    found = steps_of(f"WORKDIR /w\n{line}")[-1].action
    assert isinstance(found, TransferAction)
    return found


@pytest.mark.parametrize(
    ("line", "source"),
    [
        ("COPY a /x", PathSource("a")),
        ("COPY /a/b/ /x", PathSource("a/b")),
        ("COPY ../../a /x", PathSource("a")),
        ("COPY . /x", PathSource("")),
        ("COPY / /x", PathSource("")),
        ("COPY a*/[b]? /x", PathSource("a*/[b]?", True)),
        ("COPY --parents a/./b/*.c /x", PathSource("b/*.c", True, "a")),
        ("COPY --parents a/b /x", PathSource("a/b")),
        ("COPY --parents **/**/**/*.c /x", PathSource("**/*.c", True)),
        ('COPY ["a b", "/x"]', PathSource("a b")),
        ("COPY <<E /x\nhi\nE", InlineSource("E", "hi\n")),
        ("ADD https://h/a/b.tgz?x=1 /x", UrlSource("https://h/a/b.tgz?x=1", "b.tgz")),
        ("ADD http://h:80/ /x", UrlSource("http://h:80/", "")),
        ("ADD https://h/%2e%2e /x", UrlSource("https://h/%2e%2e", "")),
        ("ADD https://h/a%2Fb /x", UrlSource("https://h/a%2Fb", "b")),
        ("ADD https://h/r.git /x", GitSource("https://h/r.git")),
        ("ADD https://h/r.git#v1:sub/dir /x", GitSource("https://h/r.git", "v1", "sub/dir")),
        ("ADD git@h:o/r.git#main /x", GitSource("git@h:o/r.git", "main")),
        ("ADD ssh://git@h/r /x", GitSource("ssh://git@h/r")),
        ("ADD file.tgz /x", PathSource("file.tgz")),
    ],
)
def test_a_source_is_read(line: str, source: Source) -> None:
    assert action(line).sources == (source,)


@pytest.mark.parametrize(
    ("line", "destination", "is_directory"),
    [
        ("COPY a b", "/w/b", False),
        ("COPY a /b", "/b", False),
        ("COPY a b/", "/w/b", True),
        ("COPY a .", "/w", True),
        ("COPY a ..", "/", True),
        ("COPY a /", "/", True),
        ("COPY a ../../../etc", "/etc", False),
        ("COPY a b c", "/w/c", True),
        ("COPY --parents a c", "/w/c", True),
        ("COPY <<A <<B /x\nA\nB", "/x", True),
    ],
)
def test_a_destination_is_below_the_working_directory(
    line: str, destination: str, is_directory: bool
) -> None:
    found = action(line)
    assert (found.destination, found.is_directory) == (destination, is_directory)


def test_archives_are_unpacked_by_add_alone() -> None:
    assert [
        action(line).unpack for line in ("COPY a b", "ADD a b", "ADD --unpack a b", "ADD --unpack=false a b")
    ] == [
        False,
        None,
        True,
        False,
    ]


@pytest.mark.parametrize("mode", ["0644", "755", "7777", "u=rwX,go=rX", "+x", "a-w", "u=g", "ug+rw,o="])
def test_modes(mode: str) -> None:
    assert action(f"COPY --chmod={mode} a b").mode == mode


@pytest.mark.parametrize("mode", ["8", "10000", "u", "rwx", "u+q", "u=rwx;", "0x1ff"])
def test_what_is_no_mode(mode: str) -> None:
    assert "is no mode" in mistakes_of(f"FROM x\nCOPY --chmod={mode} a b")[0]


@pytest.mark.parametrize("owner", ["0", "1000:1000", "web", "web:www-data", ":3", "a.b@c$"])
def test_owners(owner: str) -> None:
    assert action(f"COPY --chown='{owner}' a b").owner == owner


def test_the_history_says_what_was_done() -> None:
    line = "COPY --from=scratch --chown=a --chmod=1 --link a b <<E /c/\nx\nE"
    assert steps_of(line)[0].history.created_by == "COPY --chown=a --chmod=1 a b <<E /c/"
