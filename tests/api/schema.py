"""The definition of the Docker Engine API as checks of answers. Reads one file of tests/data; no network.

faults("GET", "/v1.45/info", 200, "application/json", data) -> what is wrong with it, a line each
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml

DATA = Path(__file__).resolve().parents[1] / "data/docker-engine-api/v1.52.yaml"
OLDER = Path(__file__).with_name("older_fields.yaml")
VERSION = re.compile(r"^/v[0-9]+\.[0-9]+(?=/)")
RANGES = {"int64": (-(2**63), 2**63), "uint64": (0, 2**64), "uint32": (0, 2**32), "uint16": (0, 2**16)}
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
# Streams of JSON lines, for which the definition has a type but no schema at the path.
LINES = {
    ("POST", "/images/create"): "CreateImageInfo",
    ("POST", "/images/{name}/push"): "PushImageInfo",
    ("POST", "/images/load"): "BuildInfo",
    ("POST", "/build"): "BuildInfo",
    ("GET", "/events"): "EventMessage",
    ("GET", "/containers/{id}/stats"): "ContainerStatsResponse",
}
CHECKER = jsonschema.FormatChecker(formats=())


def is_lines(method: str, path: str) -> bool:
    """Whether the answer is one JSON value after another."""
    return (method, _template(method, path)) in LINES


def faults(method: str, path: str, status: int, content_type: str, data: Any) -> list[str]:
    """What is wrong with an answer. data: its body; with `is_lines`, one of its values. Of paths that the
    definition does not have, and of answers that it has no schema for, only errors are checked."""
    template = _template(method, path)
    if template is None:
        return []
    if status >= 400:
        schema: Mapping[str, Any] = {"$ref": "#/definitions/ErrorResponse", "required": ["message"]}
    else:
        responses = _definition()["paths"][template][method.lower()]["responses"]
        if str(status) not in responses:
            return [f"a status that the definition does not have: {status}"]
        name = LINES.get((method, template))
        given = {"$ref": f"#/definitions/{name}"} if name else responses[str(status)].get("schema")
        if given is None or given.get("format") == "binary":
            return []
        schema = given
    found = [] if "json" in content_type else [f"Content-Type is {content_type!r}"]
    if "text/plain" in content_type and schema.get("type") == "string":
        return []
    whole = {"definitions": _definition()["definitions"], "allOf": [_converted(schema)]}
    for error in jsonschema.Draft7Validator(whole, format_checker=CHECKER).iter_errors(data):
        leaves = [leaf for leaf in _leaves(error) if not _was_null(method, template, leaf)]
        found += [_line(leaf) for leaf in leaves]
    if status < 400:
        found += _unknown(method, template, schema, data)
    return found


# --- the definition -------------------------------------------------------------------------------


@functools.cache
def _definition() -> dict[str, Any]:
    """The whole file, its types in JSON Schema's words, statuses as text."""
    data = yaml.load(DATA.read_text(), Loader=yaml.CSafeLoader)
    data["definitions"] = {name: _converted(schema) for name, schema in data["definitions"].items()}
    for operations in data["paths"].values():
        for operation in operations.values():
            operation["responses"] = {str(code): answer for code, answer in operation["responses"].items()}
    return dict(data)


@functools.cache
def _patterns() -> list[tuple[str, re.Pattern[str], frozenset[str]]]:
    """(path of the definition, what fits it, methods), what is fixed first."""
    rows = []
    for path, operations in _definition()["paths"].items():
        pieces = re.split(r"(\{[^}]+\})", path)
        text = "".join(".+" if piece.startswith("{") else re.escape(piece) for piece in pieces)
        rows.append((path, re.compile(text), frozenset(method.upper() for method in operations)))
    return sorted(rows, key=lambda row: row[0].count("{"))


@functools.lru_cache(4096)
def _template(method: str, path: str) -> str | None:
    path = VERSION.sub("", path.partition("?")[0])
    fits = ((p, methods) for p, pattern, methods in _patterns() if pattern.fullmatch(path))
    return next((p for p, methods in fits if method in methods), None)


