"""A Dockerfile's text to statements: directives, comments, continued lines, here-documents. Pure.

    text ─> Directives, Statement (one instruction: its text, its lines, its documents), mistakes, remarks

Called by stages.py; syntax.py reads what a statement says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from runtime.images.dockerfile import documents, limits, words
from runtime.images.dockerfile.instructions import HereDocument, Place
from runtime.images.dockerfile.problems import Mistake, Problem, shown

_DIRECTIVE = re.compile(r"#[ \t]*([a-zA-Z][a-zA-Z0-9]*)[ \t]*=[ \t]*(\S.*)", re.DOTALL)
_DIRECTIVES = ("syntax", "escape", "check")
_WITH_DOCUMENTS = frozenset({"RUN", "COPY", "ADD"})
_BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True, slots=True)
class Directives:
    """The parser directives, `# name=value` at the top. syntax and check are kept as they stand and do
    nothing: no frontend from outside is ever run."""

    syntax: str = ""
    escape: str = "\\"
    check: str = ""


@dataclass(frozen=True, slots=True)
class Statement:
    """place.text: continued lines joined, comments left out, no space around it."""

    place: Place
    documents: tuple[HereDocument, ...] = ()


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that works and should not be so. line counts from 1."""

    line: int
    text: str


@dataclass(slots=True)
class Lines:
    """What was read. Mutable while it is read, by read_lines alone."""

    directives: Directives = Directives()
    statements: list[Statement] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    given: set[str] = field(default_factory=set)  # names of directives


def read_lines(text: str) -> Lines:
    """Everything up to the first line or number of lines that is too long; that is then the last problem."""
    found = Lines()
    physical = text.removeprefix(_BYTE_ORDER_MARK).split("\n")
    _check_lengths(physical, found)
    if found.problems:
        return found
    lines = iter(enumerate(physical, 1))
    may_be_directive = True
    for number, raw in lines:
        line = raw.rstrip("\r").lstrip()
        if may_be_directive:
            may_be_directive = _read_directive(found, number, line)
        if not line or line.startswith("#"):
            continue
        if len(found.statements) == limits.INSTRUCTIONS:
            found.problems.append(Problem(number, 0, f"more than {limits.INSTRUCTIONS} instructions"))
            break
        indent = len(raw.rstrip("\r")) - len(line)
        try:
            statement = _continued(found, lines, number, indent + 1, line)
        except Mistake as mistake:
            found.problems.append(Problem(number, 0, mistake.text, mistake.hint))
            break
        if statement is not None:
            found.statements.append(_with_documents(found, lines, statement))
    return found


def _check_lengths(physical: list[str], found: Lines) -> None:
    for number, line in enumerate(physical, 1):
        if len(line) > limits.LINE_CHARACTERS:
            text = f"a line of more than {limits.LINE_CHARACTERS} characters"
            found.problems.append(Problem(number, 0, text, "continue it on the next with a \\ at its end"))
            return


def _read_directive(found: Lines, number: int, line: str) -> bool:
    """Whether the next line may be a directive, too: only as long as there was nothing else."""
    match = _DIRECTIVE.fullmatch(line)
    name = match[1].lower() if match else ""
    if match is None or name not in _DIRECTIVES:
        return False
    if name in found.given:
        found.problems.append(Problem(number, 0, f"the directive {name} is given twice", "keep one"))
        return True
    found.given.add(name)
    value = match[2].rstrip()
    if name == "escape" and value not in ("\\", "`"):
        found.problems.append(Problem(number, 0, f"{shown(value)} is no escape character", "it is \\ or `"))
        return True
    found.directives = replace(found.directives, **{name: value})
    return True


def _continued(
    found: Lines, lines: Iterator[tuple[int, str]], number: int, column: int, line: str
) -> Statement | None:
    """The line with those that follow while it ends in the escape. None when nothing is left of it."""
    escape = found.directives.escape
    pieces: list[str] = []
    marks: list[tuple[int, int, int]] = []
    length, last, has_gap = 0, number, False
    piece, goes_on = _without_continuation(line, escape)
    while True:
        marks.append((length, last, column))
        pieces.append(piece)
        length += len(piece)
        if length > limits.STATEMENT_CHARACTERS or len(pieces) > limits.CONTINUED_LINES:
            most = f"{limits.STATEMENT_CHARACTERS} characters or {limits.CONTINUED_LINES} lines"
            raise Mistake(f"an instruction of more than {most}", "put it into a file and COPY that")
        following = _next_line(lines) if goes_on else None
        if following is None:
            break
        has_gap |= following.has_gap
        last, column = following.number, 1
        piece, goes_on = _without_continuation(following.text, escape)
    if has_gap:
        found.remarks.append(Remark(number, "an empty line in a continued instruction"))
    text = "".join(pieces).rstrip()
    return Statement(Place(number, last, text, tuple(marks))) if text else None


@dataclass(frozen=True, slots=True)
class _Following:
    number: int
    text: str
    has_gap: bool


def _next_line(lines: Iterator[tuple[int, str]]) -> _Following | None:
    """The next line that is neither a comment nor empty."""
    has_gap = False
    for number, raw in lines:
        text = raw.rstrip("\r")
        content = text.lstrip()
        if content and not content.startswith("#"):
            return _Following(number, text, has_gap)
        has_gap |= not content
    return None


def _without_continuation(line: str, escape: str) -> tuple[str, bool]:
    """An escape at the end continues the line; two of them are one escaped, and do not."""
    trimmed = line.rstrip(" \t")
    if trimmed.endswith(escape) and not trimmed.endswith(escape * 2):
        return trimmed[:-1], True
    return line, False


def _with_documents(found: Lines, lines: Iterator[tuple[int, str]], statement: Statement) -> Statement:
    if "<<" not in statement.place.text:
        return statement
    try:
        heads = _heads(statement.place.text)
    except Mistake as mistake:
        found.problems.append(Problem(*statement.place.position(mistake.word), mistake.text, mistake.hint))
        return statement
    last = statement.place.last
    read: list[HereDocument] = []
    for head in heads:
        document, last = _read_document(lines, head, last)
        if document is None:
            text = f"the here-document {shown(head.name)} has no end"
            hint = f"add a line with {head.name} alone"
            found.problems.append(Problem(*statement.place.position(f"<<{head.name}"), text, hint))
            break
        read.append(document)
    return Statement(replace(statement.place, last=last), tuple(read))


def _heads(text: str) -> tuple[documents.Head, ...]:
    """The documents of a RUN, COPY or ADD, or of an ONBUILD with one of them, in shell form."""
    parts = words.split(text)
    if parts.keyword == "ONBUILD":
        parts = words.split(parts.rest)
    if parts.keyword not in _WITH_DOCUMENTS or words.json_words(parts.rest) is not None:
        return ()
    return documents.heads(parts.rest)


def _read_document(
    lines: Iterator[tuple[int, str]], head: documents.Head, last: int
) -> tuple[HereDocument | None, int]:
    """The document and its last line; None when the file ends before it."""
    content: list[str] = []
    for number, line in lines:
        last = number
        candidate = line.rstrip("\r")
        if (candidate.lstrip("\t") if head.is_chomped else candidate) == head.name:
            raw = "".join(f"{one}\n" for one in content)
            kept = documents.chomped(raw) if head.is_chomped else raw
            return HereDocument(head.name, kept, raw, head.is_expanded, head.is_chomped), last
        content.append(line)
    return None, last
