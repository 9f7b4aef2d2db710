"""Connections that a handler takes over where its request was read, without a task of aiohttp's; with an
upgrade and without, and whatever pieces it comes in."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from agent.api import ways
from agent.api.answering import AtOnce, answer_errors
from agent.api.at_once import begun_at_once
from agent.api.context import CONTEXT
from agent.api.upgrade import Upgraded, take_over
from agent.api.ways import Runner, Site, Way

ASKED = b"POST /%s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
LEAVES = ASKED.replace(b"Host: x", b"Host: x\r\nConnection: Upgrade\r\nUpgrade: tcp")
EARLY = b"GET /early HTTP/1.1\r\n\r\n"  # what looks like a request is none any more
PIECES = sorted({1, 60, *range(len(LEAVES) - 8, len(LEAVES) + 3), len(LEAVES) + len(EARLY)})


class Served:
    """Handlers, and what became of them."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.was_cancelled = asyncio.Event()

    async def echo(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        connection = take_over(request, {}, "200 OK")
        while data := await connection.read():
            await connection.write(data)
        connection.close()
        return Upgraded()

    async def in_a_task(self, request: web.Request) -> web.StreamResponse:
        """Of aiohttp's."""
        return await self.echo(request)

    async def body(self, request: web.Request) -> web.StreamResponse:
        """Says its body first."""
        body = await request.read()
        connection = take_over(request, {}, "200 OK")
        await connection.write(body)
        while data := await connection.read():
            await connection.write(data)
        connection.close()
        return Upgraded()

    async def now(self, request: web.Request) -> web.StreamResponse:
        """Over before it has waited for anything."""
        connection = take_over(request, {}, "200 OK")
        await connection.write(b"all")
        connection.close()
        return Upgraded()

    async def waits(self, request: web.Request) -> web.StreamResponse:
        take_over(request, {}, "200 OK")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.was_cancelled.set()
            raise
        return Upgraded()

    async def fails_now(self, request: web.Request) -> web.StreamResponse:
        take_over(request, {}, "200 OK")
        raise KeyError("a bug")

    async def fails_later(self, request: web.Request) -> web.StreamResponse:
        take_over(request, {}, "200 OK")
        await asyncio.sleep(0)
        raise KeyError("a bug")

    async def refuses(self, _request: web.Request) -> web.StreamResponse:
        raise web.HTTPConflict(reason="not now")


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    monkeypatch.setattr(ways, "KEEPALIVE_SECONDS", 0.3)
    made = Served()
    app = web.Application(middlewares=[answer_errors])
    metrics = SimpleNamespace(on_request=made.statuses.append, on_bug=lambda *_: None)
    nobody: Any = SimpleNamespace(metrics=metrics)
    app[CONTEXT] = nobody
    for name in ("echo", "body", "now", "waits", "fails_now", "fails_later", "refuses"):
        app.router.add_post(f"/{name}", begun_at_once(getattr(made, name)))
    app.router.add_post("/task", made.in_a_task)
    runner = Runner(app, AtOnce(app), handler_cancellation=True)
    await runner.setup()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        await Site(runner, listening, Way("test")).start()
        yield made
        await runner.cleanup()


@contextlib.asynccontextmanager
async def connected(tmp_path: Path) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
        yield reader, writer
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def asked(
    tmp_path: Path, name: str
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with connected(tmp_path) as (reader, writer):
        writer.write(ASKED % name.encode())
        yield reader, writer


async def test_bytes_go_both_ways_for_longer_than_an_idle_connection_is_kept(
    served: Served, tmp_path: Path
) -> None:
    async with asked(tmp_path, "echo") as (reader, writer):
        assert await reader.readexactly(len(HEAD)) == HEAD
        await asyncio.sleep(0.8)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await reader.readexactly(18) == b"GET / HTTP/1.1\r\n\r\n"
        writer.write_eof()
        assert await reader.read() == b""
    assert served.statuses == [200]


async def test_one_that_waits_for_nothing_is_ended_where_it_was_read(served: Served, tmp_path: Path) -> None:
    async with asked(tmp_path, "now") as (reader, _):
        assert await reader.read() == HEAD + b"all"
    assert served.statuses == [200]


async def test_a_client_that_goes_away_ends_it(served: Served, tmp_path: Path) -> None:
    async with asked(tmp_path, "waits") as (reader, _):
        assert await reader.readexactly(len(HEAD)) == HEAD
        assert not served.was_cancelled.is_set()
    async with asyncio.timeout(10):
        await served.was_cancelled.wait()


@pytest.mark.parametrize("name", ["fails_now", "fails_later"])
async def test_a_bug_breaks_it_off_and_writes_no_second_head(
    served: Served, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with asked(tmp_path, name) as (reader, _):
        assert await reader.read() == HEAD
    assert f"a bug in answering POST /{name}" in caplog.text
    assert [record for record in caplog.records if record.name == "asyncio"] == []


async def test_one_that_is_refused_stays_in_http(served: Served, tmp_path: Path) -> None:
    async with asked(tmp_path, "refuses") as (reader, writer):
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 409 ")
        writer.write(ASKED % b"now")
        assert await reader.read() == HEAD + b"all"
    assert served.statuses == [409, 200]


# --- with an upgrade ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["echo", "task"])
@pytest.mark.parametrize("size", PIECES)
async def test_what_comes_with_an_upgrade_is_for_who_takes_it(
    served: Served, tmp_path: Path, name: str, size: int
) -> None:
    said = LEAVES % name.encode() + EARLY
    async with connected(tmp_path) as (reader, writer):
        for piece in (said[:size], said[size:]):
            writer.write(piece)
            await _a_moment()
        writer.write_eof()
        assert await reader.read() == HEAD + EARLY
    assert served.statuses == [200]


async def test_a_body_that_comes_byte_by_byte_is_whole(served: Served, tmp_path: Path) -> None:
    body = b'{"a": "word"}'
    head, _, _ = LEAVES.partition(b"{}")
    head = (head % b"body").replace(b"Length: 2", b"Length: %d" % len(body))
    async with connected(tmp_path) as (reader, writer):
        for byte in head + body + b"more":
            writer.write(bytes([byte]))
            await _a_moment()
        writer.write_eof()
        assert await reader.read() == HEAD + body + b"more"


async def test_more_than_a_read_brings_comes_whole(served: Served, tmp_path: Path) -> None:
    much = bytes(range(256)) * 4000
    async with connected(tmp_path) as (reader, writer):
        writer.write(LEAVES % b"echo" + much)
        writer.write_eof()
        assert await reader.read() == HEAD + much


@pytest.mark.parametrize("seconds", [0.0, ways.BODY_SOON_SECONDS * 2])
async def test_a_body_that_comes_late_goes_through_aiohttp(
    served: Served, tmp_path: Path, seconds: float
) -> None:
    head, _, _ = (LEAVES % b"echo").partition(b"{}")
    async with connected(tmp_path) as (reader, writer):
        writer.write(head)
        await asyncio.sleep(seconds)
        writer.write(b"{")
        await asyncio.sleep(seconds)
        writer.write(b"}" + EARLY)
        writer.write_eof()
        assert await reader.read() == HEAD + EARLY


@pytest.mark.parametrize("size", PIECES)
async def test_an_upgrade_that_is_refused_goes_on_in_http(served: Served, tmp_path: Path, size: int) -> None:
    said = LEAVES % b"refuses" + ASKED % b"now"
    async with connected(tmp_path) as (reader, writer):
        for piece in (said[:size], said[size:]):
            writer.write(piece)
            await _a_moment()
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 409 ")
        assert await reader.read() == HEAD + b"all"
    assert served.statuses == [409, 200]


async def _a_moment() -> None:
    """In which the other end reads."""
    for _ in range(5):
        await asyncio.sleep(0)
