"""The filters `publish` and `expose` of a list of containers: ports of the host, and of containers. Pure.

    80    80/udp    8000-8100/tcp

As with Docker's daemon a container fits both when one of its ports fits one of the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from runtime.errors import Invalid

FIELDS = {"publish": "PublicPort", "expose": "PrivatePort"}
MOST = 65535


@dataclass(frozen=True, slots=True)
class Ports:
    first: int
    last: int
    protocol: str


def read_ports(name: str, text: str) -> Ports:
    """Invalid, by the filter's name, for what is no port and no range of them."""
    numbers, _, protocol = text.partition("/")
    first, to, last = numbers.partition("-")
    ends = [_number(name, text, each) for each in (first, last if to else first)]
    if ends[0] > ends[1]:
        raise _no_port(name, text)
    return Ports(ends[0], ends[1], protocol or "tcp")


def _number(name: str, text: str, number: str) -> int:
    if not (number.isascii() and number.isdecimal() and len(number) <= 5 and int(number) <= MOST):
        raise _no_port(name, text)
    return int(number)


def _no_port(name: str, text: str) -> Invalid:
    return Invalid("", "", f"invalid filter '{name}={text[:40]}'")


def fits_ports(ports: Iterable[Mapping[str, Any]], filters: Mapping[str, tuple[str, ...]]) -> bool:
    """ports: as a list shows them; one that is not published has 0 of the host."""
    wanted = [(FIELDS[name], read_ports(name, text)) for name in FIELDS for text in filters.get(name, ())]
    return not wanted or any(
        each.first <= port.get(field, 0) <= each.last and each.protocol == port["Type"]
        for port in ports
        for field, each in wanted
    )
