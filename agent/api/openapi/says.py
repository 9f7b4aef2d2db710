"""What a row of the table says of its route, beside method, path and handler: the words of its query, its
body, its answer, and how it may fail. Values alone; `document` makes OpenAPI of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
FLAG_WORDS = ("1", "0", "true", "false", "yes", "no")


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a query. says: what it is for."""

    name: str
    says: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class Says:
    """What goes in and out.

    body: the shape of a JSON object, or the words for a body that is none. answer: the type of a JSON answer
    (of a tuple: one of them). lines: what each line of an answer that is lines of JSON may be. frames: what
    an answer of frames holds. upgraded: the same, of a connection that is taken over. With an answer and
    lines, the words of the query say which comes.
    fails: statuses of errors beside those of every route.
    """

    words: tuple[Word, ...] = ()
    body: Any = None
    answer: Any = None
    lines: tuple[Any, ...] = ()
    frames: str = ""
    upgraded: str = ""
    fails: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    handler: Handler
    says: Says


def text(name: str, says: str, *, is_required: bool = False) -> Word:
    schema = {"type": "string", **({"minLength": 1} if is_required else {})}
    return Word(name, says, schema, is_required)


def flag(name: str, says: str) -> Word:
    return Word(name, says, {"type": "string", "enum": list(FLAG_WORDS), "default": "0"})


def choice(name: str, says: str, choices: tuple[str, ...], *, default: str = "") -> Word:
    more = {"default": default} if default else {}
    return Word(name, says, {"type": "string", "enum": list(choices), **more}, not default)


def number(
    name: str,
    says: str,
    *,
    least: float = 0.0,
    most: float = 1e12,
    default: float | None = None,
    is_required: bool = False,
) -> Word:
    more = {} if default is None else {"default": default}
    return Word(name, says, {"type": "number", "minimum": least, "maximum": most, **more}, is_required)


def whole(name: str, says: str, *, least: int = 0, most: int = 10**9, default: int | None = None) -> Word:
    more = {} if default is None else {"default": default}
    return Word(name, says, {"type": "integer", "minimum": least, "maximum": most, **more})
