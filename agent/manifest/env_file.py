"""Files of variables: `.env` beside a compose file, and what `env_file` names. Pure: text in, pairs out.

The rules are compose's: `KEY=value`, `export KEY=value`, `KEY: value`; comments; 'literal' and
"escaped $VAR" values, which may go over several lines; an unquoted value ends at ` #`. A key without
a value takes it from the variables around, if it is set there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from agent.manifest.interpolate import BadVariable, interpolate

MAX_TOTAL = 1024 * 1024

KEY = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.\-\[\]]*)[ \t]*")
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "b": "\b", "a": "\a", "v": "\v"}
ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class BadEnvFile(Exception):
    """line counts from 1."""

    def __init__(self, line: int, message: str, hint: str = "") -> None:
        super().__init__(line, message, hint)
        self.line, self.message, self.hint = line, message, hint


def read_env_file(data: bytes, around: Mapping[str, str]) -> dict[str, str]:
    """The variables of a file. around: those known already; they are what `$VAR` finds after the
    file's own lines above it. Raises BadEnvFile."""
    return _Lines(_text(data), around).read()


def read_raw_env_file(data: bytes) -> dict[str, str]:
    """As `docker run --env-file`: everything after the first `=` of a line, quotes and all."""
    values: dict[str, str] = {}
    for number, line in enumerate(_text(data).split("\n"), 1):
        stripped = line.lstrip().removesuffix("\r")
        if not stripped or stripped.startswith("#"):
            continue
        key, equals, value = stripped.partition("=")
        if not key or any(character.isspace() for character in key):
            raise BadEnvFile(number, f'"{key}" is not a name', "lines are NAME=value")
        if equals:
            values[key] = value
    return values


def _text(data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadEnvFile(data[: error.start].count(b"\n") + 1, "not valid UTF-8") from None
    if "\0" in text:
        raise BadEnvFile(text[: text.index("\0")].count("\n") + 1, "holds a NUL byte")
    return text


class _Lines:
    """A cursor over the text."""

    def __init__(self, text: str, around: Mapping[str, str]) -> None:
        self.text = text.replace("\r\n", "\n")
        self.at = 0
        self.around = around
        self.values: dict[str, str] = {}
        self.total = 0

    def read(self) -> dict[str, str]:
        while self.at < len(self.text):
            if self.skip_blank():
                continue
            key, has_value = self.key()
            value = self.value() if has_value else self.around.get(key)
            if value is not None:
                self.values[key] = value
                self.total += len(value)
            if self.total > MAX_TOTAL:
                raise self.bad(f"variables expand to over {MAX_TOTAL} characters")
        return self.values

    def bad(self, message: str, hint: str = "") -> BadEnvFile:
        return BadEnvFile(self.text.count("\n", 0, self.at) + 1, message, hint)

    def line_end(self) -> int:
        end = self.text.find("\n", self.at)
        return len(self.text) if end < 0 else end

    def skip_blank(self) -> bool:
        end = self.line_end()
        line = self.text[self.at : end].strip()
        if line and not line.startswith("#"):
            return False
        self.at = end + 1
        return True

    def key(self) -> tuple[str, bool]:
        """A name, and whether a value follows it; the cursor is then after `=`."""
        match = KEY.match(self.text, self.at)
        if match is None:
            name = self.text[self.at : self.line_end()].split("=")[0].strip()[:40]
            raise self.bad(f'"{name}" is not a name', "lines are NAME=value")
        after = self.text[match.end() : match.end() + 1]
        if after in ("=", ":"):
            self.at = match.end() + 1
            return match.group(1), True
        rest = self.text[match.end() : self.line_end()].strip()
        if rest and not rest.startswith("#"):
            raise self.bad(f'no "=" after "{match.group(1)}"', "lines are NAME=value")
        self.at = self.line_end() + 1
        return match.group(1), False

    def value(self) -> str:
        end = self.line_end()
        while self.at < end and self.text[self.at] in " \t":
            self.at += 1
        quote = self.text[self.at : self.at + 1]
        if quote in ("'", '"') and quote:
            return self.quoted(quote)
        raw = self.text[self.at : end]
        comment = re.search(r"(^|[ \t])#", raw)
        value = self.expand((raw[: comment.start()] if comment else raw).strip())
        self.at = end + 1
        return value

    def quoted(self, quote: str) -> str:
        close = self.at + 1
        while close < len(self.text) and self.text[close] != quote:
            close += 2 if self.text[close] == "\\" else 1
        if close >= len(self.text):
            raise self.bad(f"the quote {quote} is not closed")
        raw = self.text[self.at + 1 : close]
        value = raw.replace("\\'", "'") if quote == "'" else self.unescape(raw)
        self.at = close + 1
        rest = self.text[self.at : self.line_end()].strip()
        if rest and not rest.startswith("#"):
            raise self.bad(f'unexpected "{rest[:20]}" after a quoted value')
        self.at = self.line_end() + 1
        return value

    def unescape(self, raw: str) -> str:
        """Escapes and variables of a double-quoted value; `\\$` is a dollar sign."""
        protected = raw.replace("\\$", "$$")
        return ESCAPED.sub(lambda found: ESCAPES.get(found[1], found[1]), self.expand(protected))

    def expand(self, text: str) -> str:
        def lookup(name: str) -> str | None:
            return self.values.get(name, self.around.get(name))

        try:
            return interpolate(text, lookup, lambda name: None)
        except BadVariable as error:
            raise self.bad(error.message, error.hint) from None
