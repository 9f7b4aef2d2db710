"""The table of Setpoint's own API: method, path, handler, and what goes in and out of it. `openapi` makes the
document of it; what a row does not name is refused before its handler is asked.
"""

from __future__ import annotations

import functools
import json
from typing import Any

from aiohttp import web

from agent.api import (
    adopt,
    archives,
    build,
    execute,
    image_check,
    images,
    native,
    override,
    streams,
    system,
    things,
    updates,
)
from agent.api.at_once import begun_at_once, is_begun_at_once
from agent.api.openapi.derive import ListOf, Merged
from agent.api.openapi.document import document_of
from agent.api.openapi.says import Route, Says, Word, choice, flag, number, text, whole
from agent.api.openapi.shapes import history, host, state
from agent.api.openapi.shapes import images as image
from agent.api.requests import MAX_MOMENT, MAX_WAIT_SECONDS, check_query, context_of
from agent.images.disk_use import COUNT_SECONDS
from agent.images.keeper import MAX_LEASE_SECONDS
from agent.wire import PREFIX
from runtime.images.details import ImageDetails
from runtime.images.progress import Progress
from runtime.images.registry.told import FoundRepository, RemoteImage
from runtime.images.saver import FORMS
from runtime.model import ImageInfo, NetworkState, Stats, VolumeState

KEY = "/{key:.+}"
ARCHIVE = "the archive"
FRAMES = (
    "frames, each a byte that says of what, three zero bytes, four bytes of length (big-endian), the content"
)
REFERENCE = text("reference", "the image's name", is_required=True)
PLATFORM = text("platform", "os/architecture of an image for several; this host's by default")
REPLICA = whole("replica", "the replica, where there are several", least=1)
SINCE = number("since", "Unix seconds", most=MAX_MOMENT)
FORCE = flag("force", "a name that another image has moves to this one")
PRUNE = (
    flag("all", "images that no container has, not only those without a name"),
    flag("volumes", "volumes that nobody wants, too"),
    number("until", "only what is older than so many seconds", most=system.MAX_UNTIL_SECONDS, default=0.0),
)
MADE = (Progress, image.ImagesMade)
SENT = (
    text("path", "the archive's absolute path on the agent's host, in place of a body; root's alone"),
    FORCE,
)


async def openapi(request: web.Request) -> web.Response:
    """This document, in OpenAPI 3.1."""
    return web.Response(text=_document(context_of(request).version), content_type="application/json")