@functools.cache
def _validator(schema: str) -> Any:
    """Kept: making one reads the whole definition."""
    whole = {"definitions": _definition()["definitions"], "allOf": [_converted(json.loads(schema))]}
    return jsonschema.Draft7Validator(whole, format_checker=CHECKER)


def _converted(schema: Any) -> Any:
    """A schema of Swagger 2.0 as JSON Schema: x-nullable also means null, and so does what Go writes for
    an empty optional field."""
    if isinstance(schema, list):
        return [_converted(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {
        name: {field: _converted(value) for field, value in inner.items()}
        if name == "properties"
        else (inner if name in ("example", "enum", "description", "default") else _converted(inner))
        for name, inner in schema.items()
        if name not in ("example", "description", "title", "default")
    }
    if schema.get("x-nullable") is True:
        return {"anyOf": [{"type": "null"}, plain]}
    return plain


# --- what is wrong --------------------------------------------------------------------------------


def _leaves(error: Any) -> Iterator[Any]:
    """The innermost errors: of `anyOf` with null, those of the other branch."""
    inner = [e for e in error.context or () if e.validator != "type" or e.validator_value != "null"]
    if not inner:
        yield error
    for one in inner:
        yield from _leaves(one)


def _line(error: Any) -> str:
    where = ".".join(str(part) for part in error.absolute_path) or "the answer"
    return f"{where}: {error.message[:300]}"


def _is_in_range(name: str, value: object) -> bool:
    low, high = RANGES[name]
    return not isinstance(value, int) or low <= value < high


def _is_moment(value: object) -> bool:
    """RFC 3339 with up to nine digits of a second; "" is what a daemon writes for none."""
    return not isinstance(value, str) or value == "" or MOMENT.fullmatch(value) is not None


for _name in RANGES:
    CHECKER.checks(_name)(functools.partial(_is_in_range, _name))
for _name in ("dateTime", "date-time"):
    CHECKER.checks(_name)(_is_moment)


# --- fields that the definition does not have -----------------------------------------------------


@functools.cache
def _older() -> dict[str, str]:
    """ "METHOD path field.*.field" -> why it is there all the same."""
    return dict(yaml.safe_load(OLDER.read_text()) or {})


def _was_null(method: str, template: str, leaf: Any) -> bool:
    """A field that older versions write as null when there is nothing to say; the newest leaves it out."""
    where = ".".join("*" if isinstance(part, int) else str(part) for part in leaf.absolute_path)
    return leaf.instance is None and f"{method} {template} {where}" in _older()


def _unknown(method: str, template: str, schema: Mapping[str, Any], data: Any) -> list[str]:
    """Fields that nobody reads, mistyped ones most of all."""
    found = sorted(set(_extra(_converted(schema), data, "")))
    return [
        f"{where}: a field that the definition does not have (an older version's? then {OLDER.name})"
        for where in found
        if f"{method} {template} {where}" not in _older()
    ]


def _extra(schema: Any, data: Any, where: str) -> Iterator[str]:
    if isinstance(data, list):
        items = _fields(schema, "items")
        for item in data:
            for one in items:
                yield from _extra(one, item, f"{where}.*" if where else "*")
    if not isinstance(data, dict):
        return
    known: dict[str, Any] = {}
    for properties in _fields(schema, "properties"):
        known |= properties
    others = _fields(schema, "additionalProperties")
    for name, value in data.items():
        is_open = name not in known and (others or not known)
        inner = f"{where}.{'*' if is_open else name}" if where else ("*" if is_open else name)
        if name in known:
            yield from _extra(known[name], value, inner)
        elif others:
            for one in others:
                yield from _extra(one, value, inner)
        elif known:
            yield inner


def _fields(schema: Any, word: str) -> list[Any]:
    """All that a schema says under that word, through references, `allOf` and `anyOf`."""
    if not isinstance(schema, dict):
        return []
    if reference := schema.get("$ref"):
        return _fields(_definition()["definitions"][reference.rpartition("/")[2]], word)
    found = [schema[word]] if word in schema else []
    for inner in (*schema.get("allOf", ()), *schema.get("anyOf", ())):
        found += _fields(inner, word)
    return found
