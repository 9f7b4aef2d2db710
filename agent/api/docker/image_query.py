"""What a request about images says beside its path: its version, flags, numbers. Raises Invalid."""

from __future__ import annotations

from aiohttp import web

from agent.api.docker.query_words import truth
from agent.api.docker.versions import NEWEST, parsed
from runtime.errors import Invalid


def is_on(request: web.Request, name: str, *, default: bool = False) -> bool:
    return truth(request.query, name, default=default)


def version_of(request: web.Request) -> tuple[int, int]:
    """The version of the API that the client speaks."""
    return parsed(request.match_info.get("version") or NEWEST)


def whole_word(request: web.Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query.get(name, "")
    if not text:
        return default
    try:
        value = int(text) if len(text) < 12 else most + 1
    except ValueError:
        raise Invalid("", "", f"{name}: {text[:20]!r} is not a whole number") from None
    if not least <= value <= most:
        raise Invalid("", "", f"{name} {value} is outside the range of [{least}, {most}]")
    return value
