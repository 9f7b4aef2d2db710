"""`os/architecture[/variant]` as people write it."""

from __future__ import annotations

import json

import pytest

from runtime.errors import Invalid, Unsupported
from runtime.images.documents import Platform
from runtime.images.platforms import check_platform, parse_platform


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linux/amd64", "linux/amd64"), ("amd64", "linux/amd64"), ("x86_64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"), ("linux/amd64/v3", "linux/amd64/v3"),
        ("Linux/ARM64", "linux/arm64/v8"),
        ("linux/arm64/v8", "linux/arm64/v8"), ("aarch64", "linux/arm64/v8"), ("linux/arm", "linux/arm/v7"),
        ("linux/arm/v6", "linux/arm/v6"), ("armel", "linux/arm/v6"), ("i386", "linux/386"),
        ("linux/riscv64", "linux/riscv64"),
    ],
)  # fmt: skip
def test_one_spelling_for_each(text: str, expected: str) -> None:
    assert str(parse_platform(text)) == expected
    assert parse_platform(expected) == parse_platform(text)


@pytest.mark.parametrize(
    "text",
    ["", "/", "linux/", "linux//v7", "a/b/c/d", "windows/amd64", "linux/../x", "linux/a b", "x" * 100, "\n"],
)
def test_what_is_no_platform(text: str) -> None:
    with pytest.raises(Invalid, match="read platform"):
        parse_platform(text)


def test_an_image_for_another() -> None:
    config = json.dumps({"os": "linux", "architecture": "amd64"}).encode()
    check_platform(config, Platform("linux", "amd64", "v3"), "x")
    for said in ({"os": "linux", "architecture": "arm64"}, {"os": "windows", "architecture": "amd64"}, {}):
        with pytest.raises(Unsupported, match="not for linux/amd64"):
            check_platform(json.dumps(said).encode(), Platform("linux", "amd64"), "x")
