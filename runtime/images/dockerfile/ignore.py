"""`.dockerignore`: which paths of a context a build does not see. Pure, and linear in the path.

    *.log      in the root alone          **/*.log   in every directory
    build      it and all below it        !build/keep.txt   taken in again: the last line that fits decides

The rules are those of moby's patternmatcher, its oddities included, but that `[^a]` takes no slash here.
`--exclude` of COPY and ADD reads the same patterns.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from runtime.images.dockerfile import globs, limits
from runtime.images.dockerfile.automaton import Automaton, Repeat, Token
from runtime.images.dockerfile.problems import DockerfileInvalid, Mistake, Problem

_BYTE_ORDER_MARK = "\ufeff"
Matched = tuple[bool, ...]


def file_names(dockerfile: str) -> tuple[str, ...]:
    """The file to read, first that is there: `Dockerfile.dockerignore` beside it, or the context's."""
    return (f"{dockerfile}.dockerignore", ".dockerignore")


def read_ignore(data: bytes, name: str = ".dockerignore") -> Ignore:
    """`DockerfileInvalid` with every bad line."""
    if len(data) > limits.FILE_BYTES:
        raise DockerfileInvalid(name, [Problem(1, 0, f"larger than {limits.FILE_BYTES // 1024} KiB")])
    patterns: list[_Pattern] = []
    problems: list[Problem] = []
    text = data.decode(errors="surrogateescape").removeprefix(_BYTE_ORDER_MARK)
    for number, line in enumerate(text.split("\n"), 1):
        try:
            patterns += _patterns([_line(line)])
        except Mistake as mistake:
            problems.append(Problem(number, 0, mistake.text, mistake.hint))
        if len(patterns) > limits.IGNORE_PATTERNS:
            problems.append(Problem(number, 0, f"more than {limits.IGNORE_PATTERNS} patterns"))
            break
    if problems:
        raise DockerfileInvalid(name, problems)
    return Ignore(patterns)


def patterns_of(words: Iterable[str]) -> Ignore:
    """Patterns that are given one by one, as of --exclude. `Mistake` for a bad one."""
    return Ignore(_patterns(words))


class Ignore:
    """Patterns in order. Paths are relative, clean, with slashes: `src/main.py`."""

    def __init__(self, patterns: list[_Pattern]) -> None:
        self._patterns = patterns
        self.has_exceptions = any(pattern.is_exception for pattern in patterns)

    def __len__(self) -> int:
        return len(self._patterns)

    def is_ignored(self, path: str) -> bool:
        """Of itself, or because a directory above it is."""
        parts = path.split("/")
        paths = ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
        is_ignored = False
        for pattern in self._patterns:
            if pattern.is_exception == is_ignored and any(map(pattern.matches, paths)):
                is_ignored = not pattern.is_exception
        return is_ignored

    def look(self, path: str, above: Matched = ()) -> tuple[bool, Matched]:
        """As is_ignored, for a walk: `above` is what it said of the directory that holds the path, () at
        the root of the context. Each pattern is then asked once a path."""
        is_ignored = False
        matched: list[bool] = []
        for number, pattern in enumerate(self._patterns):
            fits = (bool(above) and above[number]) or pattern.matches(path)
            matched.append(fits)
            if fits:
                is_ignored = not pattern.is_exception
        return is_ignored, tuple(matched)

    def may_hold_exceptions(self, directory: str) -> bool:
        """Whether something below an ignored directory can be taken in again; else a walk leaves it out."""
        return any(pattern.may_fit_below(directory) for pattern in self._patterns if pattern.is_exception)


class _Pattern:
    def __init__(self, cleaned: str, is_exception: bool) -> None:
        self.is_exception = is_exception
        self._fixed = globs.fixed_part(cleaned + "/")
        self._exact: str | None = None
        self._slashes: int | None = None
        found = _tokens(cleaned)
        if all(isinstance(token, str) for token in found):
            self._exact = "".join(token for token in found if isinstance(token, str))
        elif not any(token in (Repeat.DIRECTORIES, Repeat.ANY) for token in found):
            self._slashes = found.count("/")
        self._automaton = Automaton(found)

    def matches(self, path: str) -> bool:
        if self._exact is not None:
            return path == self._exact
        if self._slashes is not None and path.count("/") != self._slashes:
            return False
        return self._automaton.matches(path)

    def may_fit_below(self, directory: str) -> bool:
        """As far as its parts without wildcards say."""
        return f"{self._fixed}/".startswith(f"{directory}/") or f"{directory}/".startswith(
            f"{self._fixed}/" if self._fixed else ""
        )


def _line(line: str) -> str:
    """One line of the file as a pattern; "" for none. A comment begins with its first character."""
    if line.startswith("#"):
        return ""
    pattern = line.strip()
    is_exception = pattern.startswith("!")
    path = pattern[is_exception:].strip()
    if not path:
        return pattern
    cleaned = _clean(path)
    cleaned = cleaned[1:] if len(cleaned) > 1 and cleaned.startswith("/") else cleaned
    return f"!{cleaned}" if is_exception else cleaned


def _patterns(words: Iterable[str]) -> list[_Pattern]:
    found: list[_Pattern] = []
    for word in words:
        pattern = word.strip()
        if not pattern:
            continue
        pattern = _clean(pattern)
        is_exception = pattern.startswith("!")
        if pattern == "!":
            raise Mistake("a ! alone takes nothing in again", "write !PATTERN", word)
        globs.tokens(pattern[is_exception:])  # malformed ones are refused by the same rules
        found.append(_Pattern(pattern[is_exception:], is_exception))
    return found


def _clean(path: str) -> str:
    cleaned = posixpath.normpath(path)
    return "/" + cleaned.lstrip("/") if cleaned.startswith("/") else cleaned


def _tokens(pattern: str) -> list[Token]:
    """As filepath.Match, and `**`: any number of directories, or at the end everything."""
    if pattern == "**":
        return [Repeat.ANY]
    found: list[Token] = []
    at = 0
    while at < len(pattern):
        if pattern.startswith("**", at):
            begin = at
            at += 3 if pattern.startswith("/", at + 2) else 2
            if begin == 0 and _is_plain(pattern[2:]):
                return _any_suffix(pattern[2:])
            found.append(Repeat.ANY if at >= len(pattern) else Repeat.DIRECTORIES)
            continue
        token, at = globs.token(pattern, at)
        found.append(token)
    return found


def _any_suffix(suffix: str) -> list[Token]:
    """`**` before plain text: whatever ends in it. Before a slash also the rest alone: `**/a` is `a`, too."""
    return [Repeat.ANY, *suffix] if not suffix.startswith("/") else [Repeat.DIRECTORIES, *suffix[1:]]


def _is_plain(text: str) -> bool:
    return not any(character in "*?[]\\" for character in text)
