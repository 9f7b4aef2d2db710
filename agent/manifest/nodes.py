"""The values that a YAML file is read into: scalars, sequences, mappings, each with its place.

Made by `yaml_nodes`, taken apart by the parsers. Lines and columns count from 1. Not frozen, since
making a frozen dataclass costs five times as much and a file has thousands; nobody changes one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

NULLS = frozenset(("", "~", "null", "Null", "NULL"))
TRUES = frozenset(("true", "True", "TRUE"))
FALSES = frozenset(("false", "False", "FALSE"))
INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


@dataclass(slots=True, eq=False)
class Scalar:
    """A leaf. plain: written without quotes, so that it may be a number, a boolean or null."""

    text: str
    plain: bool
    line: int
    column: int

    @property
    def is_null(self) -> bool:
        return self.plain and self.text in NULLS


@dataclass(slots=True, eq=False)
class Sequence:
    items: list[Node]
    line: int
    column: int


@dataclass(slots=True, eq=False)
class Entry:
    key: Scalar
    value: Node


@dataclass(slots=True, eq=False)
class Mapping:
    """Keys are texts, unique, in the file's order; merge keys (<<) are already merged."""

    entries: dict[str, Entry]
    line: int
    column: int


Node = Scalar | Sequence | Mapping
Kind = Literal["nothing", "text", "list", "mapping"]


def kind(node: Node) -> Kind:
    """What a node is, in words for people."""
    if isinstance(node, Mapping):
        return "mapping"
    if isinstance(node, Sequence):
        return "list"
    return "nothing" if node.is_null else "text"
