"""A container's own streams and terminal: attach, by a connection that leaves HTTP or a websocket; resize.

    client <── frames, or a terminal's bytes ──  agent  <── a socket, framed already ── supervisor
    client ── bytes for stdin, detach keys found ──>  ──>

A container that is created and not started yet is attached to all the same: `docker run` does that first.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import WSMsgType, web

from agent.api.context import Context
from agent.api.docker.attached import LONGEST_SECONDS, attached, reading
from agent.api.docker.detach_keys import read_keys
from agent.api.docker.events import note_container
from agent.api.docker.finding import find_container, record_of
from agent.api.docker.hijack import asks, hijack, take_head, version_of
from agent.api.docker.log_frames import LogFramer
from agent.api.docker.logs import SMALL_BYTES, Blocks, follow
from agent.api.docker.pumps import InputEnd, Send, send_output, take_input
from agent.api.docker.terminal_size import read_size
from agent.api.requests import context_of
from agent.api.upgrade import Upgraded
from runtime.errors import Conflict
from runtime.log_blocks import small_log
from runtime.model import ContainerState

WEBSOCKET_ASKS_SINCE = (1, 42)  # which streams; before, it always got all three


@dataclass(frozen=True, slots=True)
class AttachWish:
    """The query of an attach. keys: those that detach."""

    has_logs: bool
    is_stream: bool
    has_stdin: bool
    has_stdout: bool
    has_stderr: bool
    keys: bytes

    @property
    def streams(self) -> tuple[str, ...]:
        named = (("stdout", self.has_stdout), ("stderr", self.has_stderr))
        return tuple(name for name, is_asked in named if is_asked)


def read_attach(request: web.BaseRequest, *, has_all: bool = False) -> AttachWish:
    """has_all: the three streams, whatever the query says."""
    return AttachWish(
        has_logs=asks(request, "logs"),
        is_stream=asks(request, "stream"),
        has_stdin=has_all or asks(request, "stdin"),
        has_stdout=has_all or asks(request, "stdout"),
        has_stderr=has_all or asks(request, "stderr"),
        keys=read_keys(request.query.get("detachKeys", "")),
    )


def check_state(state: ContainerState) -> None:
    """Conflict, in the daemon's words."""
    if state.phase == "paused":
        raise Conflict("", "", f"container {state.id} is paused, unpause the container before attach")


@dataclass(frozen=True, slots=True)
class Streams:
    """What the engine gave: sock is the container's end, None when no stream was asked for. stamp: the log
    has what came before."""

    sock: socket.socket | None
    stamp: str
    is_terminal: bool
    is_framed: bool
    ends_with_input: bool


async def attach(request: web.Request) -> web.StreamResponse:
    context, wish = context_of(request), read_attach(request)
    state = find_container(context, request.match_info["id"])
    check_state(state)
    await request.read()
    async with _attached(context, state, wish, wants_frames=True) as streams:
        connection = hijack(request, framed=streams.is_framed)
        await take_head(connection)
        talking = _talk(context, state, wish, streams, connection.write, connection.read)
        await _unless_lost(talking, connection.wait_lost())
    with reading(context, state.id):
        await connection.end(LONGEST_SECONDS)
    connection.close()
    return Upgraded()


async def _unless_lost(work: Awaitable[None], lost: Awaitable[None]) -> None:
    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(lost)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def _attached(
    context: Context, state: ContainerState, wish: AttachWish, *, wants_frames: bool
) -> AsyncIterator[Streams]:
    """The streams, closed at the end. Asked for before the client is told that it is attached: from then on
    it may start the container."""
    is_terminal = context.engine.has_terminal(state.id)
    is_once = is_stdin_once(context, state)
    is_framed = wants_frames and not is_terminal
    ends_with_input = wish.has_stdin and (is_terminal or not is_once)
    if not wish.is_stream:
        yield Streams(None, "", is_terminal, is_framed, ends_with_input)
        return
    descriptor, stamp = await context.engine.attach_at(
        state.id, stdin=wish.has_stdin, streams=wish.streams, framed=is_framed,
        closes_stdin=is_once and not is_terminal,
    )  # fmt: skip
    with socket.socket(fileno=descriptor) as sock, attached(context, state.id):
        yield Streams(sock, stamp, is_terminal, is_framed, ends_with_input)


