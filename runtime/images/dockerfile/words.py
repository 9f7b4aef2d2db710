"""A statement's text to its keyword, flags and words. Pure.

Quotes and variables stay in the words: expansion.py reads them later. Flags lose theirs here, as Docker
has it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import Enum, auto

from runtime.images.dockerfile.limits import WORDS
from runtime.images.dockerfile.problems import Mistake, did_you_mean, shown

_SPACES = re.compile(r"[\t\v\f\r\n ]+")


@dataclass(frozen=True, slots=True)
class Split:
    """keyword: upper case. flags: `--name[=value]`, unquoted. rest: what follows them, trimmed."""

    keyword: str
    flags: tuple[str, ...]
    rest: str


def split(text: str) -> Split:
    pieces = _SPACES.split(text.strip(), maxsplit=1)
    flags, rest = _leading_flags(pieces[1]) if len(pieces) == 2 else ((), "")
    return Split(pieces[0].upper(), flags, rest.strip())


def _leading_flags(text: str) -> tuple[tuple[str, ...], str]:
    """The words that begin with `--`, and what follows. `--` alone ends them."""
    flags: list[str] = []
    at = 0
    while True:
        while at < len(text) and text[at].isspace():
            at += 1
        if not text.startswith("--", at):
            return tuple(flags), text[at:]
        flag, at = _flag(text, at)
        if flag == "--":
            return tuple(flags), text[at:]
        flags.append(flag)
        if len(flags) > WORDS:
            raise Mistake(f"more than {WORDS} flags")


def _flag(text: str, at: int) -> tuple[str, int]:
    """One word, quotes and backslashes taken away. An open quote reaches to the end, as with Docker."""
    found: list[str] = []
    quote = ""
    while at < len(text):
        character = text[at]
        if not quote and character.isspace():
            break
        at += 1
        if character == "\\":
            found.append(text[at : at + 1])
            at += 1
        elif character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        else:
            found.append(character)
    return "".join(found), at


class FlagKind(Enum):
    TEXT = auto()
    TEXTS = auto()  # may be given several times
    SWITCH = auto()


@dataclass(frozen=True, slots=True)
class Flags:
    """What the flags of one instruction say."""

    texts: dict[str, list[str]]
    switches: dict[str, bool]

    def text(self, name: str) -> str:
        return self.texts.get(name, [""])[0]

    def all(self, name: str) -> tuple[str, ...]:
        return tuple(self.texts.get(name, ()))

    def switch(self, name: str) -> bool:
        return self.switches.get(name, False)


def read_flags(keyword: str, given: tuple[str, ...], known: dict[str, FlagKind]) -> Flags:
    found = Flags({}, {})
    for flag in given:
        name, equals, value = flag[2:].partition("=")
        kind = known.get(name)
        word = f"--{name}"
        if kind is None:
            hint = did_you_mean(word, [f"--{name}" for name in known]) or f"{keyword} knows {_listed(known)}"
            raise Mistake(f"{keyword} has no flag {shown(word)}", hint, word)
        if kind is FlagKind.SWITCH:
            _set_switch(found, name, equals, value, word)
            continue
        if not equals:
            raise Mistake(f"{word} has no value", f"write {word}=VALUE", word)
        if kind is FlagKind.TEXT and name in found.texts:
            raise Mistake(f"{word} is given twice", "keep one", word)
        found.texts.setdefault(name, []).append(value)
    return found


def _set_switch(found: Flags, name: str, equals: str, value: str, word: str) -> None:
    if name in found.switches:
        raise Mistake(f"{word} is given twice", "keep one", word)
    if equals and value.lower() not in ("true", "false"):
        raise Mistake(f"{word} is {shown(value)}, not true or false", "", word)
    found.switches[name] = not equals or value.lower() == "true"


def _listed(known: dict[str, FlagKind]) -> str:
    return ", ".join(f"--{name}" for name in known) or "none"


def plain_words(rest: str) -> tuple[str, ...]:
    """Split at spaces, whatever is quoted."""
    return _counted(tuple(_SPACES.split(rest)) if rest else ())


def quoted_words(rest: str, escape: str) -> tuple[str, ...]:
    """Split at spaces that no quote and no escape protects; both stay in the words."""
    words: list[str] = []
    found: list[str] = []
    quote = ""
    is_word = False
    at = 0
    while at < len(rest):
        character = rest[at]
        at += 1
        if not quote and character.isspace():
            if is_word:
                words.append("".join(found))
            found, is_word = [], False
            continue
        is_word = True
        if character == escape and quote != "'":
            if at == len(rest):
                break  # an escape at the very end means nothing
            found.append(character)
            character = rest[at]
            at += 1
        elif character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        found.append(character)
    if is_word and found:
        words.append("".join(found))
    return _counted(tuple(words))


def json_words(rest: str) -> tuple[str, ...] | None:
    """The exec form, or None for what is no JSON array (then it is the shell form, as with Docker).
    `Mistake` for an array that holds something else than strings."""
    text = rest.strip()
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text, parse_constant=_refuse)
    except ValueError:
        return None
    except RecursionError:
        raise Mistake("an array in an array", "write a list of strings") from None
    if not isinstance(value, list):
        return None
    if not all(isinstance(word, str) for word in value):
        raise Mistake("the list holds something else than strings", 'write ["program", "argument"]')
    return _counted(tuple(_without_lone_surrogates(word) for word in value))


def looks_like_json(rest: str) -> bool:
    """A list that was meant as one and is none: single quotes, or a comma too many."""
    text = rest.strip()
    return text.startswith(("['", "[ '", '["', '[ "')) and text.endswith("]")


def _without_lone_surrogates(word: str) -> str:
    """A half of a pair cannot be encoded: Go reads it as U+FFFD."""
    return word.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _counted(words: tuple[str, ...]) -> tuple[str, ...]:
    if len(words) > WORDS:
        raise Mistake(f"more than {WORDS} words")
    return words


def _refuse(name: str) -> None:
    raise ValueError(name)
