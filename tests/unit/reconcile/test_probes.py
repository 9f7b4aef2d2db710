"""Probes over real sockets on loopback, and by exec through an engine in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from agent.manifest.spec import Healthcheck
from agent.reconcile.probes import ask
from runtime.errors import Temporary
from runtime.model import ContainerState, ExecResult
from tests.sim.fake_engine import FakeEngine

STATE = ContainerState("a" * 64, "web", {}, "running", started_at=1.0)
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def engine(result: ExecResult | Exception | None = None) -> FakeEngine:
    fake = FakeEngine(lambda: 0.0)
    fake.foreign(STATE.id)
    if isinstance(result, Exception):
        fake.fault = lambda op, subject: result
    elif result is not None:
        fake.exec_result = lambda id, argv: result
    return fake


def answering(data: bytes) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        writer.close()

    return handle


async def probe(handler: Handler, check: Callable[[int], Healthcheck]) -> tuple[bool, str]:
    async with await asyncio.start_server(handler, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        answer = await ask(engine(), STATE, check(port))
    return answer.is_ok, answer.output.replace(str(port), "PORT")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", (True, ":PORT/up?x=1 answers 200 OK")),
        (b"HTTP/1.0 302 Found\n", (True, ":PORT/up?x=1 answers 302 Found")),
        (b"HTTP/1.1 503\r\n", (False, ":PORT/up?x=1 answers 503")),
        (b"SSH-2.0-x\r\n", (False, ":PORT/up?x=1 does not speak HTTP: 'SSH-2.0-x'")),
        (b"", (False, ":PORT/up?x=1 does not speak HTTP: ''")),
        (b"x" * 9000, (False, f":PORT/up?x=1 does not speak HTTP: {'x' * 80!r}")),
    ],
)
async def test_http(reply: bytes, expected: tuple[bool, str]) -> None:
    assert await probe(answering(reply), lambda port: Healthcheck(http=f":{port}/up?x=1")) == expected


async def test_http_url_with_a_host() -> None:
    reply = answering(b"HTTP/1.1 204 No Content\r\n\r\n")
    is_ok, _ = await probe(reply, lambda port: Healthcheck(http=f"http://localhost:{port}"))
    assert is_ok


async def test_tcp() -> None:
    is_ok, text = await probe(answering(b""), lambda port: Healthcheck(tcp=f"127.0.0.1:{port}"))
    assert is_ok and text == "127.0.0.1:PORT accepts connections"


async def test_nobody_listens() -> None:
    async with await asyncio.start_server(answering(b""), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
    answer = await ask(engine(), STATE, Healthcheck(tcp=f":{port}"))
    assert not answer.is_ok and answer.output == "Connection refused"


async def test_no_answer_in_time() -> None:
    gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        gone.set()

    found = await probe(silent, lambda port: Healthcheck(http=f":{port}/", timeout=0.05))
    assert found == (False, "no answer within 0.05 s")
    await gone.wait()  # our end of the connection was closed


@pytest.mark.parametrize("text", ["", "port", ":0", ":70000", "host:"])
async def test_no_address(text: str) -> None:
    answer = await ask(engine(), STATE, Healthcheck(tcp=text or ":"))
    assert not answer.is_ok and "is not host:port" in answer.output


async def test_http_default_port() -> None:
    answer = await ask(engine(), STATE, Healthcheck(http="http://localhost/", timeout=1))
    assert "is not host:port" not in answer.output


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (ExecResult(0, b"fine"), (True, "fine")),
        (ExecResult(3, b""), (False, "exit code 3")),
        (ExecResult(137, b"half", timed_out=True), (False, "no answer within 2 s: half")),
        (Temporary("exec", "web", "no pids left"), (False, "exec web: no pids left")),
    ],
)
async def test_exec(result: ExecResult | Exception, expected: tuple[bool, str]) -> None:
    answer = await ask(engine(result), STATE, Healthcheck(test=("CMD", "check"), timeout=2))
    assert (answer.is_ok, answer.output) == expected


async def test_a_shell_line_goes_to_the_shell() -> None:
    fake, seen = engine(), []
    fake.exec_result = lambda id, argv: seen.append(tuple(argv)) or ExecResult(0, b"")  # type: ignore[func-returns-value]
    await ask(fake, STATE, Healthcheck(test=("CMD-SHELL", "a && b")))
    await ask(fake, STATE, Healthcheck(test=("CMD", "a", "b")))
    assert seen == [("/bin/sh", "-c", "a && b"), ("a", "b")]
