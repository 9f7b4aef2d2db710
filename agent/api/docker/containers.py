"""Containers: made, listed, shown, changed in place, renamed, removed."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from agent.api.at_once import at_once_or, begun_at_once
from agent.api.context import Context
from agent.api.docker import auto_remove, body_limits, config_view, container_view, wishes
from agent.api.docker.answers import json_answer, json_bytes, json_bytes_answer, no_content
from agent.api.docker.attempts import Attempt
from agent.api.docker.bodies import json_body, map_of, text_of
from agent.api.docker.completing import completed
from agent.api.docker.container_body import Lookup, spec_of
from agent.api.docker.container_sizes import sizes_of, written_bytes
from agent.api.docker.filters import fits_labels, read_filters
from agent.api.docker.finding import check_owner, find_container, known_record, owned_key, record_of
from agent.api.docker.image_finding import no_such_image
from agent.api.docker.looking import look_at, volume_paths
from agent.api.docker.names import checked, free_name
from agent.api.docker.profiles import keep, path_of
from agent.api.docker.references import (
    container_named,
    host_binding_of,
    mounts_named,
    network_named,
    volume_named,
)
from agent.api.docker.stamps import read_moment
from agent.api.requests import context_of, flag
from agent.api.sockets.bodies import admit
from agent.api.sockets.quota import claim_change, claim_container
from agent.api.sockets.scope import SOCKET_LABEL
from agent.api.ways import is_seen, scope_of
from agent.manifest.spec import ContainerSpec, VolumeSpec
from agent.reconcile.api_objects import API_OWNER, API_PROJECT, KEY_DIGITS
from agent.reconcile.convert import resources_of
from agent.reconcile.inventory import spec_of as stored_spec
from runtime.errors import Conflict, Invalid, NotFound, SetpointError, Unsupported
from runtime.model import ContainerState, ImageInfo
from store.records import Key

GOING_SECONDS = 10.0  # that a name is waited for whose container is being removed
PRUNE_FILTERS = frozenset(("until", "label", "label!"))


# --- made -----------------------------------------------------------------------------------------


@begun_at_once
async def create(request: web.Request) -> web.Response:
    """?name= ?platform=. Returns when the container is there, with all that can be checked before a start."""
    context, body = context_of(request), await json_body(request)
    reference = text_of(body, "Image")
    if not reference:
        raise Invalid("", "", "config cannot be empty in order to create a container: Image is missing")
    image: ImageInfo | None = context.engine.image(reference)
    if image is None:
        raise no_such_image(reference)
    _check_platform(request.query.get("platform", ""), image, reference)
    context.loop.check_image("create", reference)
    taken = _Taken(context)
    name = checked(request.query["name"]) if request.query.get("name") else free_name(taken)
    if request.query.get("name") and (holder := await _holder_of(context, taken, name)):
        if (key := _asked_before(context, holder, body)) is not None:
            return await _created(context, key)
        raise _is_taken(name, holder)
    volumes: dict[str, VolumeSpec] = {}
    profiles: dict[Path, str] = {}
    spec = spec_of(name, body, image, _lookup(context, volumes, profiles))
    spec = admit(context, scope_of(request), spec, volumes)
    claim_container(context, scope_of(request), spec, image, len(volumes))
    keep(context, profiles)
    key = Key(API_PROJECT, "container", secrets.token_hex(KEY_DIGITS // 2))
    # No wait between the looks above and this: of many that ask for one name, one gets it; and what it names
    # is in use from now on.
    try:
        made = {Key(API_PROJECT, "volume", each): volumes[each] for each in volumes}
        await wishes.put_together(context, {**made, key: spec})
    except BaseException:  # also when the client is gone: it heard no id
        await completed(_forget(context, key))
        raise
    return await _created(context, key)


async def _holder_of(context: Context, taken: _Taken, name: str) -> str:
    """Who has that name, "" for nobody. One that is on its way out goes first: also the one of a client that
    broke off a moment ago, and asks again."""
    holder = taken.holder_of(name)
    key = Key(API_PROJECT, "container", holder[:KEY_DIGITS])
    if not holder or not _is_going(context, key):
        return holder
    with contextlib.suppress(SetpointError):  # the name is taken, then
        await wishes.wait(context, key, lambda: not _is_going(context, key), "create", seconds=GOING_SECONDS)
    return taken.holder_of(name)


def _is_going(context: Context, key: Key) -> bool:
    record = context.loop.objects().get(key)
    return record is not None and record.deleting


def _asked_before(context: Context, holder: str, body: Mapping[str, Any]) -> Key | None:
    """The very same call, made to an agent that died over it: its client never heard the id, asks again, and
    is to have what he asked for. Nobody else can have that container, which never ran."""
    key = Key(API_PROJECT, "container", holder[:KEY_DIGITS])
    record = context.loop.objects().get(key)
    if not holder or record is None or record.deleting or record.updated_at >= context.started_at:
        return None
    state = context.engine.state(holder)
    is_new = state is None or state.phase == "created"
    is_same = record.spec.get("asked", {}).get("request") == body
    return key if is_new and is_same else None


async def _created(context: Context, key: Key) -> web.Response:
    id = auto_remove.container_id(context, key)
    await _wait_created(context, key, id)
    return json_answer({"Id": id, "Warnings": []}, 201)


def _is_taken(name: str, holder: str, head: str = "") -> Conflict:
    """holder: the id of who has it."""
    what = f'Conflict. The container name "/{name}" is already in use by container "{holder}".'
    way = "You have to remove (or rename) that container to be able to reuse that name."
    return Conflict("", "", f"{head}{what} {way}")


def _check_platform(platform: str, image: ImageInfo, reference: str) -> None:
    words = platform.lower().split("/")
    if platform and (words[0] != image.os or (len(words) > 1 and words[1] != image.architecture)):
        raise NotFound(
            "", "", f"image with reference {reference} was found but does not match the specified platform: "
            f"wanted {platform[:60]}, actual: {image.os}/{image.architecture}",
        )  # fmt: skip


class _Taken:
    """The names of what is there, and of what is wanted and not there yet, or was a moment ago: it may be on
    its way."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __contains__(self, name: object) -> bool:
        return bool(self.holder_of(str(name)))

    def holder_of(self, name: str) -> str:
        """The id of who has it, "" for nobody."""
        there: str | None = self._context.engine.names.get(name)
        return there or self._who_wants(name)

    def _who_wants(self, name: str) -> str:
        key = self._context.loop.wanted_as("container", name)
        return auto_remove.container_id(self._context, key) if key is not None else ""