async def _talk(
    context: Context,
    state: ContainerState,
    wish: AttachWish,
    streams: Streams,
    send: Send,
    read: Callable[[], Awaitable[bytes]],
) -> None:
    """What the log has, then both ways until the container has ended or the client detaches."""
    if wish.has_logs:
        await _send_log(context, state, wish, streams, send)
    if streams.sock is None or not (wish.streams or wish.has_stdin):
        return
    note_container(context, state, "attach")
    outputs = asyncio.ensure_future(send_output(streams.sock.fileno(), send))
    inputs = asyncio.ensure_future(_take_input(streams, wish, read))
    pending: set[asyncio.Future[Any]] = {outputs, inputs}
    try:
        while True:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            if inputs in done and inputs.result() == "detached":
                note_container(context, state, "detach")
            if outputs in done or (inputs in done and inputs.result()):
                return
    finally:
        for task in (outputs, inputs):
            task.cancel()
        await asyncio.gather(outputs, inputs, return_exceptions=True)


async def _take_input(
    streams: Streams, wish: AttachWish, read: Callable[[], Awaitable[bytes]]
) -> InputEnd | Literal[""]:
    """The client's bytes to the container. What of it ends the attach, "" when nothing does: the detach keys,
    and the end of an input that is not the container's only one, as with Docker's daemon."""
    if streams.sock is None:
        return ""
    keys = wish.keys if streams.is_terminal else None
    end = await take_input(read, streams.sock.fileno() if wish.has_stdin else -1, keys)
    if end == "end" and wish.has_stdin and not streams.ends_with_input:
        streams.sock.shutdown(socket.SHUT_WR)
    return end if end == "detached" or streams.ends_with_input else ""


async def _send_log(
    context: Context, state: ContainerState, wish: AttachWish, streams: Streams, send: Send
) -> None:
    framer = LogFramer(frozenset(wish.streams), framed=streams.is_framed, until=streams.stamp)
    directory = context.engine.log_directory(state.id)
    whole = small_log(directory, None, SMALL_BYTES)
    if whole is not None:
        if frames := framer.frames(whole):
            await send(memoryview(frames))
        return
    async with Blocks(directory) as blocks:
        async for frames in follow(blocks, framer, lambda: False):
            await send(memoryview(frames))


def is_stdin_once(context: Context, state: ContainerState) -> bool:
    """Whether its stdin ends with the first client that has it: what `docker run -i` asks for."""
    _key, record = record_of(context, state)
    asked = record.spec.get("asked") if record is not None else None
    return bool(asked and asked.get("request", {}).get("StdinOnce"))


async def attach_websocket(request: web.Request) -> web.StreamResponse:
    """Bytes as they are in binary messages, both streams mixed, as with Docker's daemon."""
    context = context_of(request)
    wish = read_attach(request, has_all=version_of(request) < WEBSOCKET_ASKS_SINCE)
    state = find_container(context, request.match_info["id"])
    check_state(state)
    async with _attached(context, state, wish, wants_frames=False) as streams:
        response = web.WebSocketResponse(max_msg_size=1 << 20)
        await response.prepare(request)

        async def send(data: memoryview) -> None:
            await response.send_bytes(bytes(data))

        async def read() -> bytes:
            while True:
                message = await response.receive()
                if message.type in (WSMsgType.BINARY, WSMsgType.TEXT):
                    data = message.data.encode() if isinstance(message.data, str) else message.data
                    if data:
                        return bytes(data)
                    continue
                return b""

        await _talk(context, state, wish, streams, send, read)
        await response.close()
    return response


async def resize(request: web.Request) -> web.StreamResponse:
    context = context_of(request)
    rows, columns = read_size(request)
    state = find_container(context, request.match_info["id"])
    if state.phase not in ("running", "paused"):
        raise Conflict("", "", f"container {state.id} is not running")
    await context.engine.resize(state.id, rows, columns)
    note_container(context, state, "resize", height=str(rows), width=str(columns))
    return web.Response(status=200)
