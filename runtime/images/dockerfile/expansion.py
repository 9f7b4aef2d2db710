"""Words of a Dockerfile to their values: quotes, escapes, `$v` and `${v…}` as Docker reads them. Pure.

    $v ${v}   ${v:-word} ${v-word}   ${v:+word} ${v+word}   ${v:?text} ${v?text}
    ${v#pattern} ${v##pattern} ${v%pattern} ${v%%pattern} ${v/pattern/text} ${v//pattern/text}

`:` makes an empty value count as unset. An unset variable is "", and is told to the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from runtime.images.dockerfile import shell_patterns
from runtime.images.dockerfile.limits import (
    DEPTH,
    EXPANDED_CHARACTERS,
    MATCHED_PER_CHARACTER,
    VALUE_CHARACTERS,
)
from runtime.images.dockerfile.problems import Mistake, shown

_SPECIAL_PARAMETERS = "@*#?-$!0"


@dataclass(frozen=True, slots=True)
class Rules:
    """escape: the parser directive's. The others turn off a part of the work, for words that are read twice.

    keeps_quotes, keeps_escapes: they stay in the result. keeps_unset: so does `$v` of an unset variable.
    reads_quotes: False in here-documents, where a quote is a quote.
    """

    escape: str = "\\"
    keeps_quotes: bool = False
    keeps_escapes: bool = False
    keeps_unset: bool = False
    reads_quotes: bool = True


@dataclass(frozen=True, slots=True)
class Expanded:
    """text: the whole word. words: the same, split at spaces that no quote protects, empty ones left out.

    cost: characters that were made on the way, whether or not they are in text.
    """

    text: str
    words: tuple[str, ...]
    unset: frozenset[str]
    cost: int


def expand(word: str, variables: Mapping[str, str], rules: Rules) -> Expanded:
    """`Mistake` for an open quote or brace, a bad or unknown modifier, and for what becomes too long."""
    if not any(character in word for character in ("$", "'", '"', rules.escape)):
        return Expanded(_checked(word), tuple(word.split()), frozenset(), len(word))
    reader = _Reader(word, variables, rules)
    text, words = reader.read_until("", rules.keeps_escapes, 0)
    return Expanded(text, words, frozenset(reader.unset), reader.cost + len(text))


class _Words:
    """The text as it grows, and its split form beside it."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._word: list[str] = []
        self._words: list[str] = []
        self._length = 0

    def add(self, text: str) -> None:
        """Spaces in it end a word."""
        self._count(text)
        pieces = text.split() if text.strip() else []
        if not pieces or text[0].isspace():
            self._end_word(bool(text))
        for place, piece in enumerate(pieces):
            if place:
                self._end_word(True)
            self._word.append(piece)
        if pieces and text[-1].isspace():
            self._end_word(True)

    def add_whole(self, text: str) -> None:
        """Spaces in it are part of the word: it was quoted or escaped."""
        self._count(text)
        self._word.append(text)

    def end(self) -> tuple[str, tuple[str, ...]]:
        self._end_word(True)
        return "".join(self._text), tuple(self._words)

    def _end_word(self, is_over: bool) -> None:
        word = "".join(self._word) if is_over else ""
        if word:
            self._words.append(word)
            self._word.clear()

    def _count(self, text: str) -> None:
        self._length += len(text)
        if self._length > VALUE_CHARACTERS:
            raise Mistake(f"expands to more than {VALUE_CHARACTERS} characters", "build it in a RUN step")
        self._text.append(text)


