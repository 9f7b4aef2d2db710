"""What happened, from the event table: GET /events. And `note`, by which other handlers tell of what they did
past the loop.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from aiohttp import HttpVersion11, web

from agent.api.context import Context
from agent.api.docker.event_feed import AT_FIRST, AT_ONCE, EventFeed
from agent.api.docker.event_view import KNOWN_FILTERS, Telling, fits
from agent.api.docker.filters import read_filters
from agent.api.docker.finding import record_of
from agent.api.docker.stamps import read_moment
from agent.api.docker.versions import NEWEST, parsed
from agent.api.requests import context_of
from agent.images.keeper import IMAGES
from agent.reconcile.happenings import subject_of
from runtime.errors import Invalid
from runtime.model import ContainerState
from store.records import Happening, Key, ObjectRecord

LINES, SEQUENCE, JSON = "application/x-ndjson", "application/json-seq", "application/json"
WITHOUT_OLD_FIELDS = (1, 52)
RECORD_SEPARATOR = b"\x1e"
MAX_ACTION = 1000


# --- telling --------------------------------------------------------------------------------------


def note(
    context: Context,
    type: str,
    action: str,
    id: str,
    attributes: Mapping[str, str] | None = None,
    *,
    key: Key | None = None,
) -> None:
    """Tell of something that was done past the loop. Costs no wait; it is stored with the loop's next write.

    The loop tells by itself of: container create, start, kill, die, stop, oom, update, rename, destroy and
    health_status; network create, destroy, connect, disconnect; volume create, destroy; image pull by a
    manifest. All else is its handler's to tell:

        note(context, "image", "tag", info.id, {"name": "shop/web:1"})
        note(context, "volume", "prune", "", {"reclaimed": "4096"})
        note_container(context, state, "exec_start: sh -c true", execID=id)

    id: of an image its id or the reference that was asked for, of networks and volumes the real name. key:
    the object in whose history it is; for containers `note_container` finds it.
    """
    happening = Happening(type, action[:MAX_ACTION], id, dict(attributes or {}))
    name = happening.attributes.get("name") or id[:12]
    reason = reason_of(type, action)
    text = f"{type} {name}: {happening.action}" if name else f"{type} {happening.action}"
    context.loop.note(key or _key_of(type, id), "Normal", reason, text, (happening,))


def reason_of(type: str, action: str) -> str:
    """As the history has it: "ContainerExecStart" of a container's "exec_start: true"."""
    word = action.partition(":")[0]
    return "".join(part.capitalize() for part in (type, *word.split("_")))


def note_container(context: Context, state: ContainerState, action: str, **more: str) -> None:
    """The same for a container, with its labels, image and name. state: as it is now, or was before it
    went."""
    key, record = record_of(context, state)
    subject = subject_of(key, state, _image_name(record) or state.image)
    note(context, "container", action, state.id, {**subject.attributes, **more}, key=key)


def _image_name(record: ObjectRecord | None) -> str:
    spec = record.spec if record is not None else {}
    return str((spec.get("asked") or {}).get("image") or spec.get("image") or "")


def _key_of(type: str, id: str) -> Key:
    """A place in the history for what is no object; its parts have no "/"."""
    if type == "image":
        return IMAGES
    return Key("setpoint", type, id.replace("/", "_").replace("\0", "_")[:128] or type)


# --- following ------------------------------------------------------------------------------------


