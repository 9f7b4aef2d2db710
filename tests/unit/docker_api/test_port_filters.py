"""Containers by the ports that they have."""

from __future__ import annotations

import pytest

from agent.api.docker.port_filters import MOST, Ports, fits_ports, read_ports
from runtime.errors import Invalid

PORTS = (
    {"PrivatePort": 99, "Type": "tcp"},
    {"PrivatePort": 80, "PublicPort": 18080, "Type": "tcp"},
    {"PrivatePort": 53, "PublicPort": 10053, "Type": "udp"},
)


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("80", Ports(80, 80, "tcp")), ("53/udp", Ports(53, 53, "udp")), ("0-65535", Ports(0, MOST, "tcp")),
        ("7-9/sctp", Ports(7, 9, "sctp")),
    ],
)  # fmt: skip
def test_a_port_or_a_range(text: str, ports: Ports) -> None:
    assert read_ports("publish", text) == ports


@pytest.mark.parametrize("text", ["", "x", "a:b", "9-3", "99999", "-1", "1-", "²", "1" * 5000, "1-2-3"])
def test_what_is_none_is_told_by_its_name(text: str) -> None:
    with pytest.raises(Invalid, match="invalid filter 'expose="):
        read_ports("expose", text)


@pytest.mark.parametrize(
    ("publish", "expose", "fits"),
    [
        ((), (), True), ((), ("99",), True), ((), ("90-98", "100-110"), False), ((), ("99/udp",), False),
        (("99",), (), False), (("18000-18090",), (), True), (("10053/udp",), (), True), (("0",), (), True),
        (("1",), ("99",), True), (("18080",), ("1",), True), (("1",), ("2",), False),
    ],
)  # fmt: skip
def test_one_port_that_fits_is_enough(publish: tuple[str, ...], expose: tuple[str, ...], fits: bool) -> None:
    filters = {name: each for name, each in (("publish", publish), ("expose", expose)) if each}
    assert fits_ports(PORTS, filters) is fits


def test_a_container_without_ports_fits_none() -> None:
    assert not fits_ports((), {"publish": ("0-65535",)})
