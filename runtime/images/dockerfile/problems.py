"""What is wrong with a Dockerfile: every mistake with its line, its column and a hint. Pure.

A function that reads one instruction raises `Mistake`; who knows the place makes a Problem of it and
goes on, so that a person sees all of them at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from runtime.errors import Invalid
from runtime.images.dockerfile.limits import GUESSES, PROBLEMS

_SHOWN = 80  # characters of a word that a message repeats


class Mistake(Exception):
    """text: what is wrong. word: the part of the instruction that it is about, "" for all of it."""

    def __init__(self, text: str, hint: str = "", word: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.hint = hint
        self.word = word


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """line and column count from 1; column 0: the whole line."""

    line: int
    column: int
    text: str
    hint: str = ""

    def at(self, name: str) -> str:
        """`Dockerfile:3:5`."""
        return f"{name}:{self.line}:{self.column}" if self.column else f"{name}:{self.line}"

    def tell(self, name: str) -> str:
        hint = f" (hint: {self.hint})" if self.hint else ""
        return f"{self.at(name)}: {self.text}{hint}"


class DockerfileInvalid(Invalid):
    """problems: all that were found, in order of the file."""

    def __init__(self, name: str, problems: Iterable[Problem]) -> None:
        self.name = name
        self.problems = tuple(sorted(set(problems)))
        first = self.problems[0]
        if len(self.problems) == 1:
            super().__init__("read", first.at(name), first.text, first.hint)
            return
        told = "".join(f"\n  {problem.tell(name)}" for problem in self.problems[:PROBLEMS])
        more = len(self.problems) - PROBLEMS
        super().__init__(
            "read",
            name,
            f"{len(self.problems)} mistakes:{told}" + (f"\n  and {more} more" if more > 0 else ""),
        )


def shown(word: str) -> str:
    """A word of the file as a message repeats it: quoted, without control characters, not endless."""
    return repr(word if len(word) <= _SHOWN else word[:_SHOWN] + "…")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint, or ""."""
    near = difflib.get_close_matches(word[:40], list(known)[:GUESSES], 1)
    return f"did you mean {near[0]}?" if near else ""
