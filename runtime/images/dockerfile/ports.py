"""EXPOSE's ports: `80`, `53/udp`, `8000-8010/tcp`, `[address:][host:]container`. Pure."""

from __future__ import annotations

import re

from runtime.images.dockerfile.limits import PORTS
from runtime.images.dockerfile.problems import Mistake, did_you_mean, shown

_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)
_PROTOCOLS = ("tcp", "udp", "sctp")
_HINT = "write EXPOSE 8080, EXPOSE 53/udp or EXPOSE 8000-8010"


def read_ports(words: tuple[str, ...]) -> tuple[str, ...]:
    """`80/tcp` for each port of each word. A host's port before the colon is read and means nothing."""
    count_ports(words)
    return tuple(
        dict.fromkeys(
            f"{port}/{protocol}"
            for first, last, protocol in map(_ports, words)
            for port in range(first, last + 1)
        )
    )


def count_ports(words: tuple[str, ...]) -> int:
    """How many read_ports would give, without making them. `Mistake` for a bad one, and for too many."""
    count = 0
    for word in words:
        first, last, _ = _ports(word)
        count += last - first + 1
        if count > PORTS:
            raise Mistake(f"more than {PORTS} ports", "name those that it listens on", word)
    return count


def _ports(word: str) -> tuple[int, int, str]:
    """First, last and protocol."""
    published, _, container = word.rpartition(":")
    numbers, _, protocol = container.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in _PROTOCOLS:
        hint = did_you_mean(protocol, _PROTOCOLS) or "tcp, udp or sctp"
        raise Mistake(f"{shown(protocol)} is no protocol of a port", hint, word)
    first, last = _range(numbers, word)
    host = published.rpartition(":")[2]
    if host:
        _range(host, word)
    return first, last, protocol


def _range(text: str, word: str) -> tuple[int, int]:
    match = _RANGE.fullmatch(text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
    if not first <= last <= 65535:
        raise Mistake(f"{shown(word)} is no port", _HINT, word)
    return first, last
