"""Images that are here: listed, shown, named, removed. Thin: shapes, filters and words are in `image_view`,
`image_filters` and `image_removal`."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from agent.api.at_once import at_once_or
from agent.api.context import Context
from agent.api.docker import image_events, image_filters, image_removal, image_view
from agent.api.docker.answers import json_answer, json_bytes, json_bytes_answer
from agent.api.docker.completing import completed
from agent.api.docker.filters import read_filters
from agent.api.docker.image_filters import ListWish
from agent.api.docker.image_finding import FoundImage, check_platform, find_image, no_such_image
from agent.api.docker.image_names import checked_tag, read_name, shown, with_tag
from agent.api.docker.image_query import is_on, version_of
from agent.api.docker.image_view import Counted, Version
from agent.api.docker.platforms import read_one, read_platform
from agent.api.requests import context_of
from agent.api.sockets.images import is_listed
from agent.api.ways import is_seen
from runtime.errors import Invalid
from runtime.images.collection import Asked, Holding
from runtime.images.index import Record
from runtime.images.reference import Reference, parse_reference
from runtime.images.stock import BLOB, TREE
from runtime.model import ContainerState

AT_ONCE = 64  # images that are listed without a thread
ANY: Version = (0, 0)  # an answer that is the same for all


async def _list_in_thread(request: web.Request) -> web.StreamResponse:
    """The documents of 1,000 images may have to be read."""
    asked = _asked_list(request)
    return json_answer(await asyncio.to_thread(rows, context_of(request), asked))


@at_once_or(_list_in_thread)
def list_images(request: web.Request) -> web.Response | None:
    """?filters= ?shared-size= ?manifests=. `all` and `digests` change nothing: there are no images between,
    and digests are always told."""
    context = context_of(request)
    if not context.engine.images.are_read(AT_ONCE):
        return None
    asked = _asked_list(request)
    if asked.wants_shared or asked.wants_manifests:
        return None
    if request.query:
        return json_answer(rows(context, asked))
    parts = (asked.listed, asked.users)
    return json_bytes_answer(
        context.rendered.get(f"images {asked.version}", parts, lambda: json_bytes(rows(context, asked)))
    )


@dataclass(frozen=True, slots=True)
class AskedList:
    """listed: what is there for who asks. users: image -> its containers."""

    listed: Iterable[Record]
    wish: ListWish
    users: Mapping[str, list[str]]
    version: Version
    wants_shared: bool
    wants_manifests: bool


def _asked_list(request: web.Request) -> AskedList:
    context, version = context_of(request), version_of(request)
    filters = dict(read_filters(request.query.get("filters", ""), image_filters.OF_LIST))
    if version < (1, 25) and "reference" not in filters and (text := request.query.get("filter")):
        filters["reference"] = (text,)

    def created_at(name: str) -> float:
        found = find_image(context, name)
        if not any(is_listed(request, record.name) for record in found.records):
            raise no_such_image(name)
        return found.info.created_at

    return AskedList(
        [each for each in context.engine.images.records() if is_listed(request, each.name)],
        image_filters.list_wish(filters, created_at, time.time()),
        _users(state for state in context.engine.list() if is_seen(request, state.labels)),
        version,
        wants_shared=version >= (1, 42) and is_on(request, "shared-size"),
        wants_manifests=version >= (1, 47) and is_on(request, "manifests"),
    )


def _users(states: Iterable[ContainerState]) -> dict[str, list[str]]:
    """Image -> its containers."""
    found: dict[str, list[str]] = {}
    for state in states:
        found.setdefault(state.image, []).append(state.id)
    return found


def rows(context: Context, asked: AskedList) -> list[dict[str, Any]]:
    """As a list shows them; newest first."""
    images, version = context.engine.images, asked.version
    records: dict[str, list[Record]] = {}
    for record in asked.listed:
        records.setdefault(record.image_id, []).append(record)
    holdings = images.holdings() if asked.wants_shared or asked.wants_manifests else ()
    shared = _shared(holdings) if asked.wants_shared else {}
    packed = {holding.id: _packed(holding) for holding in holdings} if asked.wants_manifests else {}
    found = []
    for info in images.list():
        mine = records.get(info.id)
        names = asked.wish.names_of(info, shown(mine)) if mine else None
        if mine and names is not None:
            mine_users = asked.users.get(info.id, [])
            counted = Counted(
                len(mine_users) if version >= (1, 51) else -1, shared.get(info.id, -1),
                packed.get(info.id), mine_users,
            )  # fmt: skip
            found.append(image_view.summary(info, names, mine[0], counted, version))
    return found


def _shared(holdings: tuple[Holding, ...]) -> dict[str, int]:
    """Image -> bytes of its unpacked layers that others have, too."""
    count = Counter(part for holding in holdings for part in holding.parts if part.startswith(TREE))
    return {
        holding.id: sum(size for part, size in holding.parts.items() if count[part] > 1)
        for holding in holdings
    }


def _packed(holding: Holding) -> int:
    return sum(size for part, size in holding.parts.items() if part.startswith(BLOB))


async def _read_and_inspect(request: web.Request) -> web.StreamResponse:
    context, (found, version, wants_manifests) = context_of(request), _asked_one(request)
    images, info = context.engine.images, found.info
    details = await asyncio.to_thread(images.details, info.id)
    layers = images.stack(info.id).lower
    view = image_view.inspection(info, found.shown, found.record, details, layers, version)
    if wants_manifests:
        packed = sum(layer.packed_bytes for layer in details.layers if layer.is_kept)
        seen = (state for state in context.engine.list() if is_seen(request, state.labels))
        users = _users(seen).get(info.id, [])
        view["Manifests"] = [image_view.manifest_summary(info, found.record, packed, users)]
        return json_answer(view)
    return json_bytes_answer(
        context.rendered.keep(*_kept_as("image", context, found, version), json_bytes(view))
    )


@at_once_or(_read_and_inspect)
def inspect(request: web.Request) -> web.Response | None:
    """?platform= (JSON) must be the image's; ?manifests= adds what it is made of."""
    context, (found, version, wants_manifests) = context_of(request), _asked_one(request)
    body = None if wants_manifests else context.rendered.kept(*_kept_as("image", context, found, version))
    return None if body is None else json_bytes_answer(body)


