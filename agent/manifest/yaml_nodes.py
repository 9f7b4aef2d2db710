"""Bytes of a YAML file to nodes with places. Called once per file; every byte is hostile.

PyYAML's C parser knows no cap but nesting (1,000 levels), so events are counted in C before a node is
made, aliases are counted as what they expand to, and a deep or endless document is refused. Tags
are refused but those of the core schema; nothing here makes a Python object of a tag's choice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml
from yaml.cyaml import CParser  # type: ignore[attr-defined]

from agent.manifest.nodes import Entry, Mapping, Node, Scalar, Sequence

MAX_FILE_BYTES = 1024 * 1024
MAX_NODES = 100_000
MAX_DEPTH = 64

CORE_TAGS = frozenset("tag:yaml.org,2002:" + name for name in ("int", "float", "bool", "null", "map", "seq"))
STRING_TAG = "tag:yaml.org,2002:str"
COMPOSE_TAGS = frozenset(("!reset", "!override"))
_EMPTY = yaml.ScalarNode("tag:yaml.org,2002:null", "")  # check_node() said that there is one
HINTS = {
    "cannot start any token": "indent with spaces, not tabs; quote a value that starts with @, ` or %",
    "mapping values are not allowed": "check the indentation, or quote a value that holds ': '",
    "did not find expected key": "check the indentation of this line and the one before",
    "could not find expected ':'": "a key needs a ':' and a space after it",
    "undefined alias": "an anchor (&name) must come before its alias (*name), in the same document",
    "duplicate anchor": "give each anchor a name of its own",
    "nesting depth": f"at most {MAX_DEPTH} levels",
    "unexpected end of stream": "a quote or a bracket is not closed",
}

Report = Callable[[int, int, str, str], None]
"""Takes line, column, message and hint of one error."""


class BadYaml(Exception):
    """The file cannot be read any further."""

    def __init__(self, line: int, column: int, message: str, hint: str = "") -> None:
        super().__init__(line, column, message, hint)
        self.line, self.column, self.message, self.hint = line, column, message, hint


class _Parser(CParser):
    """The C composer without resolvers: scalars are resolved where their field is known."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> None:
        return None

    def descend_resolver(self, node: Any, index: Any) -> None:
        return None

    def ascend_resolver(self) -> None:
        return None


def read_documents(data: bytes, report: Report) -> list[Node]:
    """The documents of a file, empty ones left out. Errors that leave the rest readable (a key given
    twice) go to report; the others are raised as BadYaml."""
    _check_bytes(data)
    documents: list[Node] = []
    try:
        if _Parser(data).raw_parse() > MAX_NODES:
            raise BadYaml(1, 1, f"too many values in one file (over {MAX_NODES})", "split the file")
        parser = _Parser(data)
        while parser.check_node():
            document = _Converter(report).convert(parser.get_node() or _EMPTY)
            if not (isinstance(document, Scalar) and document.is_null):
                documents.append(document)
    except yaml.reader.ReaderError as error:
        line, column = place_of(data, int(error.position))
        raise BadYaml(line, column, f"not valid YAML: {error.reason}") from None
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error) from None
    return documents


def place_of(data: bytes, offset: int) -> tuple[int, int]:
    """Line and column, from 1, of a byte."""
    before = data[:offset]
    return before.count(b"\n") + 1, offset - (before.rfind(b"\n") + 1) + 1


def _check_bytes(data: bytes) -> None:
    if len(data) > MAX_FILE_BYTES:
        raise BadYaml(1, 1, f"file is too large ({len(data)} bytes)", f"at most {MAX_FILE_BYTES} bytes")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadYaml(1, 1, "file is in UTF-16", "save it as UTF-8")
    if (nul := data.find(b"\0")) >= 0:
        raise BadYaml(*place_of(data, nul), "file holds a NUL byte", "save it as UTF-8 text")
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise BadYaml(*place_of(data, error.start), "file is not valid UTF-8", "save it as UTF-8") from None


