"""A container's log: all, a part, the end, and what is still to come. See `log_frames` for what is sent.

A block of the log is all that is in memory for a client, and the next is read when that one was taken.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from agent.api.at_once import at_once_or
from agent.api.context import Context
from agent.api.docker.config_view import config_of
from agent.api.docker.finding import find_container, record_of
from agent.api.docker.hijack import asks, stream_type, version_of
from agent.api.docker.log_attributes import attributes_of, fields_of
from agent.api.docker.log_frames import LogFramer, stamp_of
from agent.api.docker.looking import look_at
from agent.api.requests import context_of
from runtime.errors import Invalid, Unsupported
from runtime.log_blocks import LogBlocks, small_log
from runtime.logs import to_stamp
from runtime.model import ContainerState

LOOK_SECONDS = 1.0  # where nothing tells: an end while the supervisor was away, say
UNTIL_SECONDS = 0.1  # between two looks at the clock
MAX_TAIL = 2**31
SMALL_BYTES = 1 << 14  # that are put into frames where they are, without a thread
Wait = Callable[[Callable[[], bool]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class LogsWish:
    """The query. since, until: stamps or "". tail: lines, None is all."""

    streams: frozenset[str]
    is_followed: bool
    has_timestamps: bool
    has_details: bool
    since: str
    until: str
    tail: int | None


def read_wish(request: web.BaseRequest, now: float) -> LogsWish:
    query = request.query
    streams = frozenset(name for name in ("stdout", "stderr") if asks(request, name))
    if not streams:
        raise Invalid("", "", "Bad parameters: you must choose at least one stream")
    return LogsWish(
        streams=streams,
        is_followed=asks(request, "follow"),
        has_timestamps=asks(request, "timestamps"),
        has_details=asks(request, "details"),
        since=stamp_of(query.get("since", ""), now),
        until=stamp_of(query.get("until", ""), now),
        tail=read_tail(query.get("tail", "")),
    )


def read_tail(text: str) -> int | None:
    """A number of lines; None for "all", "" and numbers below 0. Pure."""
    if text in ("", "all"):
        return None
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdecimal() or len(digits) > 20:
        raise Invalid("", "", f"invalid tail {text[:20]!r}: a number of lines, or all")
    return None if text.startswith("-") else min(int(text), MAX_TAIL)


def _asked_logs(request: web.Request) -> tuple[Context, LogsWish, ContainerState, LogFramer, dict[str, str]]:
    """And the headers of the answer."""
    context, wish = context_of(request), read_wish(request, time.time())
    state = find_container(context, request.match_info["id"])
    _check_kept(context, state)
    framed = not context.engine.has_terminal(state.id)
    framer = LogFramer(
        wish.streams, framed=framed, timestamps=wish.has_timestamps,
        details=_attributes(context, state) if wish.has_details else None, since=wish.since, until=wish.until,
    )  # fmt: skip
    return context, wish, state, framer, {"Content-Type": stream_type(version_of(request), framed=framed)}


async def _logs_in_pieces(request: web.Request) -> web.StreamResponse:
    context, wish, state, framer, headers = _asked_logs(request)
    response = web.StreamResponse(headers=headers)
    goes_on = run_of(context, state) if wish.is_followed else lambda: False
    directory = context.engine.log_directory(state.id)
    async with Blocks(directory, wish.tail, is_followed=wish.is_followed) as blocks:
        await response.prepare(request)
        wait = _wait_of(context, state.id, directory, UNTIL_SECONDS if wish.until else LOOK_SECONDS)
        async for frames in follow(blocks, framer, goes_on, wish.until, wait):
            await response.write(frames)
        await response.write_eof()
    return response


@at_once_or(_logs_in_pieces)
def logs(request: web.Request) -> web.Response | None:
    """What is short, and in the kernel's memory, is answered in one piece, without a thread."""
    context, wish, state, framer, headers = _asked_logs(request)
    if wish.is_followed:
        return None
    whole = small_log(context.engine.log_directory(state.id), wish.tail, SMALL_BYTES)
    if whole is None:
        return None
    return web.Response(body=framer.frames(whole) if whole else b"", headers=headers)


