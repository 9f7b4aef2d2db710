"""The end of a container is told after what it printed last, to who is attached."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

from agent.api.docker.attached import LONGEST_SECONDS, all_is_sent, attached


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
