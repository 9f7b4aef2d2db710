"""Environment variables of a service: `environment`, and the files that `env_file` names.

A file's content counts, not its path: the variables go into the spec, and with it into its hash.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any

from agent.manifest.env_file import BadEnvFile, read_env_file, read_raw_env_file
from agent.manifest.nodes import Mapping, Node, Scalar, Sequence
from agent.manifest.parse_values import Parser, boolean, choice, fields, filled, items, pairs, text
from agent.manifest.reading import Reading, Refuse

NAME = re.compile(r"[^=\0]+")


def environment(r: Reading, node: Node) -> dict[str, str | None]:
    """A name without a value takes the one around (`.env`). None when there is none: the container is to be
    without it, whatever its image says."""
    result: dict[str, str | None] = {}
    for name, (value, item) in pairs(r, node).items():
        if not NAME.fullmatch(name):
            raise Refuse(f'"{name}" is not a name of a variable', at=item)
        if value is None:
            value = r.variables.get(name)
        if value is not None and "\0" in value:
            raise Refuse(f'"{name}" holds a NUL byte', at=item)
        result[name] = value
    return result


def env_file(r: Reading, node: Node) -> dict[str, str]:
    """The variables of all the files, the last one first in rank."""
    entries = node.items if isinstance(node, Sequence) else [node]
    whole = Sequence(list(entries), node.line, node.column)
    result: dict[str, str] = {}
    for values in items(r, whole, _entry):
        result |= values
    return result


FIELDS: dict[str, Parser[Any]] = {"path": filled, "required": boolean, "format": choice("raw")}


def _entry(r: Reading, node: Node) -> dict[str, str]:
    if isinstance(node, Scalar):
        return _file(r, node, text(r, node), required=True, raw=False)
    values = fields(r, node, FIELDS, required=("path",))
    assert isinstance(node, Mapping)
    at = node.entries["path"].value
    return _file(r, at, values["path"], required=values.get("required", True), raw="format" in values)


def _file(r: Reading, at: Node, path: str, *, required: bool, raw: bool) -> dict[str, str]:
    inside = posixpath.normpath(posixpath.join(r.directory, path))
    if path.startswith(("/", "~")) or inside.startswith("../") or inside == "..":
        raise Refuse(f'"{path}" is outside of the manifests', "keep the file beside them", at)
    data = r.other_file(inside)
    if data is None:
        if required:
            hint = "write required: false if it may be missing; such files are named .env, *.env or .env.*"
            raise Refuse(f'file "{inside}" does not exist', hint, at)
        return {}
    try:
        return read_raw_env_file(data) if raw else read_env_file(data, r.variables)
    except BadEnvFile as error:
        raise Refuse(f"{inside}:{error.line}: {error.message}", error.hint, at) from None
