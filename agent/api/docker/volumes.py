"""Volumes: listed, shown, made, removed.

What the API makes it wants by a desired row, which keeps the data: nothing but a remove call takes it away.
A volume that no row wants (a container's own, one whose manifest is gone) is removed from the engine at once.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from pathlib import Path

from aiohttp import web

from agent.api.at_once import at_once, begun_at_once
from agent.api.context import Context
from agent.api.docker import wishes
from agent.api.docker.answers import json_answer, no_content
from agent.api.docker.attempts import Attempt
from agent.api.docker.bodies import json_body
from agent.api.docker.completing import completed
from agent.api.docker.filters import Filters, flag_of, read_filters
from agent.api.docker.finding import check_owner
from agent.api.docker.image_query import is_on, version_of
from agent.api.docker.volume_view import (
    FILTERS,
    PRUNE_FILTERS,
    check_options,
    fits,
    is_anonymous,
    spec_of,
    volume,
)
from agent.api.requests import context_of
from agent.api.sockets.bodies import admit_volume
from agent.api.sockets.quota import claim
from agent.api.sockets.scope import Scope
from agent.api.ways import scope_of
from agent.manifest.spec import VolumeSpec
from agent.policy.quota import Use
from agent.reconcile.api_objects import API_OWNER, API_PROJECT
from agent.reconcile.observe import key_of
from runtime import disk_use
from runtime.errors import Conflict, NotFound, Temporary
from runtime.model import VolumeState
from store.records import Key, ObjectRecord

COUNT_SECONDS = 2.0  # for all that a prune takes; what is not counted by then is said to be less
ANONYMOUS_ALONE = (1, 42)  # the version from which on a prune leaves those with a name


@at_once
def list_volumes(request: web.Request) -> web.Response:
    """?filters="""
    context = context_of(request)
    filters = read_filters(request.query.get("filters", ""), FILTERS)
    holders = context.engine.volume_holders() if flag_of(filters, "dangling") is not None else {}
    found = [
        volume(state)
        for state in context.engine.list_volumes()
        if fits(state, filters, is_used=state.name in holders)
    ]
    return json_answer({"Volumes": found, "Warnings": []})


@at_once
def inspect(request: web.Request) -> web.Response:
    return json_answer(volume(_found(context_of(request), request.match_info["name"])))


@begun_at_once
async def create(request: web.Request) -> web.Response:
    """Returns when it is there. One of that name that is there already is the answer."""
    context = context_of(request)
    spec = admit_volume(scope_of(request), spec_of(await json_body(request), secrets.token_hex(32)))
    key = Key(API_PROJECT, "volume", spec.name)
    await _going_is_gone(context, key)
    if (there := _find(context, spec.name)) is None:
        await _make(context, key, spec, scope_of(request))
    else:
        check_options(there, spec.driver_opts)
    return json_answer(volume(_found(context, spec.name)), 201)


async def update(request: web.Request) -> web.Response:
    """Of cluster volumes, which there are none of."""
    raise Temporary("", "", "volume update only valid for cluster volumes, but swarm is unavailable")


def _find(context: Context, name: str) -> VolumeState | None:
    state: VolumeState | None = context.engine.volume(name)
    return state


def _found(context: Context, name: str) -> VolumeState:
    state = _find(context, name)
    if state is None:
        raise NotFound("", "", f"get {name[:100]}: no such volume")
    return state


async def _going_is_gone(context: Context, key: Key) -> None:
    """One of that name that is on its way out goes first."""

    def is_not_going() -> bool:
        record = context.loop.objects().get(key)
        return record is None or not record.deleting

    while not is_not_going():
        await wishes.wait(context, key, is_not_going, "create volume")


async def _make(context: Context, key: Key, spec: VolumeSpec, scope: Scope | None) -> None:
    """Where a manifest wants one of that name, that one is waited for."""
    wanted, wish = context.loop.wanted_as("volume", spec.name), None
    if wanted is None:
        claim(context, scope, Use(volumes=1), but=key)
        wish = wishes.put(context, key, spec, is_done_meanwhile=True)

    def is_made() -> bool:
        return _find(context, spec.name) is not None

    async def let_go(_why: Exception) -> None:
        if wanted is None:
            await wishes.let_go(context, key)

    await Attempt(context, wanted or key, "create volume", is_made, let_go).come_true(wish)


# --- removed ----------------------------------------------------------------------------------------


@begun_at_once
async def remove(request: web.Request) -> web.Response:
    """?force= what is not there is no error."""
    context, name = context_of(request), request.match_info["name"]
    state = _find(context, name)
    if state is None and is_on(request, "force"):
        return no_content()
    state = _found(context, name)
    key, record = _owner_of(context, state)
    check_owner("remove volume", name, record)
    if holders := context.engine.holders_of(name):
        raise Conflict("", "", f"remove {name}: volume is in use - [{', '.join(holders)}]")
    if key is not None and (coming := context.loop.users_of(key)):
        raise Conflict(
            "", "", f"remove {name}: volume is in use - [{', '.join(each.name for each in coming)}]"
        )
    await completed(_remove(context, state, key, record))
    return no_content()


def _owner_of(context: Context, state: VolumeState) -> tuple[Key | None, ObjectRecord | None]:
    """Who wants it now: by its label, or by its name, since one that was there may be taken as it is."""
    objects, key = context.loop.objects(), key_of(state.labels)
    if key is None or key not in objects:
        key = context.loop.wanted_as("volume", state.name)
    return key, objects.get(key) if key is not None else None


async def _remove(context: Context, state: VolumeState, key: Key | None, record: ObjectRecord | None) -> None:
    if key is None or record is None:
        await context.engine.delete_volume(state.name)
        context.loop.things_changed()
        return
    if coming := context.loop.users_of(key):  # since it was looked at
        raise Conflict("", "", f"remove {state.name}: volume is in use - [{coming[0].name}]")
    last = VolumeSpec.model_validate({**record.spec, "keep": False})
    is_empty = context.engine.is_volume_empty(state.name)
    await wishes.let_go(context, key, last, is_done_meanwhile=is_empty)
    if _find(context, state.name) is not None:  # it was not made for that wish
        await context.engine.delete_volume(state.name)
        context.loop.things_changed()


async def prune(request: web.Request) -> web.Response:
    """?filters= Those that no container has and no manifest wants; only anonymous ones, but for all=true."""
    context = context_of(request)
    filters = read_filters(request.query.get("filters", ""), PRUNE_FILTERS)
    takes_all = flag_of(filters, "all") or version_of(request) < ANONYMOUS_ALONE
    deleted, freed = [], 0
    for state in _unused(context, filters, takes_all=bool(takes_all)):
        size = 0 if state.options else await _size_of(context, state)
        key, record = _owner_of(context, state)
        try:
            await completed(_remove(context, state, key, record))
        except Conflict:  # a container came to have it
            continue
        deleted.append(state.name)
        freed += size
    return json_answer({"VolumesDeleted": deleted, "SpaceReclaimed": freed})


async def _size_of(context: Context, state: VolumeState) -> int:
    deadline = time.monotonic() + COUNT_SECONDS
    if context.engine.is_volume_empty(state.name):
        return disk_use.count(Path(state.path), deadline, time.time()).bytes
    return (await asyncio.to_thread(disk_use.count, Path(state.path), deadline, time.time())).bytes


def _unused(context: Context, filters: Filters, *, takes_all: bool) -> list[VolumeState]:
    holders, found = context.engine.volume_holders(), []
    for state in context.engine.list_volumes():
        key, record = _owner_of(context, state)
        is_free = record is None or (record.owner == API_OWNER and not record.deleting)
        if key is not None and context.loop.users_of(key):
            continue
        if state.name in holders or not is_free or not (takes_all or is_anonymous(state)):
            continue
        if fits(state, filters, is_used=False):
            found.append(state)
    return found
