"""Here-documents: `<<NAME`, `<<-NAME`, `<<"NAME"` in RUN, COPY and ADD. Pure.

lines.py asks which documents an instruction begins, and reads their lines; syntax.py asks which words of
COPY and ADD are documents.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from runtime.images.dockerfile.expansion import Rules, expand
from runtime.images.dockerfile.problems import Mistake

_HEAD = re.compile(r"[0-9]*<<(-?)([^<]*)", re.DOTALL)
_BARE = re.compile(r"[0-9]*<<-?")
_LEADING_TABS = re.compile(r"^\t+", re.MULTILINE)
_AS_WRITTEN = Rules(keeps_quotes=True, keeps_escapes=True, keeps_unset=True)
_QUOTED = Rules(keeps_quotes=True, keeps_unset=True)
_UNQUOTED = Rules(keeps_unset=True)


@dataclass(frozen=True, slots=True)
class Head:
    """What `<<…` says. is_expanded: no part of the name was quoted. is_chomped: `<<-`."""

    name: str
    is_expanded: bool
    is_chomped: bool


def heads(statement: str) -> tuple[Head, ...]:
    """The documents that an instruction begins, in order. `Mistake` for a name with an open quote."""
    if "<<" not in statement:
        return ()
    try:
        words = expand(statement, {}, _AS_WRITTEN).words
    except Mistake:
        return ()  # an open quote further on: the shell's affair, or told by whoever reads the words
    found: list[Head] = []
    waiting = ""
    for word in words:
        if _BARE.fullmatch(word):
            waiting = word
            continue
        head = head_of(waiting + word)
        waiting = ""
        if head is not None:
            found.append(head)
    return tuple(found)


def head_of(word: str) -> Head | None:
    """None for a word that begins no document."""
    match = _HEAD.fullmatch(word)
    if match is None or not match[2].strip():
        return None
    plain = expand(match[2], {}, _UNQUOTED).words
    quoted = expand(match[2], {}, _QUOTED).words
    if len(plain) != 1 or len(quoted) != 1:
        return None
    return Head(plain[0], _quotes(plain[0]) == _quotes(quoted[0]), match[1] == "-")


def chomped(content: str) -> str:
    """Without the tabs that its lines begin with, as `<<-` has it."""
    return _LEADING_TABS.sub("", content)


def _quotes(word: str) -> int:
    return word.count("'") + word.count('"')