def _asked_one(request: web.Request) -> tuple[FoundImage, Version, bool]:
    """The image, and whether what it is made of is asked for."""
    context, version = context_of(request), version_of(request)
    platform = read_platform(request.query.get("platform", "")) if version >= (1, 49) else ""
    wants_manifests = version >= (1, 48) and is_on(request, "manifests")
    if platform and wants_manifests:
        raise Invalid("", "", "conflicting options: manifests and platform options cannot both be set")
    found = find_image(context, request.match_info["name"])
    check_platform(found, platform)
    return found, version, wants_manifests


def _kept_as(kind: str, context: Context, found: FoundImage, version: Version) -> tuple[str, object]:
    """The name of a kept answer, and its parts. What is read of the image itself has its digest for a
    name."""
    layers = context.engine.images.stack(found.info.id).lower
    return f"{kind} {found.info.id} {version}", (found.info, found.records, found.record, layers)


async def _read_and_tell(request: web.Request) -> web.StreamResponse:
    context, found = context_of(request), _asked_history(request)
    details = await asyncio.to_thread(context.engine.images.details, found.info.id)
    body = json_bytes(image_view.history(found.info, found.shown, details))
    return json_bytes_answer(context.rendered.keep(*_kept_as("history", context, found, ANY), body))


@at_once_or(_read_and_tell)
def history(request: web.Request) -> web.Response | None:
    """?platform= (JSON) must be the image's."""
    context, found = context_of(request), _asked_history(request)
    body = context.rendered.kept(*_kept_as("history", context, found, ANY))
    return None if body is None else json_bytes_answer(body)


def _asked_history(request: web.Request) -> FoundImage:
    found = find_image(context_of(request), request.match_info["name"])
    check_platform(found, read_platform(request.query.get("platform", "")))
    return found


async def tag(request: web.Request) -> web.StreamResponse:
    """The name ?repo= with ?tag=; another image that has it loses it, as with Docker's daemon."""
    context = context_of(request)
    reference = checked_tag(with_tag(request.query.get("repo", ""), request.query.get("tag", "")))
    found = find_image(context, request.match_info["name"])
    if reference.familiar not in found.shown.tags:
        await completed(_tag(context, found.name or found.info.id, found.info.id, reference))
    return web.Response(status=201)


async def _tag(context: Context, source: str, id: str, reference: Reference) -> None:
    await asyncio.to_thread(context.engine.images.tag, source, reference.canonical)
    image_events.note(context, image_events.TAGGED, id, reference.familiar)


async def remove(request: web.Request) -> web.StreamResponse:
    """?force= takes the names of an image that stopped containers have, and keeps its files for them.
    `noprune` changes nothing: there are no images between that could go along."""
    context, name, force = context_of(request), request.match_info["name"], is_on(request, "force")
    found = find_image(context, name)
    check_platform(found, read_one(request.query.getall("platforms", [])))
    info, before = found.info, found.shown
    users = [
        image_removal.User(state.id, state.phase in ("running", "paused"))
        for state in context.engine.list()
        if state.image == info.id
    ]
    image_removal.check_removal(info.id, before, name, users, by_name=bool(found.name), force=force)

    async def carry_out() -> list[dict[str, str]]:
        gone = await context.engine.remove_image(found.name or info.id, force=force)
        left = (record for record in context.engine.images.records() if record.image_id == info.id)
        rows = image_removal.rows(gone, before, shown(left))
        for row in rows:
            _note_row(context, info.id, row)
        return rows

    return json_answer(await completed(carry_out()))


def _note_row(context: Context, id: str, row: Mapping[str, str]) -> None:
    """Layers are no images."""
    if "Untagged" in row and not read_name(row["Untagged"]).digest:
        image_events.note(context, image_events.UNTAGGED, id, row["Untagged"])
    elif row.get("Deleted") == id:
        image_events.note(context, image_events.DELETED, id)


async def prune(request: web.Request) -> web.StreamResponse:
    """What nobody needs: no container, no manifest, nothing that a revert would go back to."""
    context = context_of(request)
    filters = read_filters(request.query.get("filters", ""), image_filters.OF_PRUNE)
    wish = image_filters.prune_wish(filters, time.time())
    images = context.engine.images
    infos = images.list() if images.are_read(AT_ONCE) else await asyncio.to_thread(images.list)
    spared = {info.id: why for info in infos if (why := wish.spares(info))}
    return json_answer(await completed(_prune(context, Asked(wish.all_unused), spared)))


async def _prune(context: Context, asked: Asked, spared: Mapping[str, str]) -> dict[str, Any]:
    gone = await context.images.prune(asked, spared)
    rows = []
    for each in gone:
        mine = [*({"Untagged": parse_reference(name).familiar} for name in each.names), {"Deleted": each.id}]
        for row in mine:
            _note_row(context, each.id, row)
        rows += mine
    reclaimed = sum(each.goes_bytes for each in gone)
    image_events.note_prune(context, reclaimed)
    return {"ImagesDeleted": rows, "SpaceReclaimed": reclaimed}
