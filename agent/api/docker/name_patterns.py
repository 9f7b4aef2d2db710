"""Regular expressions of the filters `name` and `id`, as far as names ask for them: `^web-[0-9]+$`, `web|db`,
`shop.*(web|api)`. Pure.

In time of the pattern's length times the name's, however it is nested: it comes from outside. All places
that a part can end at are one number's bits, so that no way is tried twice.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass

from runtime.errors import Invalid

MAX_LENGTH = 256
MAX_DEPTH = 8
_CLASSES = {"d": "0123456789", "w": "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"}
_NOT_HERE = frozenset("{}")
_PLAIN = re.compile(r"\^?[A-Za-z0-9_/-]*\$?")

Fits = Callable[[str], bool]
Step = Callable[[str, int], int]  # (text, bits of where it may begin) -> bits of where it may end


def fits_pattern(text: str, pattern: str) -> bool:
    """Whether a part of the text is what the pattern says. Invalid for what is no pattern."""
    if _PLAIN.fullmatch(pattern):
        return _has_part(text, pattern)
    return bool(_read(pattern)(text, (1 << len(text) + 1) - 1))


def _has_part(text: str, pattern: str) -> bool:
    """What nearly all ask for, at once."""
    starts, ends = pattern.startswith("^"), pattern.endswith("$")
    plain = pattern.removeprefix("^").removesuffix("$")
    if starts and ends:
        return text == plain
    if starts:
        return text.startswith(plain)
    return text.endswith(plain) if ends else plain in text


@functools.lru_cache(maxsize=64)
def _read(pattern: str) -> Step:
    if len(pattern) > MAX_LENGTH:
        raise Invalid("", "", f"invalid filter: a pattern longer than {MAX_LENGTH}")
    reader = _Reader(pattern)
    step = reader.either()
    if reader.at < len(pattern):
        raise reader.refused()
    return step


@dataclass(slots=True)
class _Reader:
    pattern: str
    at: int = 0
    depth: int = 0

    def refused(self) -> Invalid:
        return Invalid("", "", f"invalid filter: {self.pattern[:60]!r} is no pattern that is taken here")

    def either(self) -> Step:
        ways = [self.row()]
        while self.take("|"):
            ways.append(self.row())
        return ways[0] if len(ways) == 1 else functools.partial(_any, tuple(ways))

    def row(self) -> Step:
        steps: list[Step] = []
        while self.at < len(self.pattern) and self.pattern[self.at] not in "|)":
            steps.append(self.repeated(self.one()))
        return functools.partial(_row, tuple(steps))

    def repeated(self, step: Step) -> Step:
        sign = self.pattern[self.at : self.at + 1]
        if sign not in ("*", "+", "?"):
            return step
        self.at += 1
        self.take("?")  # as few as can be: of whether it fits, nothing is changed by it
        if sign == "?":
            return lambda text, bits: bits | step(text, bits)
        if sign == "+":
            return lambda text, bits: _many(step, text, step(text, bits))
        return functools.partial(_many, step)

    def one(self) -> Step:
        sign = self.next()
        if sign == "(":
            return self.group()
        if sign == "^":
            return lambda _text, bits: bits & 1
        if sign == "$":
            return lambda text, bits: bits & 1 << len(text)
        if sign in "*+?" or sign in _NOT_HERE:
            raise self.refused()
        return functools.partial(_letter, self.fits(sign))

    def group(self) -> Step:
        self.depth += 1
        self.take("?:")
        if self.depth > MAX_DEPTH:
            raise self.refused()
        found = self.either()
        if not self.take(")"):
            raise self.refused()
        self.depth -= 1
        return found

    def fits(self, sign: str) -> Fits:
        if sign == ".":
            return lambda _letter: True
        if sign == "[":
            return self.set()
        if sign == "\\":
            sign = self.next()
            if sign in _CLASSES:
                return _CLASSES[sign].__contains__
            if sign.isalnum():
                raise self.refused()
        return sign.__eq__

    def set(self) -> Fits:
        is_negative = self.take("^")
        ranges: list[tuple[str, str]] = []
        while not ranges or not self.take("]"):
            low = self.next()
            is_range = self.pattern.startswith("-", self.at) and not self.pattern.startswith("-]", self.at)
            self.at += is_range
            ranges.append((low, self.next() if is_range else low))
        return lambda letter: any(low <= letter <= high for low, high in ranges) != is_negative

    def next(self) -> str:
        if self.at >= len(self.pattern):
            raise self.refused()
        self.at += 1
        return self.pattern[self.at - 1]

    def take(self, text: str) -> bool:
        is_there = self.pattern.startswith(text, self.at)
        self.at += len(text) if is_there else 0
        return is_there


def _any(ways: tuple[Step, ...], text: str, bits: int) -> int:
    return functools.reduce(lambda found, way: found | way(text, bits), ways, 0)


def _row(steps: tuple[Step, ...], text: str, bits: int) -> int:
    for step in steps:
        if not bits:
            return 0
        bits = step(text, bits)
    return bits


def _letter(fits: Fits, text: str, bits: int) -> int:
    found = 0
    while bits:
        first = bits & -bits
        place = first.bit_length() - 1
        if place < len(text) and fits(text[place]):
            found |= first
        bits ^= first
    return found << 1


def _many(step: Step, text: str, bits: int) -> int:
    """Any number of times, none included: until nothing new is reached."""
    found = new = bits
    while new:
        new = step(text, new) & ~found
        found |= new
    return found
