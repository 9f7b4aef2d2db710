"""Networks: listed, shown, made, removed. Who is on them: `network_members`."""

from __future__ import annotations

import time
from collections.abc import Awaitable

from aiohttp import web

from agent.api.at_once import at_once, begun_at_once
from agent.api.context import Context
from agent.api.docker import wishes
from agent.api.docker.answers import Forbidden, json_answer, no_content
from agent.api.docker.attempts import Attempt
from agent.api.docker.bodies import json_body
from agent.api.docker.completing import completed
from agent.api.docker.filters import fits_labels, read_filters
from agent.api.docker.finding import check_owner
from agent.api.docker.network_body import spec_of
from agent.api.docker.network_finding import (
    containers_of,
    find_network,
    networks_of,
    running_on,
)
from agent.api.docker.network_ids import network_id
from agent.api.docker.network_view import FILTERS, Seen, fits, summary
from agent.api.docker.network_view import inspect as view_of
from agent.api.docker.stamps import read_moment
from agent.api.requests import context_of
from agent.api.sockets.quota import claim
from agent.api.ways import scope_of
from agent.manifest.spec import NetworkSpec
from agent.policy.quota import Use
from agent.reconcile.api_objects import API_OWNER, API_PROJECT
from agent.reconcile.convert import stored_name
from agent.reconcile.inventory import spec_of as stored_spec
from runtime.errors import Conflict, Invalid, NotFound, SetpointError
from store.records import Key

DIED_SECONDS = 30.0  # between a call and the next start, of an agent that died over it
PRUNE_FILTERS = frozenset(("until", "label", "label!"))
_BOOLEANS = frozenset(["1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"])


@at_once
def list_networks(request: web.Request) -> web.Response:
    """?filters="""
    context = context_of(request)
    filters = read_filters(request.query.get("filters", ""), FILTERS)
    asks_use = "dangling" in filters
    return json_answer(
        [
            summary(seen)
            for seen in networks_of(context)
            if fits(seen, filters, is_used=asks_use and bool(containers_of(context, seen)))
        ]
    )


@at_once
def inspect(request: web.Request) -> web.Response:
    """?verbose= (there are no services to show), ?scope="""
    context, reference = context_of(request), request.match_info["id"]
    verbose = request.query.get("verbose", "")
    if verbose and verbose not in _BOOLEANS:
        raise Invalid("", "", f"invalid value for verbose: {verbose[:40]}")
    if request.query.get("scope", "local") not in ("", "local"):
        raise NotFound("", "", f"network {reference[:128]} not found")
    seen = find_network(context, reference)
    return json_answer(view_of(seen, running_on(context, seen)))


@begun_at_once
async def create(request: web.Request) -> web.Response:
    """Returns when it is there."""
    context, spec = context_of(request), spec_of(await json_body(request))
    key = Key(API_PROJECT, "network", spec.name)
    await _going_is_gone(context, key)
    # No wait between this look and the wish: of many that ask for one name, one gets it.
    wish = None
    if not _asked_before(context, key, spec):
        if spec.name in _names(context):
            raise Conflict("", "", f"network with name {spec.name} already exists")
        claim(context, scope_of(request), Use(networks=1))
        wish = wishes.put(context, key, spec)
    await _make(context, key, spec, wish)
    id = network_id(context.settings.layout.instance, spec.name)
    return json_answer({"Id": id, "Warning": ""}, 201)


def _asked_before(context: Context, key: Key, spec: NetworkSpec) -> bool:
    """The very same call, made to an agent that died over it a moment ago: its client was not answered, asks
    again, and is to have what he asked for. Nobody can be on that network yet."""
    record = context.loop.objects().get(key)
    if record is None or record.deleting or record.owner != API_OWNER or stored_spec(record) != spec:
        return False
    is_of_the_last = 0 <= context.started_at - record.updated_at < DIED_SECONDS
    return is_of_the_last and not context.loop.users_of(key)


