"""A coroutine that is begun where it is called: what a task would do with it, and the first of it at once."""

from __future__ import annotations

import asyncio
import sys

import pytest

from agent.first_step import Waits, begun, eager, first_step


async def test_what_waits_for_nothing_is_done_at_once() -> None:
    async def work() -> str:
        return "done"

    assert first_step(work()) == "done"


async def test_what_it_raises_at_once_is_raised() -> None:
    async def work() -> None:
        raise KeyError("why")

    with pytest.raises(KeyError):
        first_step(work())


async def test_what_waits_goes_on_with_what_came() -> None:
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    said: list[str] = []

    async def work() -> str:
        said.append("begun")
        await asyncio.sleep(0)
        said.append(await future)
        async with asyncio.timeout(20):  # it is in a task by now
            await asyncio.sleep(0.001)
        return "done"

    left = first_step(work())
    assert said == ["begun"]
    assert isinstance(left, Waits)
    task = asyncio.create_task(left.goes_on())
    await asyncio.sleep(0)
    future.set_result("came")
    assert await task == "done"
    assert said == ["begun", "came"]


async def test_an_error_and_a_cancellation_come_to_where_it_waits() -> None:
    heard: list[str] = []

    async def work(future: asyncio.Future[None]) -> str:
        try:
            await future
        except KeyError:
            heard.append("error")
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            heard.append("cancelled")
            await asyncio.sleep(0)  # it may wait once more
            raise
        return ""

    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    left = first_step(work(future))
    assert isinstance(left, Waits)
    task = asyncio.create_task(left.goes_on())
    future.set_exception(KeyError())
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert heard == ["error", "cancelled"]


async def test_who_is_cancelled_and_goes_on_all_the_same_has_a_result() -> None:
    async def work() -> str:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return "kept"
        return ""

    left = first_step(work())
    assert isinstance(left, Waits)
    task = asyncio.create_task(left.goes_on())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "kept"


async def test_a_task_is_made_of_what_waits_alone() -> None:
    done: list[int] = []

    async def work(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        done.append(turns)

    assert begun(work(0)) is None
    task = begun(work(2))
    assert done == [0]
    assert task is not None
    await task
    assert done == [0, 2]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.12 is the first that can")
async def test_an_eager_task_takes_its_first_step_at_once_and_has_a_task_of_its_own() -> None:
    async def work() -> asyncio.Task[str] | None:
        async with asyncio.timeout(10):
            return asyncio.current_task()

    mine = asyncio.current_task()
    task = eager(work())
    assert task.done()
    assert task.result() is task  # type: ignore[comparison-overlap]
    assert asyncio.current_task() is mine


async def test_an_eager_task_is_a_task_in_every_python() -> None:
    async def work(error: Exception | None) -> str:
        if error is not None:
            raise error
        await asyncio.sleep(0)
        return "done"

    assert await eager(work(None)) == "done"
    with pytest.raises(KeyError):
        await eager(work(KeyError()))
