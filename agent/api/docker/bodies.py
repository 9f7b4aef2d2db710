"""Bodies of requests as values. What is checked here is what is executed: nothing reads the bytes again.

Duplicate keys, numbers beyond 64 bits or too large, depth over 64 and other encodings than UTF-8 are refused.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from runtime.errors import Invalid

MAX_DEPTH = 64
MAX_BRACKETS = 200_000
MAX_INTEGER = 2**63
JSON_TYPES = ("application/json",)
Amend = Callable[[dict[str, Any]], dict[str, Any]]
AMEND: web.RequestKey[Amend] = web.RequestKey("amend", Callable)  # type: ignore[arg-type]
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)  # or one without an end
_STEPS = bytes.maketrans(b"[{]}", b"\2\2\0\0")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))


async def json_body(request: web.Request) -> dict[str, Any]:
    """The body, a JSON object; {} for an empty one. Invalid for all others; 415 for another content type:
    a form that a browser can send without asking is not taken (CSRF)."""
    amend: Amend = request.get(AMEND, dict)  # what the scope of a socket writes into it, or refuses
    body = await request.read()
    if not body:
        return dict(amend({}))
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() not in JSON_TYPES:
        raise web.HTTPUnsupportedMediaType(reason="the body must be application/json")
    return dict(amend(read_json(body)))


def read_json(body: bytes) -> dict[str, Any]:
    """A JSON object. Invalid for what is none."""
    try:
        text = body.decode("utf-8")
        _check_depth(text)
        data = json.loads(
            text, object_pairs_hook=_object, parse_int=_integer, parse_float=_real, parse_constant=_constant
        )
        _check_halves(text, data)
    except (ValueError, RecursionError) as error:
        raise Invalid("read request", "body", f"not JSON: {str(error)[:100]}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise Invalid("read request", "body", "not a JSON object")
    return data


def _check_halves(text: str, data: Any) -> None:
    """Half of a pair of surrogates, as `"\\ud800"`, is no text: no file, argument or environment holds it."""
    if "\\u" not in text:
        return
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"{twice[:40]!r} is there twice")
    return found


def _integer(text: str) -> int:
    if len(text) > 20 or not -MAX_INTEGER <= (value := int(text)) < MAX_INTEGER:
        raise ValueError("a number beyond 64 bits")
    return value


def _constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _real(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError("a number that is too large")
    return value


def _check_depth(text: str) -> None:
    """Before parsing, which recurses: the brackets outside of strings. In steps that are Python's own, since
    4 MiB character by character would hold up everybody else."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    steps = _STRING.sub("", text).encode("ascii", "replace").translate(_STEPS, _NO_BRACKETS)
    if len(steps) > MAX_BRACKETS:
        raise ValueError(f"more than {MAX_BRACKETS} brackets")
    if max(itertools.accumulate(step - 1 for step in steps), default=0) > MAX_DEPTH:
        raise ValueError(f"deeper than {MAX_DEPTH}")


# --- fields; absent and null are the same, as they are to Go --------------------------------------


def text_of(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or "\0" in value:
        raise _refused(name, "a string")
    return value


def texts_of(data: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A list of strings."""
    value = data.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) and "\0" not in item for item in value):
        raise _refused(name, "a list of strings")
    return tuple(value)


def map_of(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = data.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _refused(name, "an object")
    return value


def text_map_of(data: Mapping[str, Any], name: str) -> dict[str, str]:
    found = map_of(data, name)
    if not all(isinstance(value, str) and "\0" not in value + key for key, value in found.items()):
        raise _refused(name, "an object of strings")
    return found


def list_of(data: Mapping[str, Any], name: str) -> list[Any]:
    value = data.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise _refused(name, "a list")
    return value


def whole_of(data: Mapping[str, Any], name: str, default: int = 0) -> int:
    value = data.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool):
        raise _refused(name, "a whole number")
    return value


def flag_of(data: Mapping[str, Any], name: str, *, default: bool = False) -> bool:
    value = data.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise _refused(name, "true or false")
    return value


def _refused(name: str, wanted: str) -> Invalid:
    return Invalid("read request", name, f"not {wanted}")
