"""The end of a container is told after what it printed last, to who is attached."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, Mock

from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from agent.api.context import CONTEXT
from agent.api.docker import container_life
from agent.api.docker.attached import LONGEST_SECONDS, all_is_sent, attached
from agent.api.docker.exits import Exits


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


async def test_the_end_that_the_loop_has_not_told_yet_is_told_after_what_was_printed() -> None:
    """The engine knows of it first: a container that lasts for a moment has ended when it is asked for."""
    state = SimpleNamespace(id="box", phase="stopped", exit_code=3)
    context: Any = SimpleNamespace(
        attached={}, exits=Exits(), engine=SimpleNamespace(state=lambda _reference: state)
    )
    app = web.Application()
    app[CONTEXT] = context
    writer = Mock(write=AsyncMock(), write_headers=AsyncMock())
    request = make_mocked_request(
        "POST", "/containers/box/wait", app=app, match_info={"id": "box"}, writer=writer
    )
    with attached(context, "box"):
        waiting = asyncio.ensure_future(container_life.wait(request))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
    await waiting
    assert writer.write.await_args.args[0] == b'{"StatusCode": 3}\n'