ROUTES: tuple[Route, ...] = (
    # --- what there is
    Route("GET", "/status", native.status, Says(answer=state.Status)),
    Route("GET", "/version", native.version, Says(answer=host.Version)),
    Route("GET", "/objects", native.objects, Says(
        (text("kind", "only of this kind"), text("project", "only of this project")),
        answer=list[state.Object])),
    Route("GET", "/objects" + KEY, native.describe, Says(
        answer=Merged("ObjectDetails", (state.Object, state.More)), fails=(404,))),
    Route("GET", "/doctor", things.doctor, Says(answer=host.Doctor)),
    Route("GET", "/stats", things.stats, Says(answer=ListOf(Merged("ContainerStats", (host.Named, Stats))))),
    Route("GET", "/top" + KEY, things.top, Says(answer=list[host.Process], fails=(404,))),
    Route("GET", "/networks", things.networks, Says(
        answer=ListOf(Merged("Network", (NetworkState, host.OwnKey))))),
    Route("GET", "/volumes", things.volumes, Says(
        answer=ListOf(Merged("Volume", (VolumeState, host.OwnKey))))),
    # --- what would happen
    Route("GET", "/plan", native.plan, Says(answer=state.Plan)),
    Route("POST", "/plan", native.plan_files, Says(body=state.Files, answer=state.Plan)),
    # --- what happened
    Route("GET", "/events", native.events, Says((
        text("key", "only of this object"),
        text("project", "only of this project"),
        SINCE,
        number("until", "Unix seconds; with follow, the answer ends then", most=MAX_MOMENT),
        whole("limit", "the newest so many; with after_id, the oldest", most=10_000, default=100),
        whole("after_id", "only what came after the event of this id"),
        flag("follow", "lines, and each event as it comes"),
    ), answer=list[history.Event], lines=(history.Event,), fails=(404,))),
    Route("GET", "/why" + KEY, native.why, Says(
        (whole("limit", "steps", least=1, most=1000, default=20),), answer=state.Why, fails=(404,))),
    Route("GET", "/revisions", native.revisions, Says(
        (whole("limit", "newest so many", least=1, most=1000, default=20),), answer=list[history.Revision])),
    Route("GET", "/logs" + KEY, streams.logs, Says((
        flag("follow", "go on with what comes, as long as a container runs"),
        whole("tail", "the last so many lines of each replica"),
        SINCE,
        number("until", "Unix seconds", most=MAX_MOMENT),
        flag("timestamps", "each line begins with its time"),
        flag("prefix", "each line begins with its container's name"),
        REPLICA,
    ), frames=f"{FRAMES}: 1 stdout, 2 stderr, 5 an error", fails=(404,))),
    # --- what operators ask
    Route("GET", "/wait", native.wait, Says((
        text("key", "the object; all of them by default"),
        choice("for", "what", ("ready", "healthy"), default="ready"),
        number("timeout", "seconds", most=MAX_WAIT_SECONDS, default=60.0),
    ), answer=state.Met)),
    Route("POST", "/sync", native.sync, Says((
        flag("wait", "answer when what the source says is so"),
        number("timeout", "seconds to wait", most=MAX_WAIT_SECONDS, default=300.0),
    ), answer=state.Synced)),
    Route("POST", "/restart" + KEY, native.restart, Says(answer=state.Keyed, fails=(404, 409))),
    Route("POST", "/suspend" + KEY, native.suspend, Says(answer=state.Keyed, fails=(404, 409))),
    Route("POST", "/resume" + KEY, native.resume, Says(answer=state.Keyed, fails=(404, 409))),
    Route("POST", "/override" + KEY, override.override, Says((
        choice("what", "what to do", override.VERBS),
        number("for", "seconds", least=override.LEAST_SECONDS, most=override.MOST_SECONDS, is_required=True),
    ), answer=state.Overridden, fails=(404, 409))),
    Route("POST", "/adopt" + KEY, adopt.adopt, Says(
        (flag("hand_over", "the manifest takes over when it is there, unless there are problems"),),
        body=state.AdoptionOrder, answer=state.Adoption, fails=(404, 409, 501))),
    Route("POST", "/exec" + KEY, execute.execute, Says(
        (whole("replica", "the replica", least=1, default=1),), body=host.ExecOrder,
        upgraded=f"{FRAMES}: 0 stdin (empty: its end), 1 stdout, 2 stderr, 3 {{exit_code}}, "
        "4 {rows, columns}, 5 an error, 6 {signal}", fails=(404, 409, 501))),
    Route("POST", "/prune/ack", native.acknowledge_prune, Says(
        (text("revision", "the revision that asks for it; the present one by default"),),
        answer=state.PruneAcknowledged, fails=(409,))),
    Route("POST", "/stop", native.stop, Says(answer=host.Stopping)),
    Route("POST", "/down", streams.down, Says((
        flag("volumes", "volumes too"),
        number("timeout", "of the orderly part", most=MAX_WAIT_SECONDS, default=streams.DOWN_SECONDS),
    ), lines=(host.Removed, host.Done))),
    # --- what is kept
    Route("GET", "/system/df", system.disk_use, Says((
        number("seconds", "for counting trees", most=system.MAX_COUNT_SECONDS, default=COUNT_SECONDS),
    ), answer=host.DiskUse)),
    Route("GET", "/system/prune", system.plan_prune, Says(PRUNE, answer=host.Prune)),
    Route("POST", "/system/prune", system.prune, Says(PRUNE, answer=host.Prune)),
    Route("POST", "/volume/rm", things.remove_volume, Says(
        (text("name", "the volume", is_required=True),), answer=host.Removed, fails=(404, 409))),
    Route("POST", "/volume/import", things.import_volume, Says(
        body=host.VolumeOrder, answer=host.VolumeTaken, fails=(404, 409, 501))),
    Route("GET", "/export" + KEY, archives.export, Says(
        (REPLICA,), frames=f"{FRAMES}: 1 of the tar (empty: its end), 5 an error", fails=(404, 409))),
    Route("GET", "/diff" + KEY, archives.diff, Says(
        (REPLICA,), answer=list[host.Change], fails=(404, 409))),
    Route("POST", "/commit" + KEY, archives.commit, Says(
        (REPLICA,), body=image.CommitOrder, lines=MADE, fails=(404, 409, 501))),
    # --- images
    Route("GET", "/images", things.images, Says(
        answer=ListOf(Merged("Image", (ImageInfo, image.Checked))))),
    Route("GET", "/image/inspect", images.inspect_image, Says(
        (REFERENCE, PLATFORM, flag("remote", "as its registry has it now")),
        answer=(Merged("ImageInspected", (image.ImageHere, ImageDetails)), RemoteImage), fails=(404, 501))),
    Route("GET", "/image/tags", images.list_tags, Says(
        (REFERENCE, whole("limit", "at most", least=1, most=100_000, default=images.MAX_FOUND)),
        answer=image.Tags, fails=(404,))),
    Route("GET", "/image/search", images.search_images, Says((
        Word("word", "in a repository's name", {"type": "string", "maxLength": images.MAX_WORD}),
        text("registry", "the hub by default"),
        whole("limit", "at most", least=1, most=images.MAX_FOUND, default=25),
    ), answer=list[FoundRepository], fails=(404,))),
    Route("POST", "/image/load", streams.load_image, Says(SENT, body=ARCHIVE, lines=MADE, fails=(404, 409))),
    Route("POST", "/image/import", streams.import_image, Says((
        text("name", "the image's", is_required=True),
        text("changes", "a JSON list of instructions for its config"),
        *SENT,
    ), body=ARCHIVE, lines=MADE, fails=(404, 409))),
    Route("GET", "/image/save", archives.save_images, Says((
        text("names", "a JSON list of images", is_required=True),
        choice("form", "of the archive", FORMS, default=FORMS[0]),
    ), frames=f"{FRAMES}: 1 of the archive (empty: its end), 5 an error", fails=(404, 409))),
    Route("POST", "/image/pull", images.pull_image, Says(
        (REFERENCE, PLATFORM), lines=MADE, fails=(404, 409, 501))),
    Route("POST", "/image/push", images.push_image, Says(
        (REFERENCE,), lines=(Progress, image.ImagePushed), fails=(404, 409, 501))),
    Route("POST", "/image/tag", images.tag_image, Says(
        (REFERENCE, text("source", "the image", is_required=True)),
        answer=image.ImageTagged, fails=(404, 409))),
    Route("POST", "/image/rm", things.remove_image, Says(
        (REFERENCE, flag("force", "take the names, and keep what is in use")),
        answer=image.ImageRemoved, fails=(404, 409))),
    Route("POST", "/image/check", image_check.check_images, Says((
        text("names", "a JSON list of images; all by default"),
        flag("repair", "make whole what is damaged"),
    ), lines=(Progress, image.ImageFound, image.ImagesChecked), fails=(404,))),
    Route("POST", "/image/build", build.build_image, Says(
        body="a line of JSON, the order, and behind it the context as a tar where it says context_kind: tar",
        lines=(image.BuildBegun, image.BuildEvent, image.ImagesMade), fails=(404, 409, 501))),
    Route("GET", "/image/builds", build.list_builds, Says(answer=list[image.Build])),
    Route("GET", "/image/builds/{id}/log", build.build_log, Says(
        lines=(image.BuildTold, image.BuildEvent), fails=(404,))),
    Route("GET", "/image/updates", updates.updates, Says(answer=list[image.ImageUpdate])),
    Route("POST", "/image/updates", updates.look, Says(answer=list[image.ImageUpdate])),
    Route("GET", "/image/leases", system.leases, Says(answer=list[image.Lease])),
    Route("POST", "/image/hold", system.hold_image, Says((
        REFERENCE,
        number("seconds", "for how long", least=1.0, most=MAX_LEASE_SECONDS, is_required=True),
        text("owner", "who asks, for people"),
        text("id", "a lease that is to last longer"),
    ), answer=image.Lease, fails=(404, 409))),
    Route("POST", "/image/release", system.release_image, Says(
        (text("id", "the lease", is_required=True),), answer=image.Released, fails=(404,))),
    # --- this
    Route("GET", "/openapi.json", openapi, Says(answer=dict[str, Any])),
)  # fmt: skip


def add_routes(app: web.Application) -> None:
    """All of them, each for requests that say nothing but what its row names."""
    for route in ROUTES:
        handler = functools.partial(_answer, route)
        if is_begun_at_once(route.handler):
            begun_at_once(handler)
        app.router.add_route(route.method, PREFIX + route.path, handler)


async def _answer(route: Route, request: web.Request) -> web.StreamResponse:
    check_query(request, route.says.words)
    return await route.handler(request)


@functools.cache
def _document(version: str) -> str:
    return json.dumps(document_of(ROUTES, version))