def _attributes(context: Context, state: ContainerState) -> str:
    """What the options of its log say of each of its lines."""
    seen = look_at(context, state)
    if seen.spec is None:
        return ""
    shown = config_of(seen.spec, seen.image, state.id, seen.reference)
    environment = dict(entry.partition("=")[::2] for entry in shown["Env"])
    fields = fields_of(state.id, state.name, state.image, seen.reference)
    return attributes_of(seen.spec.logging, seen.labels(), environment, fields)


def _check_kept(context: Context, state: ContainerState) -> None:
    _key, record = record_of(context, state)
    if record is not None and record.spec.get("logging", {}).get("driver") == "none":
        raise Unsupported("", "", "configured logging driver does not support reading")


def run_of(context: Context, state: ContainerState) -> Callable[[], bool]:
    """Whether the run that is under way still is: with its end the log is at an end too, as with Docker's
    daemon, whatever comes after it."""
    engine, id, pid = context.engine, state.id, state.pid

    def goes_on() -> bool:
        now: ContainerState | None = engine.state(id)
        return now is not None and now.pid is not None and now.pid == pid

    return goes_on


def _wait_of(context: Context, id: str, directory: Path, seconds: float) -> Wait:
    """What returns when something may have come: written, or the end of the container's run."""

    async def wait(is_there: Callable[[], bool]) -> None:
        await context.log_watch.wait(directory, is_there, context.exits.next_of(id), seconds)

    return wait


async def _no_wait(_is_there: Callable[[], bool]) -> None:
    """Of a log that is not followed."""


class Blocks:
    """A log that is read in threads, one read at a time; closed when the last has returned. The first block
    is read with the opening, which for most that ask for the last lines is all."""

    def __init__(self, directory: Path, tail: int | None = None, *, is_followed: bool = False) -> None:
        self._directory = directory
        self._tail = tail
        self._is_followed = is_followed
        self._log: LogBlocks | None = None
        self._first = b""
        self._is_over = False
        self._lock = threading.Lock()
        self._is_closed = False

    async def __aenter__(self) -> Blocks:
        try:
            await asyncio.to_thread(self._open)
        except asyncio.CancelledError:
            self._close_soon()
            raise
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._close_soon()

    def _close_soon(self) -> None:
        """After the read that is under way, if one is: in its thread it goes on when its waiter is gone."""
        self._is_closed = True
        if self._lock.acquire(blocking=False):
            self._close()
            self._lock.release()
        else:
            asyncio.get_running_loop().run_in_executor(None, self._close_later)

    def _close_later(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None

    def _open(self) -> None:
        with self._lock:
            if not self._is_closed:
                self._log = LogBlocks(self._directory, self._tail, is_followed=self._is_followed)
                self._first, self._is_over = self._log.read(), self._log.is_over

    async def read(self, convert: Callable[[bytes], bytes]) -> tuple[bytes, bool]:
        """What `convert` makes of the next block, and whether there was one."""
        if self._is_over and len(self._first) <= SMALL_BYTES:
            first, self._first = self._first, b""
            return convert(first) if first else b"", bool(first)
        return await asyncio.to_thread(self._read, convert)

    def _read(self, convert: Callable[[bytes], bytes]) -> tuple[bytes, bool]:
        with self._lock:
            if self._log is None or self._is_closed:
                return b"", False
            block, self._first = self._first or self._log.read(), b""
            if block:
                return convert(block), True
            return b"", self._log.advance()

    @property
    def has_more(self) -> bool:
        return self._log is not None and self._log.has_more


async def follow(
    blocks: Blocks,
    framer: LogFramer,
    goes_on: Callable[[], bool],
    until: str = "",
    wait: Wait = _no_wait,
) -> AsyncIterator[bytes]:
    """Pieces to send, none of them empty, until all is read and the container does not go on. wait: for more,
    given what tells whether it is there."""

    def is_going_on() -> bool:
        return goes_on() and not (until and until < to_stamp(time.time()))

    while not framer.is_past:
        may_more_come = is_going_on()  # before the look: what it wrote last must not be missed
        frames, was_there = await blocks.read(framer.frames)
        if frames:
            yield frames
        if was_there:
            continue
        if not may_more_come:
            return
        while is_going_on() and not blocks.has_more:
            await wait(lambda: blocks.has_more or not is_going_on())
