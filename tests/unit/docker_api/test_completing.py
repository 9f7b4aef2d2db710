"""What was begun is done to its end, whoever waits for it."""

from __future__ import annotations

import asyncio
import gc

import pytest

from agent.api.docker.completing import completed


async def test_its_result_is_the_callers() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    assert await completed(work()) == 7


async def test_who_goes_away_ends_nothing() -> None:
    done, go = [], asyncio.Event()

    async def work() -> None:
        done.append("first")
        await go.wait()
        done.append("second")

    caller = asyncio.ensure_future(completed(work()))
    while not done:
        await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go.set()
    while len(done) < 2:
        await asyncio.sleep(0)


async def test_an_error_is_the_callers_too() -> None:
    async def work() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await completed(work())


async def test_an_error_that_is_nobodys_is_no_bug() -> None:
    """It is not told to the loop's handler, which would log a traceback."""
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
    go = asyncio.Event()

    async def work() -> None:
        await go.wait()
        raise ValueError("no")

    caller = asyncio.ensure_future(completed(work()))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go.set()
    for _ in range(5):
        await asyncio.sleep(0)
    gc.collect()
    assert not told
