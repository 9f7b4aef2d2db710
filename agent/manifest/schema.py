"""JSON Schema of manifests, for editors: `setpoint schema > setpoint.schema.json`. Pure.

Looser than the reader: it knows fields and shapes, not what fits together. Names with `${VAR}` are let
through where a number or a size is meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.manifest.descriptions import CONTAINER, IMAGE, NETWORK, SECRET, SOCKET, VOLUME, Description
from agent.manifest.envelope import API_VERSION

DIALECT = "https://json-schema.org/draft/2020-12/schema"
EXTENSIONS: dict[str, Any] = {"^x-": {}}
SOURCES = ["image", "build"]  # of a container: at least one of them
NAME_PATTERN = r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$"


def envelope_schema() -> dict[str, Any]:
    """The schema of one document with apiVersion, kind, metadata and spec."""
    return {
        "$schema": DIALECT,
        "title": f"Setpoint object ({API_VERSION})",
        "oneOf": [
            _envelope("Container", CONTAINER, SOURCES),
            _envelope("Network", NETWORK, []),
            _envelope("Volume", VOLUME, []),
            _envelope("Image", IMAGE, ["image"]),
            _envelope("Socket", SOCKET, ["allow"]),
        ],
    }


def compose_schema() -> dict[str, Any]:
    """The schema of a compose file, as far as Setpoint reads it."""
    return {
        "$schema": DIALECT,
        "title": "Compose file, as Setpoint reads it",
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "version": {"type": ["string", "number"]},
            "services": _named(_object(CONTAINER, SOURCES)),
            "networks": _named({"oneOf": [{"type": "null"}, _object(NETWORK, [])]}),
            "volumes": _named({"oneOf": [{"type": "null"}, _object(VOLUME, [])]}),
            "secrets": _named(_object(SECRET, [])),
        },
        "patternProperties": EXTENSIONS,
        "additionalProperties": False,
    }


def _envelope(kind: str, fields: Mapping[str, Description], needed: list[str]) -> dict[str, Any]:
    text_map = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}}
    return {
        "type": "object",
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": kind},
            "metadata": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "pattern": NAME_PATTERN},
                    "project": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,62}$"},
                    "labels": text_map,
                },
                "required": ["name"],
                "additionalProperties": False,
            },
            "spec": _object(fields, needed) if needed else {"oneOf": [{"type": "null"}, _object(fields, [])]},
        },
        "required": ["apiVersion", "kind", "metadata", *(["spec"] if needed else [])],
        "patternProperties": EXTENSIONS,
        "additionalProperties": False,
    }


def _named(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "patternProperties": {NAME_PATTERN: entry} | EXTENSIONS,
        "additionalProperties": False,
    }


def _object(fields: Mapping[str, Description], needed: list[str]) -> dict[str, Any]:
    """needed: of these at least one must be there."""
    result: dict[str, Any] = {
        "type": "object",
        "properties": {name: _field(field) for name, field in sorted(fields.items())},
        "patternProperties": EXTENSIONS,
        "additionalProperties": False,
    }
    return result | ({"anyOf": [{"required": [name]} for name in needed]} if needed else {})


def _field(field: Description) -> dict[str, Any]:
    """A field's own schema, with the fields below it where it is one mapping of them."""
    schema: dict[str, Any] = dict(field.schema)
    if field.fields and not field.many and schema.get("type") == "object":
        schema = _object(field.fields, [])
    return schema | {"description": field.text}