class _Reader:
    def __init__(self, source: str, variables: Mapping[str, str], rules: Rules) -> None:
        self._source = source
        self._at = 0
        self._variables = variables
        self._rules = rules
        self.unset: set[str] = set()
        self.cost = 0

    def read_until(self, stop: str, keeps_escapes: bool, depth: int) -> tuple[str, tuple[str, ...]]:
        """Up to the character `stop`, which is taken, or for "" to the end."""
        if depth > DEPTH:
            raise Mistake(f"variables nested deeper than {DEPTH}")
        found = _Words()
        special = "$" + self._rules.escape + stop + ("'\"" if self._rules.reads_quotes else "")
        while self._at < len(self._source):
            self._take_plain(found, special)
            character = self._peek()
            if character == "":
                break
            if character == stop:
                self._at += 1
                return found.end()
            if character == "$":
                found.add(self._dollar(depth))
            elif character == self._rules.escape:
                self._escaped(found, keeps_escapes)
            elif character == "'":
                found.add_whole(self._single_quoted())
            else:
                found.add_whole(self._double_quoted(depth, keeps_escapes))
        if stop:
            raise Mistake(f"no {stop} ends the ${{…}}", f"add a {stop}")
        return found.end()

    def _take_plain(self, found: _Words, special: str) -> None:
        begin = self._at
        while self._at < len(self._source) and self._source[self._at] not in special:
            self._at += 1
        if self._at > begin:
            found.add(self._source[begin : self._at])

    def _escaped(self, found: _Words, keeps_escapes: bool) -> None:
        self._at += 1
        if keeps_escapes:
            found.add_whole(self._rules.escape)
        following = self._take()
        if following:
            found.add_whole(following)

    def _single_quoted(self) -> str:
        end = self._source.find("'", self._at + 1)
        if end < 0:
            raise Mistake("a single quote is not closed", "add a '")
        inside = self._source[self._at + 1 : end]
        self._at = end + 1
        return f"'{inside}'" if self._rules.keeps_quotes else inside

    def _double_quoted(self, depth: int, keeps_escapes: bool) -> str:
        quote = '"' if self._rules.keeps_quotes else ""
        self._at += 1
        found = _Words()
        while (character := self._peek()) != '"':
            if character == "":
                raise Mistake("a double quote is not closed", 'add a "')
            if character == "$":
                found.add_whole(self._dollar(depth))
                continue
            self._at += 1
            if character != self._rules.escape:
                found.add_whole(character)
                continue
            if keeps_escapes:
                found.add_whole(character)
            following = self._peek()
            if following in ('"', "$", self._rules.escape) and following:
                found.add_whole(self._take())
            elif following:
                found.add_whole(character)
        self._at += 1
        return quote + found.end()[0] + quote

    def _dollar(self, depth: int) -> str:
        self._at += 1
        if self._peek() != "{":
            name = self._name()
            return self._plain_value(name, f"${name}") if name else "$"
        self._at += 1
        if self._peek() in ("{", "}", ":"):
            raise Mistake("${ is not followed by a variable's name", "write ${NAME}")
        begin = self._at
        name = self._name()
        character = self._take()
        if character == "}":
            return self._plain_value(name, f"${{{name}}}")
        if character == "":
            raise Mistake("no } ends the ${…}", "add a }")
        if not name:
            raise Mistake(f"{shown(character)} is no variable's name", "letters, digits and _")
        value = self._modified(name, character, depth)
        if self._rules.keeps_unset and name not in self._variables:
            return "${" + self._source[begin : self._at]
        return value

    def _modified(self, name: str, modifier: str, depth: int) -> str:
        if modifier == "/":
            return self._replaced(name, depth)
        is_empty_unset = modifier == ":"
        if is_empty_unset:
            modifier = self._take()
        if not modifier or modifier not in "-+?#%":
            shown_modifier = (":" if is_empty_unset else "") + modifier
            raise Mistake(
                f"${{{name}…}} has no modifier {shown(shown_modifier)}",
                "there are :- - :+ + :? ? # ## % %% / //",
            )
        word = self._inner("}", modifier in "#%" or self._rules.keeps_escapes, depth)
        value = self._value(name)
        if modifier in "#%":
            return self._trimmed(value or "", modifier, word)
        is_set = bool(value) if is_empty_unset else value is not None
        if modifier == "+":
            return word if is_set else ""
        if is_set:
            return value or ""
        if modifier == "?" and not self._rules.keeps_unset:
            raise Mistake(
                f"{name}: {word or ('is empty' if value == '' else 'is not set')}", "give it a value"
            )
        return word

    def _trimmed(self, value: str, modifier: str, pattern: str) -> str:
        self._spend(len(value) * len(pattern) // MATCHED_PER_CHARACTER)
        is_longest = pattern.startswith(modifier)
        trim = shell_patterns.trim_prefix if modifier == "#" else shell_patterns.trim_suffix
        return trim(value, pattern[1:] if is_longest else pattern, self._rules.escape, is_longest)

    def _replaced(self, name: str, depth: int) -> str:
        is_all = self._peek() == "/"
        self._at += is_all
        pattern = self._inner("/", True, depth)
        replacement = self._inner("}", True, depth)
        value = self._value(name) or ""
        self._spend(len(value) * len(pattern) // MATCHED_PER_CHARACTER)
        return shell_patterns.replace(
            value, pattern, replacement, self._rules.escape, is_all, VALUE_CHARACTERS
        )

    def _inner(self, stop: str, keeps_escapes: bool, depth: int) -> str:
        """A word inside `${…}`. It costs even when nobody takes it."""
        word, _ = self.read_until(stop, keeps_escapes, depth + 1)
        self._spend(len(word))
        return word

    def _spend(self, characters: int) -> None:
        self.cost += characters
        if self.cost > EXPANDED_CHARACTERS:
            raise Mistake("takes too long to expand", "shorten its values and patterns")

    def _plain_value(self, name: str, written: str) -> str:
        value = self._value(name)
        return (written if self._rules.keeps_unset else "") if value is None else value

    def _value(self, name: str) -> str | None:
        value = self._variables.get(name)
        if value is None:
            self.unset.add(name)
        return value

    def _name(self) -> str:
        """A name, a number, or one of the shell's special parameters; "" for none of them."""
        begin = self._at
        first = self._peek()
        if first and first.isdigit():
            while self._peek().isdigit():
                self._at += 1
        elif first and first in _SPECIAL_PARAMETERS:
            self._at += 1
        else:
            while self._peek().isalnum() or self._peek() == "_":
                self._at += 1
        return self._source[begin : self._at]

    def _peek(self) -> str:
        return self._source[self._at : self._at + 1]

    def _take(self) -> str:
        character = self._peek()
        self._at += 1
        return character


def in_document(rules: Rules) -> Rules:
    """The rules inside a here-document: the escape is always `\\`, and quotes are characters."""
    return replace(rules, escape="\\", reads_quotes=False)


def _checked(word: str) -> str:
    if len(word) > VALUE_CHARACTERS:
        raise Mistake(f"a word of more than {VALUE_CHARACTERS} characters")
    return word