def _lookup(context: Context, volumes: dict[str, VolumeSpec], profiles: dict[Path, str]) -> Lookup:
    """volumes, profiles: filled with those that are to be made."""
    return Lookup(
        network=lambda reference: network_named(context, reference),
        container=lambda reference: container_named(context, reference),
        volume=lambda name, options, labels: volume_named(context, name, options, labels, volumes),
        mounts=lambda reference: mounts_named(context, reference, volumes),
        profile=lambda content: _profile(context, content, profiles),
        processors=_processors,
        host_binding=lambda name: host_binding_of(context, name),
    )


def _processors() -> int:
    return os.cpu_count() or 0


def _profile(context: Context, content: str, profiles: dict[Path, str]) -> str:
    path = path_of(context, content)
    profiles[path] = content
    return str(path)


async def _wait_created(context: Context, key: Key, id: str) -> None:
    def is_whole() -> bool:
        """It is known as soon as its name is taken, before its volumes are filled, and may fail yet."""
        return context.engine.state(id) is not None and not context.loop.is_at_work(key)

    try:
        await wishes.wait(context, key, is_whole, "create")
    except BaseException as error:
        # Also when the client is gone: nobody knows its id.
        await completed(_forget(context, key))
        if isinstance(error, NotFound):  # of a device, say; to clients a 404 is a missing image to pull
            raise Invalid(error.op, error.subject, error.reason, error.hint) from error
        raise


