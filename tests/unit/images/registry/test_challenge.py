"""WWW-Authenticate headers, as registries write them and as nobody should."""

from __future__ import annotations

import time

import pytest

from runtime.images.registry.challenge import Challenge, parse_challenges
from tests.bounds import BROKEN_SECONDS

HUB = 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull"'


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], ()),
        (["Basic"], (Challenge("basic"),)),
        (['Basic realm="a, b"'], (Challenge("basic", {"realm": "a, b"}),)),
        (["BEARER Realm=x , Service=y"], (Challenge("bearer", {"realm": "x", "service": "y"}),)),
        (
            [HUB],
            (
                Challenge(
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:a/b:pull",
                    },
                ),
            ),
        ),
        (
            ['Basic realm="r", Bearer realm="s"'],
            (Challenge("basic", {"realm": "r"}), Challenge("bearer", {"realm": "s"})),
        ),
        (
            ["Basic realm=a", "Bearer realm=b"],
            (Challenge("basic", {"realm": "a"}), Challenge("bearer", {"realm": "b"})),
        ),
        (['Bearer realm="say \\"x\\""'], (Challenge("bearer", {"realm": 'say "x"'}),)),
        (['Bearer realm="first",realm="second"'], (Challenge("bearer", {"realm": "first"}),)),
        (['Bearer realm="cut off'], (Challenge("bearer"),)),
        (["???"], ()),
    ],
)
def test_challenges(headers: list[str], expected: tuple[Challenge, ...]) -> None:
    assert parse_challenges(headers) == expected


@pytest.mark.parametrize(
    "text", ['Bearer a="' + "\\" * 100_000, "a " * 50_000, "Bearer " + "a=b," * 50_000, '"' * 99_999]
)
def test_long_ones_cost_nothing(text: str) -> None:
    began_at = time.process_time()
    parse_challenges([text])
    assert time.process_time() - began_at < BROKEN_SECONDS


@pytest.mark.parametrize(
    "text",
    [" " * 8192, ", " * 4096, "Bearer " + " " * 8000 + "\0", "Bearer realm=x" + " " * 8000 + '"', "a " * 4096,
     'a="' + "\\" * 8000, "a" * 8192 + "=", "a=," * 2700, "Basic " + 'a="b",' * 1300 + " " * 300 + '"'],
)  # fmt: skip
def test_what_leads_nowhere_takes_no_time(text: str) -> None:
    """Of this process, whatever else the machine does."""
    begun = time.process_time()
    parse_challenges([text] * 10)
    assert time.process_time() - begun < BROKEN_SECONDS
