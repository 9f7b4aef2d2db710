"""Tags as versions: which of a registry's tags are newer than one, of the same kind. Pure and total.

    v1.27.3-alpine      prefix "v", numbers 1 27 3, variant "-alpine", no pre-release
    2.0.0-rc.1-slim     numbers 2 0 0, pre-release "rc.1", variant "-slim"

Tags are what people write, so only what is alike is compared: the same prefix, as many numbers, the same
variant. What is no version (`latest`, a commit's id) is never newer and has nothing newer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["patch", "minor", "major"]

_TAG = re.compile(
    r"(v?)([0-9]{1,9}(?:\.[0-9]{1,9}){0,3})((?:(?:[-_+]|\.(?![0-9]))[A-Za-z0-9][A-Za-z0-9_.+-]*)?)"
)
# What maintainers call a version that is not released yet, at the beginning of what follows the numbers.
_PRERELEASE = re.compile(
    r"[-._]?(alpha|beta|rc|pre|preview|dev|canary|next|nightly|snapshot|unstable|edge|m)([.-]?[0-9]+)*"
    r"(?=[-_+.]|$)",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class Version:
    """prerelease: its words and numbers, () for one that is released."""

    tag: str
    prefix: str
    numbers: tuple[int, ...]
    prerelease: tuple[tuple[int, int, str], ...]
    variant: str

    @property
    def order(self) -> tuple[tuple[int, ...], bool, tuple[tuple[int, int, str], ...]]:
        """As semver has it: a pre-release comes before its release."""
        return self.numbers, not self.prerelease, self.prerelease

    def is_like(self, other: Version) -> bool:
        """Whether the two can be compared."""
        return (self.prefix, len(self.numbers), self.variant) == (
            other.prefix,
            len(other.numbers),
            other.variant,
        )


def parse_version(tag: str) -> Version | None:
    """None for a tag that is no version. A number alone of over six digits is a date or an id."""
    match = _TAG.fullmatch(tag)
    if match is None:
        return None
    prefix, text, rest = match.groups()
    found = _PRERELEASE.match(rest)
    prerelease = _words(found[0]) if found else ()
    variant = rest[found.end() :] if found else rest
    numbers = tuple(map(int, text.split(".")))
    if len(numbers) == 1 and len(text) > 6:
        return None
    return Version(tag, prefix, numbers, prerelease, variant)


def newer_tags(tag: str, tags: Iterable[str], level: Level, *, prereleases: bool = False) -> tuple[str, ...]:
    """Those newer than `tag` within a level, the newest first. Pre-releases only when they are asked for."""
    current = parse_version(tag)
    if current is None:
        return ()
    found = [
        version
        for version in map(parse_version, set(tags))
        if version is not None
        and version.is_like(current)
        and version.order > current.order
        and _is_within(current, version, level)
        and (prereleases or not version.prerelease)
    ]
    # Of two ways to write the same version (1.02 and 1.2) always the same one.
    found.sort(key=lambda version: (version.order, version.tag), reverse=True)
    return tuple(version.tag for version in found)


def _is_within(current: Version, version: Version, level: Level) -> bool:
    kept = {"patch": 2, "minor": 1, "major": 0}[level]
    return current.numbers[:kept] == version.numbers[:kept]


def _words(text: str) -> tuple[tuple[int, int, str], ...]:
    """Numbers in the order of numbers and before words, words in that of letters (semver.org, 11)."""
    found: list[tuple[int, int, str]] = []
    for part in re.split(r"[-._]", text):
        for piece in re.findall(r"[0-9]+|[A-Za-z]+", part):
            is_number = _NUMBER.fullmatch(piece) is not None
            found.append((0, int(piece), "") if is_number else (1, 0, piece.lower()))
    return tuple(found)
