"""Patterns of COPY and ADD sources: Go's `filepath.Match`. Pure, and linear in the path.

    *  any text without a slash      ?  one character, no slash      [a-z] [^a-z]  one of them
    \\  makes the next character plain

A build walks the tree below `fixed_part` and asks `matches` for each path.
"""

from __future__ import annotations

from collections.abc import Callable

from runtime.images.dockerfile.automaton import Automaton, Repeat, Token
from runtime.images.dockerfile.limits import PATTERN_CHARACTERS
from runtime.images.dockerfile.problems import Mistake, shown


class Glob:
    """One pattern for whole paths, without a leading slash. `Mistake` when it is malformed."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._automaton = Automaton(tokens(pattern))
        self._slashes = pattern.count("/")

    def matches(self, path: str) -> bool:
        return path.count("/") == self._slashes and self._automaton.matches(path)


def has_wildcard(pattern: str) -> bool:
    """Whether it says more than one path."""
    at = 0
    while at < len(pattern):
        if pattern[at] in "*?[":
            return True
        at += 2 if pattern[at] == "\\" else 1
    return False


def fixed_part(pattern: str) -> str:
    """The leading directories that have no wildcard, escapes taken away: where a walk may begin."""
    fixed: list[str] = []
    for name in pattern.split("/")[:-1]:
        if has_wildcard(name):
            break
        fixed.append(plain(name))
    return "/".join(fixed)


def plain(pattern: str) -> str:
    """A pattern without wildcards as the path it names."""
    found: list[str] = []
    at = 0
    while at < len(pattern):
        at += pattern[at] == "\\" and at + 1 < len(pattern)
        found.append(pattern[at])
        at += 1
    return "".join(found)


def tokens(pattern: str) -> list[Token]:
    if len(pattern) > PATTERN_CHARACTERS:
        raise Mistake(f"a pattern of more than {PATTERN_CHARACTERS} characters")
    found: list[Token] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*":
            found.append(Repeat.NAME)
        elif character == "?":
            found.append(_no_slash)
        elif character == "[":
            token, at = character_class(pattern, at)
            found.append(token)
        elif character == "\\":
            if at == len(pattern):
                raise bad(pattern, "ends in a \\")
            found.append(pattern[at])
            at += 1
        else:
            found.append(character)
    return found


def character_class(pattern: str, at: int) -> tuple[Callable[[str], bool], int]:
    """`[…]`, from behind its bracket: what it takes, and where it ends. It never takes a slash."""
    is_negated = pattern[at : at + 1] == "^"
    at += is_negated
    ranges: list[tuple[str, str]] = []
    while pattern[at : at + 1] != "]" or not ranges:
        first, at = _class_character(pattern, at)
        last = first
        if pattern[at : at + 1] == "-":
            last, at = _class_character(pattern, at + 1)
        ranges.append((first, last))
    return _Class(tuple(ranges), is_negated), at + 1


class _Class:
    def __init__(self, ranges: tuple[tuple[str, str], ...], is_negated: bool) -> None:
        self._ranges = ranges
        self._is_negated = is_negated

    def __call__(self, character: str) -> bool:
        is_inside = any(first <= character <= last for first, last in self._ranges)
        return character != "/" and is_inside != self._is_negated


def _class_character(pattern: str, at: int) -> tuple[str, int]:
    if pattern[at : at + 1] == "\\":
        at += 1
    elif pattern[at : at + 1] in ("-", "]"):
        raise bad(pattern, "has an empty place in [ ]")
    if at >= len(pattern):
        raise bad(pattern, "has a [ without its ]")
    return pattern[at], at + 1


def bad(pattern: str, why: str) -> Mistake:
    return Mistake(f"the pattern {shown(pattern)} {why}", "write \\[ for a bracket itself", pattern)


def _no_slash(character: str) -> bool:
    return character != "/"
