"""The one place where a scoped socket's scope decides: which route may be asked for, what of it is seen, and
what a body may say. A middleware behind the guards; requests of other sockets pass.

    route ─> permission ─> what it names is in scope ─> filters and bodies get the label ─> the handler
                                                                                         └> audit

What is out of scope is answered as if it were not there.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from agent.api.context import Context
from agent.api.docker.answers import Forbidden
from agent.api.docker.bodies import AMEND
from agent.api.docker.filters import read_filters
from agent.api.docker.finding import find_container
from agent.api.docker.network_finding import find_network
from agent.api.docker.overrides import HEADER as OVERRIDE
from agent.api.guards import Handler
from agent.api.requests import context_of
from agent.api.sockets import audit, bodies, images
from agent.api.sockets.scope import Scope
from agent.api.ways import scope_of
from agent.policy.permissions import needed
from agent.wire import PREFIX
from runtime.errors import Invalid, NotFound
from store.records import Key

FILTERED = frozenset((
    "/containers/json", "/containers/prune", "/networks", "/networks/prune", "/volumes", "/volumes/prune",
    "/events",
))  # fmt: skip
CLIENT_GONE = 499
TOLD_SECONDS = 60.0
BUILD_NETWORKS = frozenset(("", "default", "bridge", "none"))


@web.middleware
async def fence(request: web.Request, handler: Handler) -> web.StreamResponse:
    scope = scope_of(request)
    if scope is None:
        return await handler(request)
    begun, status, refused = time.monotonic(), 500, ""
    permission = permission_of(request)
    try:
        _check(request, scope, permission)
        response = await handler(_narrowed(request, scope))
        status = response.status
        return response
    except asyncio.CancelledError:
        status = CLIENT_GONE
        raise
    except Forbidden as error:
        status, refused = 403, error.reason
        _tell(request, scope, permission, refused)
        raise
    except (web.HTTPException, NotFound, Invalid) as error:
        status = getattr(error, "status", 404 if isinstance(error, NotFound) else 400)
        raise
    finally:
        line = audit.entry(request, permission, status, time.monotonic() - begun, refused)
        data = context_of(request).settings.layout.data
        await asyncio.shield(asyncio.to_thread(audit.write, data, scope.name, line))
        if request.method != "GET" and scope.seconds is not None:
            context_of(request).expiry.look_soon()


def path_of(request: web.Request) -> str:
    """The route's path as the tables have it; "" for what is no route."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else ""


def permission_of(request: web.Request) -> str | None:
    """What the request asks for; None for what no scoped socket has, as all of our own API."""
    path = path_of(request)
    if path.startswith(PREFIX):
        return None
    if path == "/images/create" and not request.query.get("fromImage"):
        return "images:change"
    return needed(request.method, path)


def _check(request: web.Request, scope: Scope, permission: str | None) -> None:
    """Forbidden, or NotFound for what is out of scope."""
    path = path_of(request)
    if not path and permission is None:
        return  # the router's own 404, or 405
    if not scope.permits(permission):
        what = permission or f"{request.method} {path}"
        raise Forbidden(f"{what} is not allowed at the socket {scope.name}")
    if OVERRIDE in request.headers:
        raise Forbidden(f"no manifest is overridden at the socket {scope.name}")
    _check_named(request, scope, path)
    _check_query(request, scope, path)


def _check_named(request: web.Request, scope: Scope, path: str) -> None:
    """What the path names: looked up once, and the handler gets the id that was found."""
    context, names = context_of(request), request.match_info
    if path.startswith("/containers/{id}"):
        names["id"] = container_in(context, scope, names["id"])
    elif path.startswith("/exec/{id}"):
        container_in(
            context, scope, context.execs.get(names["id"]).container, f"No such exec instance: {names['id']}"
        )
    elif path.startswith("/networks/{id}"):
        seen = find_network(context, names["id"])
        labels = seen.state.labels if seen.state is not None else {}
        if not scope.has(labels):
            raise NotFound("", "", f"network {names['id'][:128]} not found")
        names["id"] = seen.id
    elif path.startswith("/volumes/{name}"):
        volume_in(context, scope, names["name"])


def container_in(context: Context, scope: Scope, reference: str, missing: str = "") -> str:
    """The id of a container that is in scope."""
    state = find_container(context, reference)
    if not scope.has(state.labels):
        raise NotFound("", "", missing or f"No such container: {reference[:128]}")
    return state.id


def volume_in(context: Context, scope: Scope, name: str) -> None:
    state = context.engine.volume(name)
    if state is None or not scope.has(state.labels):
        raise NotFound("", "", f"get {name[:128]}: no such volume")


def _check_query(request: web.Request, scope: Scope, path: str) -> None:
    query, allow = request.query, scope.allow
    if path == "/commit":
        container_in(context_of(request), scope, query.get("container", ""))
    mode = query.get("networkmode", "")
    if path == "/build" and mode not in BUILD_NETWORKS and "network" not in allow.namespaces:
        raise Forbidden(f"the network {mode[:40]} for a build is not allowed at the socket {scope.name}")
    images.check_request(request, scope, path)


def _narrowed(request: web.Request, scope: Scope) -> web.Request:
    """The request as the handler sees it: its filters ask for the label, its body gets it."""
    path = path_of(request)
    if path in FILTERED:
        return _filtered(request, scope)
    request[AMEND] = lambda body: bodies.amended(request.method, path, body, scope, context_of(request))
    return request


def _filtered(request: web.Request, scope: Scope) -> web.Request:
    if request.body_exists:
        raise Invalid("", "", "no body is expected here")
    filters = with_label(request.query.get("filters", ""), scope.filter)
    query = [(name, value) for name, value in request.query.items() if name != "filters"]
    return request.clone(rel_url=request.rel_url.with_query([*query, ("filters", filters)]))


def with_label(text: str, label: str) -> str:
    """Filters that ask for a label too: all labels must fit. Pure."""
    try:
        names = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        raise Invalid("", "", "invalid filter: not JSON") from None
    found = read_filters(text, tuple(names)) if isinstance(names, Mapping) else {}
    filters: dict[str, Any] = {name: list(values) for name, values in found.items()}
    filters["label"] = [*filters.get("label", ()), label]
    return json.dumps(filters)


def _tell(request: web.Request, scope: Scope, permission: str | None, refused: str) -> None:
    """An event for what somebody may not do; of the same kind not more than one a minute, for the store is
    everybody's. The audit has them all."""
    told, now = context_of(request).refusals, time.monotonic()
    if now - told.get((scope.name, permission or ""), -TOLD_SECONDS) < TOLD_SECONDS:
        return
    told[scope.name, permission or ""] = now
    uid, _, pid = audit.peer(request)
    project, _, name = scope.name.partition("/")
    message = f"{request.method} {request.path[:100]} of uid {uid} (pid {pid}): {refused}"
    context_of(request).loop.note(Key(project, "socket", name), "Warning", "Refused", message)
