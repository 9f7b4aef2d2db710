"""When the loop's pass is called: once a turn however often it is asked for, and when its time has come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from agent.reconcile.wakeup import Wakeup


class Passes:
    """What the loop does. after: the seconds that it says are left."""

    def __init__(self, *after: float) -> None:
        self.after = list(after)
        self.count = 0

    def __call__(self) -> float:
        self.count += 1
        return self.after.pop(0) if self.after else 3600.0


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0)


async def begun(wakeup: Wakeup, passes: Passes) -> asyncio.Task[None]:
    task = asyncio.get_running_loop().create_task(wakeup.run(passes))
    await until(lambda: passes.count > 0)
    return task


async def test_however_often_it_is_set_a_turn_has_one_pass() -> None:
    wakeup, passes = Wakeup(), Passes()
    task = await begun(wakeup, passes)
    for _ in range(5):
        wakeup.set()
    await until(lambda: passes.count > 1)
    for _ in range(5):
        await asyncio.sleep(0)
    assert passes.count == 2
    wakeup.stop()
    await task


async def test_it_comes_when_its_time_has_come_and_sooner_when_that_is_sooner() -> None:
    wakeup, passes = Wakeup(), Passes(3600.0, 0.01)
    task = await begun(wakeup, passes)
    wakeup.set()
    await until(lambda: passes.count == 3)
    wakeup.stop()
    await task


async def test_work_that_is_left_is_the_next_turn_s() -> None:
    wakeup, passes = Wakeup(), Passes(0.0, 0.0)
    task = await begun(wakeup, passes)
    await until(lambda: passes.count == 3)
    wakeup.stop()
    await task


async def test_what_was_done_meanwhile_is_not_looked_at_again_but_its_time_counts() -> None:
    wakeup, passes = Wakeup(), Passes()
    task = await begun(wakeup, passes)
    wakeup.set()
    wakeup.done(0.01)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert passes.count == 1
    await until(lambda: passes.count == 2)
    wakeup.set()
    wakeup.done(0.0)  # not all of it
    await until(lambda: passes.count == 3)
    wakeup.stop()
    await task


async def test_a_bug_in_the_pass_ends_it_and_is_heard_of() -> None:
    def work() -> float:
        raise ZeroDivisionError

    wakeup = Wakeup()
    with pytest.raises(ZeroDivisionError):
        await wakeup.run(work)
    assert not wakeup.is_running
    wakeup.set()  # nobody hears it
    await asyncio.sleep(0)


async def test_nothing_is_called_after_the_end() -> None:
    wakeup, passes = Wakeup(), Passes(0.01)
    task = await begun(wakeup, passes)
    wakeup.set()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0.05)
    assert passes.count == 1
