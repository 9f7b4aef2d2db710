"""Patterns as Go's path.Match reads them: `*` and `?` end at a slash, `[a-z]`, `\\` takes what follows as it
is. Pure. In time of length times length at most, whatever the pattern: it comes from outside.
"""

from __future__ import annotations

from dataclasses import dataclass

from runtime.errors import Invalid

MAX_LENGTH = 1024


@dataclass(frozen=True, slots=True)
class _Set:
    """Characters in ranges, or those that are in none."""

    ranges: tuple[tuple[str, str], ...]
    is_negative: bool

    def has(self, character: str) -> bool:
        is_in = any(low <= character <= high for low, high in self.ranges)
        return character != "/" and is_in != self.is_negative


_Part = str | _Set
ANY, ONE = "*", "?"


def fits_glob(pattern: str, text: str) -> bool:
    """Invalid for a pattern that is none."""
    parts = _read(pattern)
    at, part, star, mark = 0, 0, -1, 0
    while at < len(text):
        if part < len(parts) and parts[part] == (True, ANY):
            star, mark = part, at
            part += 1
        elif part < len(parts) and _is_one(parts[part], text[at]):
            part, at = part + 1, at + 1
        elif (
            star >= 0 and text[mark] != "/"
        ):  # a star of the same piece takes one more; an earlier cannot help
            mark += 1
            part, at = star + 1, mark
        else:
            return False
    return all(each == (True, ANY) for each in parts[part:])


def _is_one(part: tuple[bool, _Part], character: str) -> bool:
    is_special, what = part
    if isinstance(what, _Set):
        return what.has(character)
    return character != "/" if is_special and what == ONE else not is_special and what == character


def _read(pattern: str) -> list[tuple[bool, _Part]]:
    """(whether it means more than itself, what) each."""
    if len(pattern) > MAX_LENGTH:
        raise _malformed(pattern)
    parts: list[tuple[bool, _Part]] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "[":
            found, at = _read_set(pattern, at + 1)
            parts.append((True, found))
            continue
        if character == "\\":
            at += 1
            if at == len(pattern):
                raise _malformed(pattern)
            parts.append((False, pattern[at]))
        else:
            parts.append((character in (ANY, ONE), character))
        at += 1
    return parts


def _read_set(pattern: str, at: int) -> tuple[_Set, int]:
    is_negative = pattern[at : at + 1] == "^"
    at += is_negative
    ranges: list[tuple[str, str]] = []
    while pattern[at : at + 1] != "]" or not ranges:
        low, at = _character(pattern, at)
        high = low
        if pattern[at : at + 1] == "-":
            high, at = _character(pattern, at + 1)
        ranges.append((low, high))
    return _Set(tuple(ranges), is_negative), at + 1


def _character(pattern: str, at: int) -> tuple[str, int]:
    if pattern[at : at + 1] == "\\":
        at += 1
    elif pattern[at : at + 1] in ("-", "]"):
        raise _malformed(pattern)
    if at >= len(pattern):
        raise _malformed(pattern)
    return pattern[at], at + 1


def _malformed(pattern: str) -> Invalid:
    return Invalid("", "", f"syntax error in pattern: {pattern[:80]}")