async def events(request: web.Request) -> web.StreamResponse:
    """?since= ?until= ?filters=: from now on, or from then on; it ends at `until`, else with the client."""
    context, now = context_of(request), time.time()
    filters = read_filters(request.query.get("filters", ""), KNOWN_FILTERS)
    since, until = _moment(request, "since", now), _moment(request, "until", now)
    if since is not None and until is not None and since > until:
        asked = request.query
        message = f"`since` time ({asked['since'][:40]}) cannot be after `until` time ({asked['until'][:40]})"
        raise Invalid("", "", message)
    await context.loop.flush()  # what happened before this request is stored, and is not new
    feed = feed_of(context)
    after = feed.last_id if since is None else 0
    is_old = parsed(request.match_info.get("version") or NEWEST) < WITHOUT_OLD_FIELDS
    kind = _content_type(request, is_old=is_old)
    response = web.StreamResponse(headers={"Content-Type": kind})
    await response.prepare(request)
    before = RECORD_SEPARATOR if kind == SEQUENCE else b""
    wanted = Wanted(since, until, tuple(filters.items()), is_old, before)
    with _following(feed), contextlib.suppress(ConnectionError):
        await _send(context, request, response, after, wanted)
    return response


@contextlib.contextmanager
def _following(feed: EventFeed) -> Iterator[None]:
    """What was made for many goes with the last of them."""
    try:
        with feed.joined():
            yield
    finally:
        if not feed.followers:
            shared_lines.cache_clear()


async def _send(
    context: Context, request: web.Request, response: web.StreamResponse, after: int, wanted: Wanted
) -> None:
    """Until the window's end, else for ever. Waits for the client, who thereby holds up nobody else."""
    feed, window, is_over, most = feed_of(context), (wanted.since, wanted.until), False, AT_FIRST
    while True:
        told, reached = await (feed.read(after, window, most) if is_over else feed.take(after, window, most))
        most = min(2 * most, AT_ONCE)
        data = lines(told, wanted)
        del told  # megabytes, that would wait for the client, too
        if data:
            await response.write(data)
        is_all, after = reached <= after, reached
        if not is_all:
            continue
        if is_over:
            return
        left = wanted.left_seconds
        if left is None or left > 0:
            after = await feed.wait(after, lambda told: _hand_on(request, shared_lines(told, wanted)), left)
        else:
            await context.loop.flush()  # what happened until then is stored now
            is_over = True


def _hand_on(request: web.Request, data: bytes) -> bool:
    """Write at once what a client can take at once, without a turn of its task: of a hundred followers, that
    would be most of the work. False when it is behind, or gone: its task sees to that."""
    transport = request.transport
    if transport is None or transport.is_closing() or transport.get_write_buffer_size():
        return False
    if data:
        is_chunked = request.version >= HttpVersion11
        transport.write(b"%x\r\n%s\r\n" % (len(data), data) if is_chunked else data)
    return True


def feed_of(context: Context) -> EventFeed:
    """The one that all followers share; made when the first comes."""
    if context.event_feed is None:
        context.event_feed = EventFeed(
            context.store, context.settings.layout.instance, context.loop.journal.followed_by,
            context.attached,
        )  # fmt: skip
    feed: EventFeed = context.event_feed
    return feed


def _moment(request: web.Request, name: str, now: float) -> float | None:
    text = request.query.get(name, "")
    return read_moment(text, now) if text else None


def _content_type(request: web.Request, *, is_old: bool) -> str:
    if is_old:
        return JSON
    accepted = ",".join(request.headers.getall("Accept", ()))
    return SEQUENCE if SEQUENCE in accepted and LINES not in accepted.partition(SEQUENCE)[0] else LINES


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events a follower is told, and how they are written. before: what stands before each."""

    since: float | None
    until: float | None
    filters: tuple[tuple[str, tuple[str, ...]], ...]
    is_old: bool
    before: bytes

    @property
    def left_seconds(self) -> float | None:
        return None if self.until is None else self.until - time.time()


def lines(told: tuple[Telling, ...], wanted: Wanted) -> bytes:
    """What a follower reads of these."""
    filters = dict(wanted.filters)
    return b"".join(
        wanted.before + telling.line(is_old=wanted.is_old)
        for telling in told
        if (wanted.since is None or telling.at >= wanted.since)
        and (wanted.until is None or telling.at <= wanted.until)
        and fits(telling.happening, filters)
    )


# Of what is told just now: of a hundred followers most want the same.
shared_lines = functools.lru_cache(maxsize=2)(lines)
