"""Path patterns as an automaton whose time does not depend on what the pattern says. Pure.

globs.py and ignore.py turn their syntax into tokens; a path then costs one step a character. The set of
places in the pattern is one integer, and steps that were taken once are remembered, up to a bound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

_MOST_REMEMBERED = 4096  # steps; then it begins anew


class Repeat(Enum):
    """NAME: text without a slash. ANY: any text. DIRECTORIES: nothing, or text that ends in a slash."""

    NAME = auto()
    ANY = auto()
    DIRECTORIES = auto()


One = Callable[[str], bool]  # whether a character fits
Token = One | Repeat | str  # str: that one character


@dataclass(frozen=True, slots=True)
class _Program:
    """Bits by place. free, skip: places that are left for the next, or the one after, without a character."""

    singles: tuple[tuple[int, str | One], ...]
    stay_name: int
    stay_any: int
    until_slash: int
    free: int
    skip: int
    last: int


class Automaton:
    """One pattern, compiled. begin: the places before anything was read."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._program = _compiled(_collapsed(tokens))
        self._fits: dict[str, int] = {}
        self._steps: dict[tuple[int, str], int] = {}
        self.begin = self._closed(1)

    def matches(self, text: str) -> bool:
        """Whether all of the text is what the pattern says."""
        return self.is_end(self.advance(self.begin, text))

    def advance(self, places: int, text: str) -> int:
        """The places after more text, for who reads a path name by name; 0 when nothing that follows fits."""
        for character in text:
            step = self._steps.get((places, character))
            places = self._step(places, character) if step is None else step
            if not places:
                return 0
        return places

    def is_end(self, places: int) -> bool:
        return bool(places & self._program.last)

    def _step(self, places: int, character: str) -> int:
        program = self._program
        moved = (places & self._fitting(character)) << 1
        moved |= places & program.stay_any
        if character == "/":
            moved |= (places & program.until_slash) << 1
        else:
            moved |= places & program.stay_name
        closed = self._closed(moved)
        if len(self._steps) >= _MOST_REMEMBERED:
            self._steps.clear()
        self._steps[places, character] = closed
        return closed

    def _fitting(self, character: str) -> int:
        fits = self._fits.get(character)
        if fits is None:
            fits = sum(
                bit for bit, one in self._program.singles
                if (one == character if isinstance(one, str) else one(character))
            )  # fmt: skip
            if len(self._fits) >= _MOST_REMEMBERED:
                self._fits.clear()
            self._fits[character] = fits
        return fits

    def _closed(self, places: int) -> int:
        program = self._program
        while True:
            more = places | (places & program.free) << 1 | (places & program.skip) << 2
            if more == places:
                return places
            places = more


def _collapsed(tokens: Sequence[Token]) -> list[Token]:
    """The same repetition twice in a row says no more than once."""
    found: list[Token] = []
    for token in tokens:
        if not (isinstance(token, Repeat) and found and found[-1] is token):
            found.append(token)
    return found


def _compiled(tokens: Sequence[Token]) -> _Program:
    """DIRECTORIES takes two places: the first goes past it at once, the second waits for a slash."""
    singles: list[tuple[int, str | One]] = []
    stay_name = stay_any = until_slash = free = skip = 0
    bit = 1
    for token in tokens:
        if not isinstance(token, Repeat):
            singles.append((bit, token))
        elif token is Repeat.DIRECTORIES:
            free |= bit
            skip |= bit
            bit <<= 1
            stay_any |= bit
            until_slash |= bit
        else:
            free |= bit
            stay_name |= bit if token is Repeat.NAME else 0
            stay_any |= bit if token is Repeat.ANY else 0
        bit <<= 1
    return _Program(tuple(singles), stay_name, stay_any, until_slash, free, skip, bit)