async def _going_is_gone(context: Context, key: Key) -> None:
    """One of that name that is on its way out goes first."""
    while (record := context.loop.objects().get(key)) is not None and record.deleting:
        await wishes.wait(context, key, lambda: _is_not_going(context, key), "create network")


def _is_not_going(context: Context, key: Key) -> bool:
    record = context.loop.objects().get(key)
    return record is None or not record.deleting


def _names(context: Context) -> set[str]:
    """Of all networks that there are, and of those that are wanted."""
    wanted = {
        stored_name(key, record.spec)
        for key, record in context.loop.objects().items()
        if key.kind == "network" and not record.spec.get("external")
    }
    return {state.name for state in context.engine.list_networks()} | wanted


async def _make(context: Context, key: Key, spec: NetworkSpec, wish: Awaitable[object] | None) -> None:
    def is_made() -> bool:
        return any(state.name == spec.name for state in context.engine.list_networks())

    async def let_go(_why: Exception) -> None:
        await wishes.let_go(context, key)

    try:
        await Attempt(context, key, "create network", is_made, let_go).come_true(wish)
    except SetpointError as error:
        if "overlaps" in error.reason:
            reason = error.reason.partition(": ")[2] or error.reason
            raise Forbidden(f"Pool overlaps with other one on this address space ({reason})") from None
        raise


# --- removed --------------------------------------------------------------------------------------


@begun_at_once
async def remove(request: web.Request) -> web.Response:
    """Returns when it is gone."""
    context = context_of(request)
    seen = find_network(context, request.match_info["id"])
    if seen.is_built_in:
        raise Forbidden(f"{seen.name} is a pre-defined network and cannot be removed")
    check_owner("remove network", seen.name, seen.record)
    _check_unused(context, seen)
    await _remove(context, seen)
    return no_content()


async def _remove(context: Context, seen: Seen) -> None:
    """No wait between the caller's look at who uses it and this."""
    if seen.key is not None and seen.record is not None:
        await wishes.let_go(context, seen.key)
        return
    await completed(_delete(context, seen.name))  # nothing wants it: of a database that was lost


async def _delete(context: Context, name: str) -> None:
    await context.engine.delete_network(name)
    context.loop.things_changed()


def _check_unused(context: Context, seen: Seen) -> None:
    failed = f"error while removing network: network {seen.name}"
    if running := running_on(context, seen):
        names = ", ".join(state.name for state in running[:5])
        raise Forbidden(f"{failed} id {seen.id} has active endpoints ({names})")
    if stopped := containers_of(context, seen):
        # Docker's daemon removes it, and the container can never be started again.
        names = ", ".join(state.name for state in stopped[:5])
        raise Forbidden(f"{failed} id {seen.id} is that of {names}: remove or disconnect them first")
    if seen.key is not None and (coming := context.loop.users_of(seen.key)):
        raise Forbidden(
            f"{failed} id {seen.id} has active endpoints (of {coming[0].name}, which is being made)"
        )


async def prune(request: web.Request) -> web.Response:
    """?filters= Networks that no manifest wants and that no container is on, running or not."""
    context = context_of(request)
    filters = read_filters(request.query.get("filters", ""), PRUNE_FILTERS)
    until = min((read_moment(text, time.time()) for text in filters.get("until", ())), default=None)
    deleted = []
    for seen in networks_of(context):
        if seen.is_built_in or not _is_free(seen):
            continue
        if until is not None and seen.created_at >= until:
            continue
        labels = seen.labels()
        if not fits_labels(labels, filters.get("label", ())):
            continue
        if any(fits_labels(labels, (text,)) for text in filters.get("label!", ())):
            continue
        if not containers_of(context, seen) and not (seen.key and context.loop.users_of(seen.key)):
            await _remove(context, seen)
            deleted.append(seen.name)
    return json_answer({"NetworksDeleted": deleted})


def _is_free(seen: Seen) -> bool:
    return seen.record is None or (seen.record.owner == API_OWNER and not seen.record.deleting)
