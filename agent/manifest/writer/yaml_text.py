"""Plain values as YAML text that people like to read, and that the reader takes for the same. Pure.

Called by `documents`. Texts get quotes exactly where some reader of YAML (1.1 or 1.2) would take them for
something else, dollar signs are doubled, lines of a text become lines of the file.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Mapping
from typing import Any

import yaml

from agent.manifest.nodes import INTEGER, NUMBER

FLOW_WIDTH = 80
NEVER_FOLDED = 1 << 30
LETTERS = frozenset("yYnN")  # booleans of YAML 1.1, to some
_UNSEEN = frozenset(("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"))  # Unicode's general categories
OTHER_BREAKS = frozenset("\r\x85\u2028\u2029")


class Quoted(str):
    """A text that is always quoted, as people do for ports."""

    __slots__ = ()


class Flow(list[Any]):
    """A list on one line, where it is short: [a, b]."""


class _Dumper(yaml.SafeDumper):
    def choose_scalar_style(self) -> Any:
        """Double quotes where the emitter would take single ones."""
        style = super().choose_scalar_style()
        return '"' if style == "'" else style

    def ignore_aliases(self, data: Any) -> bool:
        """No anchors: each value is written where it is."""
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
        """Items of a list are indented below their field."""
        return super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    escaped = str(value).replace("$", "$$")
    style = None
    if _is_lines(escaped):
        style = "|"
    elif isinstance(value, Quoted) or _looks_otherwise(escaped):
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", escaped, style=style)


def _looks_otherwise(value: str) -> bool:
    """Whether some reader takes it for a number or a boolean without quotes."""
    return value in LETTERS or bool(INTEGER.fullmatch(value) or NUMBER.fullmatch(value))


def _is_lines(value: str) -> bool:
    """Whether it reads well, and the same, as a block of lines."""
    if "\n" not in value or not value.strip() or OTHER_BREAKS.intersection(value):
        return False
    lines = value.split("\n")
    return lines[0] != "" and all(line == line.strip() or line == line.rstrip() for line in lines)


def _flow(dumper: yaml.SafeDumper, value: Flow) -> yaml.Node:
    is_short = all("\n" not in str(item) for item in value) and sum(map(_width, value)) <= FLOW_WIDTH
    return dumper.represent_sequence("tag:yaml.org,2002:seq", list(value), flow_style=is_short)


def _width(item: object) -> int:
    return len(str(item)) + 4


def _nothing(dumper: yaml.SafeDumper, _value: None) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:null", "")


def _mapping(dumper: yaml.SafeDumper, value: Mapping[str, Any]) -> yaml.Node:
    """Keys as they are: variables are replaced in values alone."""
    pairs = [(_key(dumper, name), dumper.represent_data(item)) for name, item in value.items()]
    return yaml.MappingNode("tag:yaml.org,2002:map", pairs, flow_style=not pairs)


def _key(dumper: yaml.SafeDumper, name: str) -> yaml.Node:
    style = '"' if _looks_otherwise(name) or "\n" in name else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", name, style=style)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(Quoted, _text)
_Dumper.add_representer(Flow, _flow)
_Dumper.add_representer(dict, _mapping)
_Dumper.add_representer(type(None), _nothing)


def to_yaml(value: Mapping[str, Any]) -> str:
    """A mapping as a block, with a line feed at its end. What could hide or reorder text where it is shown is
    escaped."""
    text = _dumped(value, allow_unicode=True)
    if text.isascii() or not any(
        unicodedata.category(letter) in _UNSEEN for letter in text if letter != "\n"
    ):
        return text
    return _dumped(value, allow_unicode=False)


def _dumped(value: Mapping[str, Any], *, allow_unicode: bool) -> str:
    style = {"width": NEVER_FOLDED, "sort_keys": False, "default_flow_style": False}
    return str(yaml.dump(dict(value), Dumper=_Dumper, allow_unicode=allow_unicode, **style))  # type: ignore[call-overload]


def indented(text: str) -> str:
    return textwrap.indent(text, "  ")


def comment(text: str) -> str:
    """A line that readers pass over, whatever the text holds."""
    shown = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return f"# {shown}\n" if shown else "#\n"