async def _forget(context: Context, key: Key) -> None:
    record = context.loop.objects().get(key)
    if record is not None and not record.deleting:
        await auto_remove.remove(context, key, record, with_volumes=True)


# --- shown ----------------------------------------------------------------------------------------


async def _inspect_with_sizes(request: web.Request) -> web.Response:
    context = context_of(request)
    state = find_container(context, request.match_info["id"])
    shown = _shown(context, state)
    (counted,) = await sizes_of(context, [state])
    sizes = json_bytes(counted)
    return json_bytes_answer(shown[:-1] + b"," + sizes[1:])


@begun_at_once
@at_once_or(_inspect_with_sizes)
def inspect(request: web.Request) -> web.Response | None:
    """?size="""
    context = context_of(request)
    state = find_container(context, request.match_info["id"])
    return None if flag(request, "size") else json_bytes_answer(_shown(context, state))


def _shown(context: Context, state: ContainerState) -> bytes:
    parts = _parts_of(context, state)
    return context.rendered.get(state.id, parts, lambda: json_bytes(_view(context, parts)))


Parts = tuple[container_view.Seen, Mapping[str, str], list[str]]


def _parts_of(context: Context, state: ContainerState) -> Parts:
    """What an inspection is made of: the container, the paths of volumes, the execs that have not ended.
    Where its own things lie follows from its state: a start makes them."""
    seen = look_at(context, state)
    return seen, volume_paths(context) if seen.may_have_volumes else {}, context.execs.ids_of(state.id)


def _view(context: Context, parts: Parts) -> dict[str, Any]:
    seen, paths, execs = parts
    places = context.engine.places(seen.state.id)
    return {**container_view.inspect(seen, paths, places), "ExecIDs": execs or None}


# --- changed --------------------------------------------------------------------------------------


async def update(request: web.Request) -> web.Response:
    """Limits and the restart policy, while it runs. What the body does not say stays."""
    context, body = context_of(request), await json_body(request)
    state = find_container(context, request.match_info["id"])
    key = owned_key(context, "update", state)
    limits = _with_present(context, key, body)
    fields: dict[str, Any] = body_limits.limits_of(limits, _processors())
    if "cpus" in fields:
        fields.setdefault("cpu_period", None)  # said in the other way by now
    if map_of(body, "RestartPolicy"):
        restart = body_limits.restart_of(body)
        fields["restart"] = restart.model_dump()
    wanted = wishes.changed(context, key, **fields)
    claim_change(context, scope_of(request), key, wanted)
    wish = wishes.put(context, key, wanted, is_done_meanwhile=True)
    await _limits(context, key, state, wanted).come_true(wish)
    return json_answer({"Warnings": []})


def _with_present(context: Context, key: Key, body: Mapping[str, Any]) -> dict[str, Any]:
    """The limits as they would be: what is checked against each other is one said now and one from before."""
    present = config_view.host_config_of(wishes.container_spec_of(context.loop.objects()[key]))
    said = {name: value for name, value in body.items() if value not in (None, 0, "", [])}
    body_limits.refuse_mixed_cpus(present, said)
    live = config_view.LIVE - {"RestartPolicy", "PidsLimit"}
    kept = {name: value for name, value in present.items() if name in live}
    if said.keys() & {"CpuQuota", "CpuPeriod"}:
        kept.pop("NanoCpus")
    if body.get("PidsLimit") is not None:
        said["PidsLimit"] = body["PidsLimit"]
    return {**kept, **said}


