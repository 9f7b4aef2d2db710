"""Finds the route of a path, with or without a version before it. aiohttp looks among the routes that begin
as a path does, and a version that is part of the route leaves that to be nothing: all of them would be tried.
"""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web

from agent.wire import PREFIX

_VERSION = re.compile(r"/v([0-9]+\.[0-9]+)(?=/)")


class Target:
    """What aiohttp's router reads of a request."""

    __slots__ = ("method", "path_safe")

    def __init__(self, method: str, path: str) -> None:
        self.method = method
        self.path_safe = path

    @property
    def rel_url(self) -> Target:
        return self


class Router(web.UrlDispatcher):
    """The version that a path begins with is the match's "version". Our own API has one of its own."""

    async def resolve(self, request: Any) -> web.UrlMappingMatchInfo:
        path = request.rel_url.path_safe
        found = _VERSION.match(path)
        if found is None or path.startswith(PREFIX, found.end()):
            return await super().resolve(request)
        match = await super().resolve(Target(request.method, path[found.end() :]))  # type: ignore[arg-type]
        match["version"] = found[1]
        return match
