"""Lists of containers, and what they are filtered by."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from agent.api.at_once import at_once_or
from agent.api.context import Context
from agent.api.docker import container_view, port_filters
from agent.api.docker.answers import json_answer
from agent.api.docker.container_sizes import sizes_of
from agent.api.docker.filters import fits_labels, flag_of, read_filters
from agent.api.docker.finding import find_container
from agent.api.docker.looking import look_at, networks_by_name, volume_paths
from agent.api.docker.name_patterns import fits_pattern
from agent.api.docker.port_filters import fits_ports
from agent.api.requests import context_of, flag, whole
from agent.api.ways import is_seen
from runtime.errors import Invalid, NotFound
from runtime.model import ContainerState, ImageInfo

_LIST_FILTERS = """
ancestor before expose exited health id is-task isolation label name network publish since status volume
"""
LIST_FILTERS = frozenset(_LIST_FILTERS.split())
WORDS = {
    "status": frozenset(("created", "running", "paused", "restarting", "removing", "exited", "dead")),
    "health": frozenset(("starting", "healthy", "unhealthy", "none")),
}


async def _list_with_sizes(request: web.Request) -> web.Response:
    context = context_of(request)
    listed = _listed(request)
    sizes = await sizes_of(context, [state for state, _view in listed])
    return json_answer([view | size for (_state, view), size in zip(listed, sizes, strict=True)])


@at_once_or(_list_with_sizes)
def list_containers(request: web.Request) -> web.Response | None:
    """?all= ?limit= ?size= ?filters=. Newest first."""
    if flag(request, "size"):
        return None
    return json_answer([view for _state, view in _listed(request)])


def _listed(request: web.Request) -> list[tuple[ContainerState, dict[str, Any]]]:
    context = context_of(request)
    filters = read_filters(request.query.get("filters", ""), LIST_FILTERS)
    check_words(filters)
    limit = whole(request, "limit", 0, least=-1) or 0
    is_all = flag(request, "all") or limit > 0 or "status" in filters or "exited" in filters
    now, paths, networks = time.time(), volume_paths(context), networks_by_name(context)
    seen = [state for state in context.engine.list() if is_seen(request, state.labels)]
    states = sorted(seen, key=lambda state: (-state.created_at, state.id))
    states = _between(request, states, filters)
    found: list[tuple[ContainerState, dict[str, Any]]] = []
    for state in states:
        if not is_all and state.phase not in ("running", "paused"):
            continue
        if not _fits_names(state, filters):
            continue
        view = container_view.summary(look_at(context, state, networks), now, paths)
        if not _fits(context, view, state, filters):
            continue
        found.append((state, view))
        if 0 < limit <= len(found):
            break
    return found


def check_words(filters: Mapping[str, tuple[str, ...]]) -> None:
    """Invalid for a state that no container can be in: an empty list would look like an answer."""
    for name, values in filters.items():
        for value in values:
            is_known = value in WORDS[name] if name in WORDS else True
            if name == "exited":
                is_known = value.removeprefix("-").isdecimal()
            if name in port_filters.FIELDS:
                port_filters.read_ports(name, value)
            if not is_known:
                raise Invalid("", "", f"invalid filter '{name}={value[:40]}'")


def _between(
    request: web.Request, states: list[ContainerState], filters: Mapping[str, tuple[str, ...]]
) -> list[ContainerState]:
    for name in ("before", "since"):
        for reference in filters.get(name, ()):
            other = find_container(context_of(request), reference)
            if not is_seen(request, other.labels):
                raise NotFound("", "", f"No such container: {reference[:128]}")
            at = other.created_at
            states = [s for s in states if (s.created_at < at if name == "before" else s.created_at > at)]
    return states


def _fits_names(state: ContainerState, filters: Mapping[str, tuple[str, ...]]) -> bool:
    """What costs nothing to look at."""
    names, ids = filters.get("name", ()), filters.get("id", ())
    if names and not any(_matches_name(state.name, name) for name in names):
        return False
    return not ids or any(state.id.startswith(id) for id in ids)


def _matches_name(name: str, wanted: str) -> bool:
    """To Docker's daemon a container's name begins with a slash, which may be said or not."""
    return fits_pattern(name, wanted) or ("/" in wanted and fits_pattern(f"/{name}", wanted))


def _fits(
    context: Context, view: Mapping[str, Any], state: ContainerState, filters: Mapping[str, tuple[str, ...]]
) -> bool:
    if not fits_labels(view["Labels"], filters.get("label", ())):
        return False
    if (words := filters.get("status")) and view["State"] not in words:
        return False
    codes, healths = filters.get("exited"), filters.get("health")
    if codes and (view["State"] != "exited" or str(state.exit_code) not in codes):
        return False
    if healths and view.get("Health", {}).get("Status", "none") not in healths:
        return False
    if flag_of(filters, "is-task"):
        return False
    return (
        _fits_image(context, view, filters.get("ancestor", ()))
        and _fits_networks(view, filters.get("network", ()))
        and _fits_volumes(view, filters.get("volume", ()))
        and fits_ports(view["Ports"], filters)
    )


def _fits_image(context: Context, view: Mapping[str, Any], wanted: tuple[str, ...]) -> bool:
    """Of the image, or of one made of it: by its layers."""
    if not wanted:
        return True
    own: ImageInfo | None = context.engine.image(view["ImageID"]) if view["ImageID"] else None
    for reference in wanted:
        other: ImageInfo | None = context.engine.image(reference)
        if other is None:
            continue
        if other.id == view["ImageID"]:
            return True
        if own is not None and other.layers and own.layers[: len(other.layers)] == other.layers:
            return True
    return False


def _fits_networks(view: Mapping[str, Any], wanted: tuple[str, ...]) -> bool:
    networks = view["NetworkSettings"]["Networks"]
    known = {*networks, *(endpoint["NetworkID"] for endpoint in networks.values())}
    return not wanted or any(name in known for name in wanted)


def _fits_volumes(view: Mapping[str, Any], wanted: tuple[str, ...]) -> bool:
    known = {
        text
        for mount in view["Mounts"]
        for text in (mount.get("Name", ""), mount["Destination"], mount["Source"])
    }
    return not wanted or any(name in known for name in wanted)
