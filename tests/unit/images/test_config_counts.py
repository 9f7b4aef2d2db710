"""An image that says more than anybody needs: refused in one sentence that says what is too many."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runtime.errors import Invalid
from runtime.images.config import MAX_ITEMS, parse_config
from runtime.images.dockerfile.ports import read_ports
from runtime.images.dockerfile.problems import Mistake

ID = "sha256:" + "0" * 64


def config(**fields: Any) -> bytes:
    rootfs = {"type": "layers", "diff_ids": []}
    return json.dumps({"architecture": "amd64", "os": "linux", "config": fields, "rootfs": rootfs}).encode()


def exposing(count: int) -> dict[str, dict[str, str]]:
    return {f"{port}/tcp": {} for port in range(1, count + 1)}


def test_an_image_that_exposes_every_port() -> None:
    assert len(parse_config(config(ExposedPorts=exposing(MAX_ITEMS)), ID).exposed_ports) == MAX_ITEMS
    with pytest.raises(Invalid, match="ExposedPorts has 65535 entries, and 10000 are the most"):
        parse_config(config(ExposedPorts=exposing(65535)), ID)


def test_a_list_that_is_too_long() -> None:
    with pytest.raises(Invalid, match="Env has 10001 entries, and 10000 are the most"):
        parse_config(config(Env=["A=b"] * (MAX_ITEMS + 1)), ID)


@pytest.mark.parametrize("words", [("1-65535",), ("1-65535/udp",), ("1-6000", "10000-19999")])
def test_a_build_that_would_make_such_an_image(words: tuple[str, ...]) -> None:
    with pytest.raises(Mistake, match="more than 10000 ports"):
        read_ports(words)
