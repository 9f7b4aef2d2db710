"""Of an answer in many small pieces little is held for a client that does not read it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from aiohttp import web

from agent.api.answering import answer_errors
from agent.api.context import CONTEXT
from agent.api.ways import HELD_BYTES, Runner, Site, Way

DRAIN_BYTES = 1 << 16  # between two times that aiohttp asks whether the client is behind
SECONDS = 20.0


async def test_what_is_held_for_who_does_not_read(tmp_path: Path) -> None:
    served: list[asyncio.Transport] = []
    written = 0

    async def lines(request: web.Request) -> web.StreamResponse:
        nonlocal written
        answer = web.StreamResponse()
        await answer.prepare(request)
        assert request.transport is not None
        served.append(request.transport)
        while True:
            await answer.write(b"a line\n")
            written += 1

    async with _listening(tmp_path / "s", lines) as connection:
        await asyncio.get_running_loop().sock_sendall(connection, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(SECONDS):
            before = -1
            while not served or written != before:  # until its task waits
                before = written
                await asyncio.sleep(0.01)
        assert 0 < served[0].get_write_buffer_size() <= HELD_BYTES + DRAIN_BYTES


@contextlib.asynccontextmanager
async def _listening(path: Path, handler: Any) -> Any:
    app = web.Application(middlewares=[answer_errors])
    nobody: Any = SimpleNamespace(metrics=SimpleNamespace(on_request=lambda _status: None))
    app[CONTEXT] = nobody
    app.router.add_get("/", handler)
    runner = Runner(app, handler_cancellation=True)
    await runner.setup()
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as connection:
        listening.bind(str(path))
        await Site(runner, listening, Way("test")).start()
        connection.setblocking(False)
        connection.connect(str(path))
        yield connection
        connection.close()
        await runner.cleanup()
