"""Patterns of `${v#p}`, `${v%p}` and `${v/p/r}`: `*` is any text, `?` one character. Pure.

No regular expression with a repetition is ever made of a pattern, so none can run away: the parts
between the stars are looked for one after the other, each at most once over the value.
"""

from __future__ import annotations

import re

from runtime.images.dockerfile.limits import PATTERN_CHARACTERS
from runtime.images.dockerfile.problems import Mistake, shown

_ANY = None  # `?`
_Part = tuple[str | None, ...]


def trim_prefix(value: str, pattern: str, escape: str, is_longest: bool) -> str:
    parts = _parts(pattern, escape)
    end = _longest(value, parts, 0) if is_longest else _shortest(value, parts, 0)
    return value if end < 0 else value[end:]


def trim_suffix(value: str, pattern: str, escape: str, is_longest: bool) -> str:
    """As trim_prefix, of everything turned round: a suffix is a prefix of the reversed."""
    parts = [part[::-1] for part in reversed(_parts(pattern, escape))]
    turned = value[::-1]
    end = _longest(turned, parts, 0) if is_longest else _shortest(turned, parts, 0)
    return value if end < 0 else turned[end:][::-1]


def replace(value: str, pattern: str, replacement: str, escape: str, is_all: bool, most: int) -> str:
    """The first match, or all of them, replaced. most: characters that the result may have."""
    parts = _parts(pattern, escape)
    if len(parts) == 1:
        found = _compiled(parts[0])
        count = sum(1 for _ in found.finditer(value)) if is_all else 1
        if len(value) + count * len(replacement) > most:
            raise Mistake(f"expands to more than {most} characters")
        return found.sub(lambda _: replacement, value, count=0 if is_all else 1)
    # With a star the longest match takes the last occurrence of what ends the pattern: there is no second.
    start = _find(value, parts[0], 0)
    end = _longest(value, parts, start) if start >= 0 else -1
    return value if end < 0 else value[:start] + replacement + value[end:]


def _parts(pattern: str, escape: str) -> list[_Part]:
    """What stands between the stars. An escape makes `*`, `?` and itself plain."""
    if len(pattern) > PATTERN_CHARACTERS:
        raise Mistake(f"a pattern of more than {PATTERN_CHARACTERS} characters")
    parts: list[list[str | None]] = [[]]
    at = 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == escape:
            following = pattern[at : at + 1]
            if following not in ("*", "?", escape, "}", "/"):
                raise Mistake(
                    f"{shown(escape + following)} in a pattern means nothing",
                    f"write {escape}{escape} for {escape}, or escape *, ?, / and }} only",
                )
            parts[-1].append(following)
            at += 1
        elif character == "*":
            parts.append([])
        else:
            parts[-1].append(_ANY if character == "?" else character)
    return [tuple(part) for part in parts]


def _shortest(value: str, parts: list[_Part], start: int) -> int:
    """Where the shortest match from start ends; -1 without one. Each part as early as it can be."""
    if not _is_at(value, parts[0], start):
        return -1
    end = start + len(parts[0])
    for part in parts[1:]:
        begin = _find(value, part, end)
        if begin < 0:
            return -1
        end = begin + len(part)
    return end


def _longest(value: str, parts: list[_Part], start: int) -> int:
    """Where the longest match from start ends; -1 without one. Only the last part may move."""
    before = _shortest(value, parts[:-1], start) if len(parts) > 1 else start
    if before < 0:
        return -1
    if len(parts) == 1:
        return start + len(parts[0]) if _is_at(value, parts[0], start) else -1
    begin = _find_last(value, parts[-1], before)
    return -1 if begin < 0 else begin + len(parts[-1])


def _is_at(value: str, part: _Part, at: int) -> bool:
    return len(value) - at >= len(part) and all(
        wanted is _ANY or wanted == there
        for wanted, there in zip(part, value[at : at + len(part)], strict=True)
    )


def _find(value: str, part: _Part, at: int) -> int:
    found = _compiled(part).search(value, at)
    return found.start() if found else -1


def _find_last(value: str, part: _Part, at: int) -> int:
    """The last start at or after `at`."""
    turned = _compiled(part[::-1]).search(value[at:][::-1])
    return len(value) - turned.end() if turned else -1


def _compiled(part: _Part) -> re.Pattern[str]:
    """Characters and dots only: nothing in it repeats."""
    return re.compile("".join("." if one is _ANY else re.escape(one) for one in part), re.DOTALL)
