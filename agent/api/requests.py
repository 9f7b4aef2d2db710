"""What a request says, as values: query words to numbers and flags, bodies to JSON. Raises Invalid,
which names the word, for whatever does not fit.
"""

from __future__ import annotations

import math
import re
import socket
import struct
from typing import Any

from aiohttp import web

from agent.api.context import CONTEXT, Context
from agent.api.docker.bodies import read_json
from agent.api.openapi.says import FLAG_WORDS, Word
from agent.api.views import resolve
from agent.api.ways import scope_of
from runtime.errors import Invalid
from store.records import Key

MAX_WAIT_SECONDS = 86400.0
MAX_MOMENT = 253_402_300_799.0  # the last that a date can say (the year 9999)
_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?")


def context_of(request: web.Request) -> Context:
    return request.app[CONTEXT]


def key_of(request: web.Request) -> Key:
    """The object that the path names."""
    context = context_of(request)
    return resolve(request.match_info["key"], context.keys(), context.loop.objects())


def check_query(request: web.Request, words: tuple[Word, ...]) -> None:
    """What a query says is of its route's words, each once and as it may be: before anything is looked at."""
    known = {word.name: word for word in words}
    for name in request.query:
        if name not in known:
            hint = f"it knows {', '.join(known)}" if known else "it knows none"
            raise Invalid("read request", name[:40], "not a word of this query", hint)
        if len(request.query.getall(name)) > 1:
            raise Invalid("read request", name, "it is there twice")
        _check_word(request, known[name])


def _check_word(request: web.Request, word: Word) -> None:
    schema = word.schema
    if schema.get("enum") == list(FLAG_WORDS):
        flag(request, word.name)
    elif "enum" in schema:
        choice(request, word.name, tuple(schema["enum"]))
    elif schema["type"] in ("number", "integer"):
        read = whole if schema["type"] == "integer" else number
        read(request, word.name, least=schema["minimum"], most=schema["maximum"])


def number(
    request: web.Request, name: str, default: float | None = None, *, least: float = 0.0, most: float = 1e12
) -> float | None:
    text = request.query.get(name)
    if text is None:
        return default
    if not _NUMBER.fullmatch(text):
        raise Invalid("read request", name, f"{text[:40]!r} is not a number")
    value = float(text)
    if not math.isfinite(value) or not least <= value <= most:
        raise Invalid("read request", name, f"{text[:40]} is not between {least:g} and {most:g}")
    return value


def whole(
    request: web.Request, name: str, default: int | None = None, *, least: int = 0, most: int = 10**9
) -> int | None:
    value = number(request, name, default, least=least, most=most)
    if value is None:
        return None
    if value != int(value):
        raise Invalid("read request", name, f"{value:g} is not a whole number")
    return int(value)


def choice(request: web.Request, name: str, choices: tuple[str, ...], default: str = "") -> str:
    text = request.query.get(name, default)
    if text not in choices:
        raise Invalid("read request", name, f"{text[:40]!r} is none of {', '.join(choices)}")
    return text


def flag(request: web.Request, name: str) -> bool:
    """Clients of the Docker Engine API write "False" (docker-py), or nothing at all, for no."""
    text = request.query.get(name, "0").lower() or "0"
    if text not in FLAG_WORDS:
        raise Invalid("read request", name, f"{text[:40]!r} is neither yes nor no", ", ".join(FLAG_WORDS))
    return text in ("1", "true", "yes")


async def json_of(request: web.Request, shape: type) -> dict[str, Any]:
    """The body, a JSON object with no field but those of the shape; {} for an empty one. What its content
    type is, the guards have looked at."""
    body = await request.read()
    data = read_json(body) if body else {}
    for name in data:
        if name not in shape.__annotations__:
            known = ", ".join(shape.__annotations__)
            raise Invalid("read request", name[:40], "not a field of this body", f"it knows {known}")
    return data


def strings_of(data: dict[str, Any], name: str) -> tuple[str, ...]:
    """A field that is a list of strings; () when it is not there."""
    value = data.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) and "\0" not in item for item in value):
        raise Invalid("read request", name, "not a list of strings")
    return tuple(value)


def text_of(data: dict[str, Any], name: str) -> str:
    value = data.get(name, "")
    if not isinstance(value, str) or "\0" in value:
        raise Invalid("read request", name, "not a string")
    return value


def flag_of(data: dict[str, Any], name: str, *, default: bool = False) -> bool:
    value = data.get(name, default)
    if not isinstance(value, bool):
        raise Invalid("read request", name, "neither true nor false")
    return value


def whole_of(data: dict[str, Any], name: str, *, most: int = 65535) -> int:
    value = data.get(name, 0)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise Invalid("read request", name, f"not a whole number from 0 to {most}")
    return value


def is_root(request: web.Request) -> bool:
    """Whether the process at the other end of the socket is root's (SO_PEERCRED, unix(7)). At a scoped socket
    nobody is: root of a container that it is mounted into has the same number."""
    if scope_of(request) is not None:
        return False
    connection = request.transport.get_extra_info("socket") if request.transport else None
    if connection is None:
        return False
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return bool(struct.unpack("3i", credentials)[1] == 0)
