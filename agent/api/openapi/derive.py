"""Types as JSON Schema (2020-12): the shapes, and the dataclasses that answers are made of. Pure.

Named types become entries of `named` and are referred to, so that each is in the document once.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, get_args, get_origin

Schema = dict[str, Any]
_PLAIN: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    bytes: {"type": "string", "contentEncoding": "base64"},
    type(None): {"type": "null"},
    Any: {},
    object: {},
}


@dataclasses.dataclass(frozen=True, slots=True)
class Merged:
    """One JSON object with the fields of several types."""

    name: str
    parts: tuple[type, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class ListOf:
    item: Merged


def schema_of(kind: Any, named: dict[str, Schema]) -> Schema:
    """The schema of a value of that type: a TypedDict, a dataclass, a plain one, or any of a tuple."""
    if isinstance(kind, tuple):
        return _any_of([schema_of(each, named) for each in kind])
    if isinstance(kind, ListOf):
        return {"type": "array", "items": schema_of(kind.item, named)}
    if isinstance(kind, Merged):
        return _reference(kind.name, kind.parts, named)
    if kind in _PLAIN:
        return dict(_PLAIN[kind])
    if dataclasses.is_dataclass(kind) or typing.is_typeddict(kind):
        return _reference(kind.__name__, (kind,), named)
    arguments = get_args(kind)
    match get_origin(kind):
        case typing.Annotated:
            return {**schema_of(arguments[0], named), "description": str(arguments[1])}
        case typing.Literal:
            return {"enum": list(arguments)}
        case typing.Union | types.UnionType:
            return _any_of([schema_of(each, named) for each in arguments])
        case origin if isinstance(origin, type):
            return _collection(origin, arguments, named)
    raise TypeError(f"no schema for {kind!r}")


def _any_of(schemas: list[Schema]) -> Schema:
    if all(set(each) == {"type"} for each in schemas):
        return {"type": [each["type"] for each in schemas]}
    return {"anyOf": schemas}


def _collection(origin: type, arguments: tuple[Any, ...], named: dict[str, Schema]) -> Schema:
    if issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": schema_of(arguments[1], named)}
    if issubclass(origin, tuple) and ... not in arguments:
        items = [schema_of(each, named) for each in arguments]
        return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}
    if issubclass(origin, Sequence):
        return {"type": "array", "items": schema_of(arguments[0], named)}
    raise TypeError(f"no schema for {origin!r}")


def _reference(name: str, parts: tuple[type, ...], named: dict[str, Schema]) -> Schema:
    if name not in named:
        named[name] = {}  # it may hold itself
        named[name] = _object(parts, named)
    return {"$ref": f"#/components/schemas/{name}"}


def _object(parts: tuple[type, ...], named: dict[str, Schema]) -> Schema:
    properties: Schema = {}
    required: list[str] = []
    for part in parts:
        for field, kind in typing.get_type_hints(part, include_extras=True).items():
            is_optional = get_origin(kind) is NotRequired
            properties[field] = schema_of(get_args(kind)[0] if is_optional else kind, named)
            if not is_optional:
                required.append(field)
    said = inspect.cleandoc(parts[0].__doc__ or "")
    about = {"description": said} if said and not said.startswith("dict(") else {}
    return {"type": "object", **about, "properties": properties, "required": sorted(set(required))}
