"""The end of a container is told after what it printed last, to who is attached."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from agent.api.context import CONTEXT
from agent.api.docker import container_life
from agent.api.docker.attached import LONGEST_SECONDS, all_is_sent, attached, reading
from agent.api.docker.exits import Exits
from agent.api.taken import wait_taken
from agent.reconcile.policy import Exit
from store.records import Key


async def test_all_is_sent_before_the_end_is_told() -> None:
    context: Any = SimpleNamespace(attached={})
    told: list[str] = []

    async def follow(name: str, turns: int) -> None:
        with attached(context, "box"):
            for _ in range(turns):
                await asyncio.sleep(0)
            told.append(name)

    async with asyncio.TaskGroup() as tasks:
        for name, turns in (("one", 3), ("two", 7)):
            tasks.create_task(follow(name, turns))
        await asyncio.sleep(0)
        await all_is_sent(context, "other")
        assert not told
        await all_is_sent(context, "box")
        assert told == ["one", "two"]
    assert context.attached == {}


async def test_who_does_not_read_holds_up_nobody_for_long() -> None:
    context: Any = SimpleNamespace(attached={})
    begun = time.monotonic()
    with attached(context, "box"):
        async with asyncio.timeout(10):
            await all_is_sent(context, "box")
    assert time.monotonic() - begun + 0.01 >= LONGEST_SECONDS
    assert context.attached == {}


@pytest.mark.parametrize(("of", "phase"), [(attached, "stopped"), (reading, "stopped"), (reading, "running")])
async def test_the_end_is_told_to_who_asks_late_when_what_was_printed_is_read(
    of: Callable[..., AbstractContextManager[None]], phase: str
) -> None:
    """The loop need not have told of that end yet: the engine knows of it first."""
    state = SimpleNamespace(id="box", phase=phase, exit_code=3, labels={})
    context: Any = SimpleNamespace(
        attached={}, reading={}, exits=Exits(), engine=SimpleNamespace(state=lambda _reference: state),
        loop=SimpleNamespace(next_change=asyncio.get_running_loop().create_future),
    )  # fmt: skip
    writer = Mock(write=AsyncMock(), write_headers=AsyncMock())
    app = web.Application()
    app[CONTEXT] = context
    request = make_mocked_request(
        "POST", "/containers/box/wait", app=app, match_info={"id": "box"}, writer=writer
    )
    with of(context, "box"):
        waiting = asyncio.ensure_future(container_life.wait(request))
        await _turns()
        context.exits.add(Key("", "container", "box"), Exit(1, "box", None, 1.0, 3))
        await _turns()
        assert not waiting.done()
    await waiting
    assert writer.write.await_args.args[0] == b'{"StatusCode": 3}\n'


async def _turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_client_has_read_all_when_its_socket_is_empty() -> None:
    near, far = socket.socketpair()
    near.setblocking(False)
    transport, _ = await asyncio.get_running_loop().connect_accepted_socket(asyncio.Protocol, near)
    with far:
        transport.write(b"word")
        waiting = asyncio.ensure_future(wait_taken(transport, 10))
        await _turns()
        assert not waiting.done()
        assert far.recv(100) == b"word"
        await waiting
        transport.write(b"another")
        begun = time.monotonic()
        await wait_taken(transport, 0.05)
        assert time.monotonic() - begun >= 0.05
        transport.abort()
        await wait_taken(transport, 10)
