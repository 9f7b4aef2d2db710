"""What is done for a wish before the disk has answered, and what is not."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

import pytest

from agent.manifest.hashing import hashes
from agent.manifest.objects import Object, Where
from agent.manifest.spec import VolumeSpec
from agent.reconcile.api_objects import API_PROJECT
from agent.reconcile.loop import Loop
from store.records import Key
from tests.sim.fake_engine import FakeEngine
from tests.unit.reconcile.test_journal import Disk, until

KEY = Key(API_PROJECT, "volume", "data")


def volume(*, keep: bool = True) -> Object:
    spec = VolumeSpec(name="data", keep=keep)
    return Object(KEY, spec, Where("", 0), *hashes(spec))


@contextlib.asynccontextmanager
async def running(disk: Disk) -> AsyncIterator[tuple[Loop, FakeEngine]]:
    engine = FakeEngine(time.time)
    loop = Loop(engine, disk, instance="test")
    task = asyncio.ensure_future(loop.run())
    try:
        await until(loop.is_ready)
        yield loop, engine
    finally:
        disk.answers.set()
        await loop.stop()
        await task


async def never(is_so: Callable[[], bool]) -> None:
    for _ in range(20):
        await asyncio.sleep(0.002)
        assert not is_so()


@pytest.mark.parametrize("has_time", [True, False])
@pytest.mark.parametrize("meanwhile", [True, False])
async def test_a_volume_is_made_while_the_disk_is_waited_for_and_told_of_when_it_has_answered(
    meanwhile: bool, has_time: bool
) -> None:
    disk = Disk(has_time=has_time)
    async with running(disk) as (loop, engine):
        disk.answers.clear()
        wish = asyncio.ensure_future(loop.put(volume(), is_done_meanwhile=meanwhile))
        await until(lambda: str(KEY) in disk.written)
        if meanwhile:
            await until(lambda: engine.volume("data") is not None)
        else:
            await never(lambda: engine.volume("data") is not None)
        await never(wish.done)
        assert disk.safe == 0
        disk.answers.set()
        await wish
        assert disk.safe
        await until(lambda: engine.volume("data") is not None)


async def test_who_goes_away_meanwhile_leaves_a_wish_that_comes_true() -> None:
    disk = Disk()
    async with running(disk) as (loop, engine):
        disk.answers.clear()
        wish = asyncio.ensure_future(loop.put(volume(), is_done_meanwhile=True))
        await asyncio.sleep(0)
        wish.cancel()
        disk.answers.set()
        await until(lambda: engine.volume("data") is not None)
        await loop.flush()
        assert disk.safe == len(disk.written)
