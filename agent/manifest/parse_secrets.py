"""Secrets of builds: a compose file's `secrets:` section, `build.secrets`, `build.ssh`.

A value is never read here: a spec says where it is, and the build reads it when it begins.
"""

from __future__ import annotations

import re
from typing import Any

from agent.manifest.nodes import Mapping, Node, Scalar
from agent.manifest.parse_values import (
    Broken,
    Parser,
    boolean,
    did_you_mean,
    fields,
    filled,
    guard,
    items,
    matching,
    pairs,
    text,
)
from agent.manifest.reading import Reading, Refuse
from agent.manifest.spec import BuildSecret

_ID = r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}"
_id = matching(_ID, "a letter or digit, then letters, digits, '_', '.' or '-'")
_variable = matching(r"[a-zA-Z_][a-zA-Z0-9_]{0,254}", "a variable's name")
_HINT = "file: PATH, or environment: VARIABLE"


def _file(r: Reading, node: Node) -> str:
    return r.host_path(filled(r, node))


def _not_external(r: Reading, node: Node) -> bool:
    if isinstance(node, Mapping) or boolean(r, node):
        raise Refuse("no other place keeps secrets for Setpoint", _HINT)
    return False


def _rights(r: Reading, node: Node) -> None:
    hint = "RUN --mount=type=secret,id=ID,mode=0440,uid=1000"
    raise Refuse("who may read a secret of a build, its Dockerfile says", hint)


SOURCE_FIELDS: dict[str, Parser[Any]] = {"environment": _variable, "file": _file}
SECTION_FIELDS: dict[str, Parser[Any]] = SOURCE_FIELDS | {
    "external": _not_external,
    "labels": lambda r, node: None,  # nothing here looks at them
    "name": text,
}
_SECTION_LACKING = ("driver", "driver_opts", "template_driver")
ITEM_FIELDS: dict[str, Parser[Any]] = SOURCE_FIELDS | {"source": _id, "target": _id}
_RIGHTS = ("gid", "mode", "uid")


def read_section(r: Reading, node: Node) -> dict[str, BuildSecret | None]:
    """A compose file's secrets by their names; None for those with an error, which is noted."""
    if not isinstance(node, Mapping):
        raise Refuse("needs a mapping of names", _HINT)
    found: dict[str, BuildSecret | None] = {}
    for name, entry in node.entries.items():
        if name.startswith("x-"):
            continue
        guard(r, entry.key, _id, f'"{name[:60]}": ')
        found[name] = guard(r, entry.value, _declared, f'"{name[:60]}": ')
    return found


def _declared(r: Reading, node: Node) -> BuildSecret:
    errors_before = len(r.errors)
    values = fields(r, node, SECTION_FIELDS, lacking=_SECTION_LACKING)
    if len(r.errors) > errors_before:
        raise Broken
    return _source(values)


def _source(values: dict[str, Any]) -> BuildSecret:
    given = {name: values[name] for name in SOURCE_FIELDS if name in values}
    if len(given) != 1:
        raise Refuse("needs a file or a variable, and one of them alone", _HINT)
    return BuildSecret(**given)


def secrets(r: Reading, node: Node) -> dict[str, BuildSecret]:
    """id -> where it is. An item is a secret's name, or a mapping; one with a source of its own needs no
    section, which compose does not have."""
    found: dict[str, BuildSecret] = {}
    for id, source in items(r, node, _item):
        if id in found:
            raise Refuse(f'"{id}" is given twice', "keep one of them")
        found[id] = source
    return found


def _item(r: Reading, node: Node) -> tuple[str, BuildSecret]:
    if isinstance(node, Scalar):
        name = _id(r, node)
        return name, _of_section(r, name)
    errors_before = len(r.errors)
    table = ITEM_FIELDS | dict.fromkeys(_RIGHTS, _rights)
    values = fields(r, node, table, required=("source",))
    if len(r.errors) > errors_before:
        raise Broken
    name = values["source"]
    is_own = not values.keys().isdisjoint(SOURCE_FIELDS)
    return values.get("target", name), _source(values) if is_own else _of_section(r, name)


def _of_section(r: Reading, name: str) -> BuildSecret:
    if name not in r.secrets:
        hint = did_you_mean(name, r.secrets) or f"secrets: {{{name}: {{file: PATH}}}}, beside services:"
        raise Refuse(f'no secret is named "{name}"', hint)
    found = r.secrets[name]
    if found is None:  # its error is noted
        raise Broken
    return found


def ssh(r: Reading, node: Node) -> dict[str, str]:
    """id -> a socket, "" for that of the agent's own ssh agent. A list of `id` or `id=socket`, a mapping, or
    one id."""
    if isinstance(node, Scalar):
        return {_id(r, node): ""}
    found: dict[str, str] = {}
    for id, (value, at) in pairs(r, node).items():
        if not re.fullmatch(_ID, id):
            raise Refuse(f'"{id[:60]}" is not the id of an ssh agent', "default, or a name", at)
        if "," in (value or ""):
            raise Refuse("several keys", "one socket of an ssh agent that has them", at)
        found[id] = r.host_path(value) if value else ""
    return found
