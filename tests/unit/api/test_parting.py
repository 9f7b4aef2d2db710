"""Connections that are over, whatever became of them, are freed at once, with no garbage collector."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import time
from collections import Counter
from collections.abc import Coroutine, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web

from agent.api.answering import answer_errors
from agent.api.context import CONTEXT
from agent.api.upgrade import Upgraded, take_over
from agent.api.ways import Runner, Site, Way

CLIENTS = 3
MOMENT_SECONDS = 0.03
SECONDS = 5.0  # in which what is under way ends
LOOKS = 50  # in which the loop has its turns: one takes a second, behind all other tests and on a busy host
WATCHED = ("Inbound", "EarlyReader", "_SelectorSocketTransport", "Request", "StreamReader", "BadHttpMethod")
HEAD = b"POST /%s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Served:
    """Handlers that are left in the middle of what they do. peer: whom they answer."""

    def __init__(self) -> None:
        self.peer: socket.socket | None = None

    def at_once(
        self, request: web.Request
    ) -> web.StreamResponse | Coroutine[Any, Any, web.StreamResponse] | None:
        if request.path == "/now":
            return web.Response(text="at once")
        if request.path == "/taken":
            return self.upgraded(request)
        return self._begun() if request.path == "/begun" else None

    async def _begun(self) -> web.Response:
        await asyncio.sleep(0.01)
        return web.Response(text="a little later")

    async def plain(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(text="as asked for")

    async def upgraded(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        connection = take_over(request, {})
        while await connection.read():
            pass
        connection.close()
        return Upgraded()

    async def gone_meanwhile(self, request: web.Request) -> web.StreamResponse:
        """Written to when that is known, and this not ended yet."""
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"a beginning")
        assert request.transport is not None
        request.transport.close()
        await answer.write(b"to nobody")
        return answer

    async def broken(self, request: web.Request) -> web.StreamResponse:
        """Written to when that is not known: what comes of it ends this."""
        await request.read()
        self._leave()
        connection = take_over(request, {})
        while True:
            await connection.read_frame()
            await asyncio.sleep(1)

    def _leave(self) -> None:
        assert self.peer is not None
        self.peer.close()


async def _says(connection: socket.socket, data: bytes) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, data)
    with contextlib.suppress(OSError):  # TimeoutError is one
        await asyncio.wait_for(loop.sock_recv(connection, 1000), MOMENT_SECONDS)
    await asyncio.sleep(0)


def _living() -> Counter[str]:
    return Counter(name for each in gc.get_objects() if (name := type(each).__name__) in WATCHED)


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"GET /plain HT", id="half a head"),
        pytest.param(b"\x16\x03\x01 this is no HTTP\r\n\r\n", id="no HTTP"),
        pytest.param(b"GET /plain HTTP/1.1\r\nHost: x\r\n\r\n", id="answered"),
        pytest.param(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", id="a body"),
        pytest.param(b"GET /plain HTTP/1.1\r\nHost: x\r\n\r\n" * 3 + b"\x01\r\n\r\n", id="more that is none"),
        pytest.param(b"GET /now HTTP/1.1\r\nHost: x\r\n\r\n", id="at once"),
        pytest.param(b"GET /begun HTTP/1.1\r\nHost: x\r\n\r\n", id="begun where it was read"),
        pytest.param(b"GET /taken HTTP/1.1\r\nHost: x\r\n\r\n", id="taken over where it was read"),
        pytest.param(HEAD % b"upgraded", id="upgraded"),
        pytest.param(HEAD % b"gone_meanwhile", id="gone meanwhile"),
        pytest.param(HEAD % b"broken", id="broken"),
        pytest.param(HEAD % b"broken" + b"\x02 none\r\n\r\n", id="broken, with more"),
    ],
)
async def test_nothing_is_left_for_the_collector(said: bytes, tmp_path: Path) -> None:
    path, served = str(tmp_path / "s"), Served()
    async with _listening(path, served):
        before = _living()
        for _ in range(CLIENTS):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.setblocking(False)
                connection.connect(path)
                served.peer = connection
                await _says(connection, said)
        served.peer = None
        deadline, looks = time.monotonic() + SECONDS, 0
        while left := _living() - before:
            looks += 1
            assert time.monotonic() < deadline or looks < LOOKS, left
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def _listening(path: str, served: Served) -> Any:
    app = web.Application(middlewares=[answer_errors])
    nobody: Any = SimpleNamespace(metrics=SimpleNamespace(on_request=lambda _status: None))
    app[CONTEXT] = nobody
    app.router.add_get("/plain", served.plain)
    app.router.add_post("/body", served.plain)
    for handler in (served.upgraded, served.gone_meanwhile, served.broken):
        app.router.add_post(f"/{handler.__name__}", handler)
    runner = Runner(app, served.at_once, handler_cancellation=True)
    await runner.setup()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        await Site(runner, listening, Way("test")).start()
        yield
        await runner.cleanup()
