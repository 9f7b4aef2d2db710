"""Patterns of COPY and ADD sources: Go's `filepath.Match`, and `**/`. Pure, and linear in the path.

    *  any text without a slash      ?  one character, no slash      [a-z] [^a-z]  one of them
    \\  makes the next character plain                               **/  any directories, or none

A build walks the tree below `fixed_part`, each directory once, with the places in the pattern that the path
so far has come to.
"""

from __future__ import annotations

from collections.abc import Callable

from runtime.images.dockerfile.automaton import Automaton, Repeat, Token
from runtime.images.dockerfile.limits import PATTERN_CHARACTERS
from runtime.images.dockerfile.problems import Mistake, shown


def compiled(pattern: str) -> Automaton:
    """One pattern for whole paths, without a leading slash. `Mistake` when it is malformed."""
    return Automaton(tokens(pattern))


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
        if pattern.startswith("**/", at) and pattern[at - 1 : at] in ("", "/"):
            found.append(Repeat.DIRECTORIES)
            at += 3
            continue
        one, at = token(pattern, at)
        found.append(one)
    return found


def token(pattern: str, at: int) -> tuple[Token, int]:
    """What stands at a place, and where it ends. `Mistake` when it is malformed."""
    character = pattern[at]
    if character == "*":
        return Repeat.NAME, at + 1
    if character == "?":
        return _no_slash, at + 1
    if character == "[":
        return character_class(pattern, at + 1)
    if character == "\\":
        if at + 1 == len(pattern):
            raise bad(pattern, "ends in a \\")
        return pattern[at + 1], at + 2
    return character, at + 1


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
