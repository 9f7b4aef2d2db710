"""Routes to an OpenAPI 3.1 document. Pure.

What OpenAPI 3.1 has no word for is told by extensions: `x-line`, the schema of each line of an answer that is
lines of JSON, as `itemSchema` of 3.2; `x-frames`, what an answer of frames holds.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from agent.api.openapi.derive import Schema, schema_of
from agent.api.openapi.says import Route, Says, Word
from agent.api.openapi.shapes.host import Error
from agent.wire import PREFIX

ALWAYS = (400, 403, 503)  # what was asked makes no sense; a web page asks; the disk or the store is not there
OF_BODIES = (408, 413, 415)
ABOUT = """Setpoint's own API, on the agent's UNIX socket and where it listens by TCP.

A key in a path is project/kind/name, project/name or name. A word of a query that a route does not name is
refused. Errors have one shape, in a stream as its last line or frame."""
_WHERE = re.compile(r"\{(\w+)[^}]*\}")
_IN_PATH = {"key": "project/kind/name, project/name or name", "id": "an id, or its first digits"}


def document_of(routes: Iterable[Route], version: str) -> dict[str, Any]:
    """The whole document. ValueError for a route whose handler does not say what it does."""
    named: dict[str, Schema] = {}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = PREFIX + _WHERE.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, named)
    schema_of(Error, named)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Setpoint", "version": version, "description": ABOUT},
        "paths": paths,
        "components": {"schemas": dict(sorted(named.items()))},
    }


def _operation(route: Route, named: dict[str, Schema]) -> dict[str, Any]:
    said = inspect.cleandoc(route.handler.__doc__ or "")
    if not said:
        raise ValueError(f"{route.method} {route.path}: its handler does not say what it does")
    says = route.says
    summary = re.split(r"(?<=[^.])[.:](?:\s|$)", said.replace("\n", " "), maxsplit=1)[0].removesuffix(".")
    inside = [_parameter(Word(name, _IN_PATH[name], _OF_PATH, True), "path") for name in _names(route.path)]
    body = {} if says.body is None else {"requestBody": _body(says, named)}
    return {
        "operationId": _name(route),
        "summary": summary,
        "description": said,
        "parameters": inside + [_parameter(word, "query") for word in says.words],
        **body,
        "responses": _responses(says, named),
    }


def _name(route: Route) -> str:
    """GET /objects/{key} is get_objects_key."""
    words = re.findall(r"[a-z]+", _WHERE.sub(r"\1", route.path))
    return "_".join((route.method.lower(), *words))


_OF_PATH = {"type": "string", "minLength": 1}


def _names(path: str) -> list[str]:
    return _WHERE.findall(path)


def _parameter(word: Word, where: str) -> dict[str, Any]:
    return {
        "name": word.name,
        "in": where,
        "description": word.says,
        "required": word.is_required,
        "schema": dict(word.schema),
    }


def _body(says: Says, named: dict[str, Schema]) -> dict[str, Any]:
    """An object of JSON, of which no field is unknown, or bytes."""
    if isinstance(says.body, str):
        return {"description": says.body, "content": {"application/octet-stream": {}}}
    reference = schema_of(says.body, named)
    schema = named[reference["$ref"].rpartition("/")[2]]
    schema["additionalProperties"] = False
    return {"required": bool(schema["required"]), "content": {"application/json": {"schema": reference}}}


def _responses(says: Says, named: dict[str, Schema]) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    if says.answer is not None:
        answers["application/json"] = {"schema": schema_of(says.answer, named)}
    if says.lines:
        line = schema_of((*says.lines, Error), named)
        answers["application/x-ndjson"] = {"schema": {"type": "string"}, "x-line": line}
    if says.frames:
        answers["application/octet-stream"] = {"x-frames": says.frames}
    found: dict[str, Any] = {}
    if answers:
        found["200"] = {"description": "as asked", "content": answers}
    if says.upgraded:
        found["101"] = {"description": says.upgraded}
    failing = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for status in sorted({*ALWAYS, *(OF_BODIES if says.body is not None else ()), *says.fails}):
        found[str(status)] = {"description": HTTPStatus(status).phrase, "content": failing}
    return found
