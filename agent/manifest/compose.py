"""A compose file to objects: every service a container, every network and volume it declares.

Called by the reader for one file at a time; whether names fit together is looked at in `checks`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from agent.manifest.files import PROJECT
from agent.manifest.hashing import hashes
from agent.manifest.nodes import Mapping, Node, Scalar
from agent.manifest.objects import Object, Where
from agent.manifest.parse_secrets import read_section
from agent.manifest.parse_values import Parser, guard, text, unknown_field
from agent.manifest.reading import Claim, Reading, Reference, Refuse
from agent.manifest.service import read_service
from agent.manifest.spec import AnySpec, ContainerSpec
from agent.manifest.topology import read_network, read_volume
from store.records import Key

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
NAME_HINT = "a letter or digit, then letters, digits, '_', '.' or '-'"
SECTIONS = ("services", "networks", "volumes")
LACKING = ("configs", "include", "models")
TOP_FIELDS = ("name", "version", "secrets", *SECTIONS)


@dataclass(frozen=True, slots=True)
class Found:
    """An object of one file, with what it says of others."""

    object: Object
    references: tuple[Reference, ...] = ()
    claims: tuple[Claim, ...] = ()


@dataclass(slots=True)
class Contents:
    """What one file holds. declared: the keys it names, those with errors included, and where."""

    found: list[Found] = field(default_factory=list)
    declared: dict[Key, Where] = field(default_factory=dict)
    inactive: set[Key] = field(default_factory=set)


def read_compose(r: Reading, document: Node, project: str, contents: Contents) -> None:
    """Add one document's objects to contents; problems are noted in r."""
    if not isinstance(document, Mapping):
        r.error(document, "a compose file must be a mapping", "it starts with services:")
        return
    for name, entry in document.entries.items():
        if name not in TOP_FIELDS and not name.startswith("x-"):
            r.error(entry.key, *unknown_field(name, TOP_FIELDS, LACKING))
    if "name" in document.entries:
        project = guard(r, document.entries["name"].value, project_name, "name: ") or project
    r.secrets = {}
    if "secrets" in document.entries:
        r.secrets = guard(r, document.entries["secrets"].value, read_section, "secrets: ") or {}
    for section, kind, parse in (
        ("networks", "network", read_network),
        ("volumes", "volume", read_volume),
        ("services", "container", read_service),
    ):
        if section in document.entries:
            _section(r, document.entries[section].value, section, kind, parse, project, contents)


def project_name(r: Reading, node: Node) -> str:
    value = text(r, node)
    if not PROJECT.fullmatch(value):
        raise Refuse(f'"{value}" is not a project\'s name', "lower-case letters, digits, '-' and '_'")
    return value


def _section(
    r: Reading,
    node: Node,
    section: str,
    kind: str,
    parse: Parser[AnySpec],
    project: str,
    contents: Contents,
) -> None:
    if not isinstance(node, Mapping):
        r.error(node, f"{section}: needs a mapping of names", "remove the line, or name something under it")
        return
    for name, entry in node.entries.items():
        if name.startswith("x-"):
            continue
        if not NAME.fullmatch(name):
            r.error(entry.key, f'{section}: "{name[:60]}" is not a name', NAME_HINT)
            continue
        add(r, Key(project, kind, name), entry.key, entry.value, parse, contents)


def add(
    r: Reading, key: Key, at: Scalar | Mapping, node: Node, parse: Parser[AnySpec], contents: Contents
) -> None:
    """Read one object into contents, unless its profile is not active."""
    where = Where(r.file, at.line, at.column)
    if key in contents.declared:
        first = contents.declared[key]
        message = f'{key.kind} "{key.name}" is declared twice, first at {first.line}:{first.column}'
        r.report(at.line, at.column, message, "keep one of them")
        return
    contents.declared[key] = where
    r.references, r.claims = [], []
    with r.about(f'{"service" if key.kind == "container" else key.kind} "{key.name}"'):
        spec = guard(r, node, parse)
    if spec is None:
        return
    if isinstance(spec, ContainerSpec) and not is_active(spec, r.options.profiles):
        contents.inactive.add(key)
        return
    found = Object(key, spec, where, *hashes(spec))
    contents.found.append(Found(found, tuple(r.references), tuple(r.claims)))


def is_active(spec: ContainerSpec, profiles: frozenset[str]) -> bool:
    return not spec.profiles or "*" in profiles or not profiles.isdisjoint(spec.profiles)
