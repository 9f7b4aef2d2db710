"""`${VAR}` in manifests, by the Compose Specification's rules. Pure: text and variables in, text out.

    $VAR ${VAR}            its value, "" and a warning when it is not set
    ${VAR:-d} ${VAR-d}     d when VAR is not set or empty; when it is not set
    ${VAR:?e} ${VAR?e}     an error that says e, in the same cases
    ${VAR:+d} ${VAR+d}     d when VAR is set and not empty; when it is set
    $$                     a dollar sign

What follows an operator may hold variables itself. Results are bounded, so that variables which
multiply each other end in an error and not in gigabytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

MAX_DEPTH = 20
MAX_LENGTH = 256 * 1024

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
OPERATOR = re.compile(r":?[-?+]")
ESCAPE_HINT = "write $$ for a dollar sign"

Lookup = Callable[[str], str | None]


class BadVariable(Exception):
    """The text cannot be interpolated."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message, self.hint = message, hint


@dataclass(slots=True)
class _Work:
    """One text on its way: what is looked up where, and who is told of a variable that is not set."""

    text: str
    lookup: Lookup
    unset: Callable[[str], None]
    length: int = 0


def interpolate(text: str, lookup: Lookup, unset: Callable[[str], None]) -> str:
    """text with its variables replaced. lookup gives a variable's value or None; unset is called with
    the name of each one that is missing and has no default. Raises BadVariable.
    """
    if "$" not in text:
        return text
    return _expand(_Work(text, lookup, unset), 0, len(text), 0)


def _expand(work: _Work, at: int, end: int, depth: int) -> str:
    if depth > MAX_DEPTH:
        raise BadVariable(f"variables are nested over {MAX_DEPTH} deep")
    parts: list[str] = []
    while (dollar := work.text.find("$", at, end)) >= 0:
        parts.append(work.text[at:dollar])
        value, at = _variable(work, dollar + 1, end, depth)
        parts.append(value)
        work.length += len(value)
        if work.length > MAX_LENGTH:
            raise BadVariable(f"variables expand to over {MAX_LENGTH} characters")
    parts.append(work.text[at:end])
    return "".join(parts)


def _variable(work: _Work, at: int, end: int, depth: int) -> tuple[str, int]:
    """The value of the variable after a dollar sign, and where the text goes on."""
    text = work.text
    if text.startswith("$", at, end):
        return "$", at + 1
    if text.startswith("{", at, end):
        close = _closing_brace(text, at, end)
        return _braced(work, at + 1, close, depth), close + 1
    if match := NAME.match(text, at, end):
        return _value(work, match.group()), match.end()
    raise BadVariable(f'"{text[at - 1 : min(end, at + 10)]}" is not a variable', ESCAPE_HINT)


def _closing_brace(text: str, at: int, end: int) -> int:
    """Where the brace that opens at `at` closes; a `${` inside opens one more."""
    level = 0
    for index in range(at, end):
        if text[index] == "}":
            level -= 1
            if level == 0:
                return index
        elif text[index] == "{" and text[index - 1] == "$":
            level += 1
    raise BadVariable(f'"{text[at - 1 : min(end, at + 20)]}" has no closing brace', ESCAPE_HINT)


def _braced(work: _Work, at: int, end: int, depth: int) -> str:
    name = NAME.match(work.text, at, end)
    if name is None:
        raise BadVariable(f'"${{{work.text[at:end]}}}" is not a variable', ESCAPE_HINT)
    if name.end() == end:
        return _value(work, name.group())
    operator = OPERATOR.match(work.text, name.end(), end)
    if operator is None:
        raise BadVariable(f'"${{{work.text[at:end]}}}" is not a variable', "operators are :- - :? ? :+ +")
    value = work.lookup(name.group())
    is_given = value is not None and (value != "" or operator.group()[0] != ":")
    if operator.group()[-1] == "+":
        return _expand(work, operator.end(), end, depth + 1) if is_given else ""
    if is_given:
        return value or ""
    rest = _expand(work, operator.end(), end, depth + 1)
    if operator.group()[-1] == "-":
        return rest
    raise BadVariable(f'variable "{name.group()}" is required: {rest or "it is not set"}')


def _value(work: _Work, name: str) -> str:
    value = work.lookup(name)
    if value is None:
        work.unset(name)
        return ""
    return value