def _limits(context: Context, key: Key, state: ContainerState, wanted: ContainerSpec) -> Attempt:
    """What the kernel refuses, now, is not what the next start has."""
    old = wishes.container_spec_of(context.loop.objects()[key])
    is_live = state.phase in ("running", "paused")

    def is_so() -> bool:
        now: ContainerState | None = context.engine.state(state.id)
        return now is None or not is_live or now.resources == resources_of(wanted)

    async def undo(_why: Exception) -> None:
        record = context.loop.objects().get(key)
        if record is not None and not record.deleting and stored_spec(record) == wanted:
            await wishes.put(context, key, old)

    return Attempt(context, key, "update", is_so, undo, context.loop.verdict_of(key))


@begun_at_once
async def rename(request: web.Request) -> web.Response:
    """?name="""
    context = context_of(request)
    state = find_container(context, request.match_info["id"])
    if not request.query.get("name"):
        raise Invalid("", "", "Neither old nor new names may be empty")
    name = checked(request.query["name"])
    key = owned_key(context, "rename", state)
    if name == state.name:
        raise Invalid("", "", "Renaming a container with the same name as its current name")
    holder = _Taken(context).holder_of(name)
    if holder and holder != state.id:  # it may be asked again
        raise _is_taken(name, holder, "Error when allocating new name: ")

    def is_so() -> bool:
        now: ContainerState | None = context.engine.state(state.id)
        return now is None or now.name == name

    async def undo(_why: Exception) -> None:
        await wishes.change(context, key, container_name=state.name)

    attempt = Attempt(context, key, "rename", is_so, undo, context.loop.verdict_of(key))
    await attempt.come_true(wishes.change(context, key, is_done_meanwhile=True, container_name=name))
    context.engine.tell_names()
    return no_content()


# --- removed --------------------------------------------------------------------------------------


async def remove(request: web.Request) -> web.Response:
    """?v= its volumes without a name, ?force= kill it, ?link= (which go with the container that has them)."""
    context = context_of(request)
    state = find_container(context, request.match_info["id"])
    if flag(request, "link"):
        raise Unsupported("remove", state.name, "a link goes with the container that has it", "remove that")
    key, record = known_record(context, "remove", state)
    check_owner("remove", state.name, record)
    is_live = state.phase in ("running", "paused")
    if is_live and not flag(request, "force"):
        how = (
            "paused and must be unpaused first"
            if state.phase == "paused"
            else ("running: stop the container before removing or force remove")
        )
        raise Conflict("", "", f'cannot remove container "/{state.name}": container is {how}')
    await completed(auto_remove.remove_now(context, key, record, with_volumes=_takes_volumes(request, state)))
    return no_content()


def _takes_volumes(request: web.Request, state: ContainerState) -> bool:
    """Those without a name. What a scoped socket made takes its own along: nobody there could see them."""
    return flag(request, "v") or (scope_of(request) is not None and SOCKET_LABEL in state.labels)


async def prune(request: web.Request) -> web.Response:
    """All that have ended, or were never started, and that the API made."""
    context = context_of(request)
    filters = read_filters(request.query.get("filters", ""), PRUNE_FILTERS)
    until = min((read_moment(text, time.time()) for text in filters.get("until", ())), default=None)
    removed: list[str] = []
    freed = 0
    for state in context.engine.list():
        if not is_seen(request, state.labels):
            continue
        key, record = record_of(context, state)
        if key is None or record is None or record.owner != API_OWNER or record.deleting:
            continue
        if state.phase in ("running", "paused") or (until is not None and state.created_at >= until):
            continue
        labels = look_at(context, state).labels()
        if not fits_labels(labels, filters.get("label", ())):
            continue
        if filters.get("label!") and fits_labels(labels, filters["label!"]):
            continue
        if isinstance(spec := stored_spec(record), ContainerSpec) and spec.ensure == "running":
            verdict = context.loop.verdict_of(key)
            if verdict is None or verdict.phase not in ("Completed", "Failed", "Stalled"):
                continue  # it is on its way to be started
        freed += await written_bytes(context, state.id)
        await auto_remove.remove(context, key, record, with_volumes=_takes_volumes(request, state))
        removed.append(state.id)
    return json_answer({"ContainersDeleted": removed, "SpaceReclaimed": freed})
