"""Words of a query. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from agent.api.docker.versions import NEWEST, parsed

_NO = frozenset({"", "0", "no", "false", "none"})


def truth(query: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    """As the daemon reads it: all but these words is yes, and an empty one is no."""
    value = query.get(name)
    return default if value is None else value.strip().lower() not in _NO


def is_on(request: web.BaseRequest, name: str, *, default: bool = False) -> bool:
    return truth(request.query, name, default=default)


def version_of(request: web.Request) -> tuple[int, int]:
    """The version of the API that the client speaks."""
    return parsed(request.match_info.get("version") or NEWEST)
