"""Builds of Dockerfiles: the classic one, whose context is the body and whose answer is a stream, and the
prune and the cancel of all. BuildKit's clients come through `buildkit`. Thin: the engine builds.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from functools import partial

from aiohttp import web

from agent.api.build import MAX_CONTEXT_BYTES, is_gone
from agent.api.build_events import Ordered, run_build
from agent.api.context import Context
from agent.api.docker.answers import Forbidden, json_answer
from agent.api.docker.build_cache import Pruned, PruneWish, forget
from agent.api.docker.build_limits import whole
from agent.api.docker.build_logins import read_logins
from agent.api.docker.build_query import BuildQuery, read_query
from agent.api.docker.build_stream import DockerLines, Line, quiet_done, tagged
from agent.api.docker.filters import read_filters
from agent.api.docker.json_lines import write_json_lines
from agent.api.docker.stamps import read_moment
from agent.api.requests import context_of, is_root
from agent.api.sockets.images import check_base, known_as
from agent.api.sockets.quota import build_with_limits, building
from agent.api.unnamed_file import receive
from agent.api.ways import scope_of
from runtime.build_caller import BuildCaller
from runtime.builds import new_id
from runtime.errors import Invalid, SetpointError
from runtime.images.registry.credentials import Credential
from runtime.model import ImageInfo

AUX_SINCE = (1, 30)
_PRUNE_WORDS = ("all", "filters", "keep-storage", "reserved-space", "max-used-space", "min-free-space")


async def build(request: web.Request) -> web.StreamResponse:
    """POST /build. An error before the first line is an answer of its own. A client that leaves ends it."""
    context = context_of(request)
    query = _fenced(request, read_query(request.query, new_id(), is_trusted=is_root(request)))
    logins = read_logins(request.headers.get("X-Registry-Config", ""))
    ordered = Ordered(query.order, query.limits, _caller(request, logins, query.build_id))
    with building(context, scope_of(request), query.limits):
        return await _build(request, context, ordered, query)


async def _build(
    request: web.Request, context: Context, ordered: Ordered, query: BuildQuery
) -> web.StreamResponse:
    if not query.has_body:
        return await write_json_lines(request, _lines(request, context, ordered, query))
    directory = context.settings.layout.data
    descriptor = await receive(request, directory, "build image", MAX_CONTEXT_BYTES, "a context of ")
    try:
        place = f"/proc/{os.getpid()}/fd/{descriptor}"
        ordered = replace(ordered, order=replace(query.order, context=place))
        return await write_json_lines(request, _lines(request, context, ordered, query))
    finally:
        os.close(descriptor)


def _fenced(request: web.Request, query: BuildQuery) -> BuildQuery:
    """At a scoped socket: its builds share no cache with others', who would take what its steps left in
    a cache's directory, or fetched from a name that they gave another address."""
    scope = scope_of(request)
    if scope is None:
        return query
    if query.order.cache_from:
        raise Forbidden(f"cachefrom is not allowed at the socket {scope.name}")
    limits = build_with_limits(scope, query.limits)
    return replace(query, order=replace(query.order, space=scope.name), limits=limits)


def _caller(request: web.Request, logins: dict[str, Credential], build_id: str) -> BuildCaller:
    async def credential(domain: str) -> Credential | None:
        return known_as(request, logins.get(domain))

    scope = scope_of(request)
    return BuildCaller(
        credential=credential if logins or scope is not None else None,
        name=_own_name(request, build_id),
        check_image=partial(check_base, scope) if scope is not None else None,
    )


async def _lines(
    request: web.Request, context: Context, ordered: Ordered, query: BuildQuery
) -> AsyncGenerator[Line, None]:
    """What the client is told. With q: the image's id alone, or all that was said before an error."""
    lines, held = DockerLines(), list[Line]()
    events = run_build(context, ordered, lambda: is_gone(request))
    async with contextlib.aclosing(events):
        try:
            async for event in events:
                if isinstance(event, ImageInfo):
                    for line in _end(lines, event, query, with_aux=_has_aux(request)):
                        yield line
                    continue
                for line in lines.of(event):
                    if query.is_quiet:
                        held = [*held[-999:], line]
                    else:
                        yield line
        except SetpointError as error:
            if not lines.is_begun:
                raise
            for line in held:
                yield line
            yield lines.failed(error)


def _end(lines: DockerLines, image: ImageInfo, query: BuildQuery, *, with_aux: bool) -> list[Line]:
    if query.is_quiet:
        return [quiet_done(image)]
    return [*lines.done(image, with_aux=with_aux), *tagged(query.order.tags)]


def _has_aux(request: web.Request) -> bool:
    version = request.match_info.get("version", "")
    return not version or tuple(map(int, version.split("."))) >= AUX_SINCE


# --- what is kept of builds -------------------------------------------------------------------------


async def prune(request: web.Request) -> web.StreamResponse:
    """POST /build/prune. `all` changes nothing: every step that is kept is one of the user's builds."""
    wish = _prune_wish(request)
    engine = context_of(request).engine
    pruned = await forget(engine, wish, time.time()) if wish is not None else Pruned((), 0)
    return json_answer({"CachesDeleted": list(pruned.keys), "SpaceReclaimed": pruned.space_bytes})


def _prune_wish(request: web.Request) -> PruneWish | None:
    """None for steps with a label: there are none. `docker system prune --filter label=…` asks for them."""
    for name in request.query:
        if name not in _PRUNE_WORDS:
            raise Invalid("read request", name[:40], "a prune has no such option")
    found = read_filters(request.query.get("filters", ""), ("until", "unused-for", "id", "label", "label!"))
    until = (*found.get("until", ()), *found.get("unused-for", ()))
    ids = found.get("id", ())
    if len(until) > 1 or len(ids) > 1:
        raise Invalid("", "", "conflicting filters: until and unused-for, or one of them twice")
    words = [request.query.get(name, "") for name in ("keep-storage", "reserved-space")]
    for name in ("max-used-space", "min-free-space"):
        if whole(request.query.get(name, "") or "0", name):
            raise Invalid("prune build cache", name, "not known here", "reserved-space is what stays")
    keep = max(whole(word or "0", "keep-storage") for word in words)
    now = time.time()
    unused = max(0.0, now - read_moment(until[0], now)) if until else 0.0
    return None if "label" in found else PruneWish(unused, keep, ids[0] if ids else "")


def _own_name(request: web.Request, name: str) -> str:
    """What a client calls its build is no name of another's, who calls it the same."""
    scope = scope_of(request)
    return f"{scope.name} {name}" if scope is not None and name else name


async def cancel(request: web.Request) -> web.StreamResponse:
    """POST /build/cancel?id= of a build that was given that name. One that is not there has ended."""
    name = request.query.get("id", "")
    if not name:
        raise Invalid("", "", "build ID not provided")
    context_of(request).engine.builds.cancel(_own_name(request, name))
    return web.Response(status=200, headers={"Content-Type": "application/json"})


async def session(request: web.Request) -> web.StreamResponse:
    from agent.api.docker.buildkit.entry import session  # late: not every agent builds

    return await session(request)


async def grpc(request: web.Request) -> web.StreamResponse:
    from agent.api.docker.buildkit.entry import grpc

    return await grpc(request)