def _syntax_error(error: yaml.MarkedYAMLError) -> BadYaml:
    mark = error.problem_mark or error.context_mark
    problem = error.problem or error.context or "cannot be read"
    if "duplicate anchor" in (error.context or ""):
        problem, error.context = "found duplicate anchor", None
    hint = next((hint for part, hint in HINTS.items() if part in problem), "")
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    context = f" {error.context}" if error.context and error.problem else ""
    return BadYaml(line, column, f"not valid YAML: {problem}{context}", hint)


class _Converter:
    """Nodes of one document. Shared (aliased) nodes stay shared, and are counted each time."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.count = 0
        self.done: dict[int, tuple[Node, int]] = {}  # id of a raw node -> what it became, its size
        self.open: set[int] = set()

    def convert(self, raw: yaml.Node, depth: int = 1) -> Node:
        if raw.tag is not None:
            self.check_tag(raw)
        if isinstance(raw, yaml.ScalarNode):
            self.grow(1)
            mark = raw.start_mark
            plain = not raw.style and raw.tag != STRING_TAG
            return Scalar(raw.value, plain, mark.line + 1, mark.column + 1)
        return self.collection(raw, depth)

    def collection(self, raw: yaml.Node, depth: int) -> Node:
        identity = id(raw)
        if identity in self.done:
            node, size = self.done[identity]
            self.grow(size)
            return node
        line, column = raw.start_mark.line + 1, raw.start_mark.column + 1
        if identity in self.open:
            raise BadYaml(line, column, "an anchor holds its own alias")
        if depth > MAX_DEPTH:
            raise BadYaml(line, column, "nested too deep", f"at most {MAX_DEPTH} levels")
        self.open.add(identity)
        before = self.count
        self.grow(1)
        node = self.sequence(raw, depth) if isinstance(raw, yaml.SequenceNode) else self.mapping(raw, depth)
        self.open.remove(identity)
        self.done[identity] = (node, self.count - before)
        return node

    def grow(self, size: int) -> None:
        self.count += size
        if self.count > MAX_NODES:
            raise BadYaml(
                1, 1, f"aliases expand to over {MAX_NODES} values", "write them out, or split the file"
            )

    def sequence(self, raw: yaml.Node, depth: int) -> Sequence:
        items = [self.convert(item, depth + 1) for item in raw.value]
        return Sequence(items, raw.start_mark.line + 1, raw.start_mark.column + 1)

    def mapping(self, raw: yaml.Node, depth: int) -> Mapping:
        entries: dict[str, Entry] = {}
        merged: list[Node] = []
        for raw_key, raw_value in raw.value:
            key = self.convert(raw_key, depth + 1)
            value = self.convert(raw_value, depth + 1)
            if not isinstance(key, Scalar):
                self.report(key.line, key.column, "a key must be a plain text", "")
            elif key.text == "<<" and key.plain:
                merged.append(value)
            elif key.text in entries:
                first = entries[key.text].key
                message = f'key "{key.text}" is given twice, first at {first.line}:{first.column}'
                self.report(key.line, key.column, message, "keep one of them")
            else:
                entries[key.text] = Entry(key, value)
        for value in merged:
            self.merge(entries, value)
        return Mapping(entries, raw.start_mark.line + 1, raw.start_mark.column + 1)

    def merge(self, entries: dict[str, Entry], value: Node) -> None:
        """What `<<` names comes after the mapping's own keys; of several, the first wins."""
        for source in value.items if isinstance(value, Sequence) else [value]:
            if not isinstance(source, Mapping):
                self.report(source.line, source.column, "<< needs a mapping, or a list of mappings", "")
                continue
            self.grow(len(source.entries))
            for name, entry in source.entries.items():
                entries.setdefault(name, entry)

    def check_tag(self, raw: yaml.Node) -> None:
        if raw.tag == STRING_TAG or raw.tag in CORE_TAGS:
            return
        line, column = raw.start_mark.line + 1, raw.start_mark.column + 1
        tag = raw.tag.replace("tag:yaml.org,2002:", "!!")
        if tag in COMPOSE_TAGS:
            self.report(line, column, f"tag {tag} is not supported yet", "")
        else:
            self.report(line, column, f"tag {tag} is not allowed", "remove the tag")
