"""What a registry asks for with a 401: `WWW-Authenticate` to values (RFC 9110, 11.6.1). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# What is between them is one class: two of blanks side by side take n² steps for n that lead nowhere.
_SCHEME = re.compile(rf"[\s,]*({_TOKEN})(?:\s+|$)")
_PARAMETER = re.compile(rf'[\s,]*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))')
MAX_HEADER = 8192


@dataclass(frozen=True, slots=True)
class Challenge:
    """scheme in lower case: "basic", "bearer"."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """The challenges of all headers, in order. What cannot be read ends a header."""
    return tuple(challenge for header in headers for challenge in _parse(header[:MAX_HEADER]))


def _parse(text: str) -> list[Challenge]:
    found: list[Challenge] = []
    at = 0
    while at < len(text) and (scheme := _SCHEME.match(text, at)):
        at = scheme.end()
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(text, at):
            at = parameter.end()
            quoted, plain = parameter[2], parameter[3]
            value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            parameters.setdefault(parameter[1].lower(), value)
        found.append(Challenge(scheme[1].lower(), parameters))
    return found
