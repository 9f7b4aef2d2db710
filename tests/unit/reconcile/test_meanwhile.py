"""What is done for a wish before the disk has answered, and what is not."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Literal

import pytest

from agent.manifest.hashing import hashes
from agent.manifest.objects import Object, Where
from agent.manifest.spec import Asked, ContainerSpec, VolumeSpec
from agent.reconcile.api_objects import API_PROJECT
from agent.reconcile.convert import api_container_id
from agent.reconcile.loop import Loop
from store.records import Key
from tests.sim.fake_engine import FakeEngine
from tests.unit.reconcile.test_journal import Disk, until

KEY = Key(API_PROJECT, "volume", "data")
BOX = Key(API_PROJECT, "container", "0123456789ab")
BOX_ID = api_container_id("test", BOX.name)


def volume(*, keep: bool = True) -> Object:
    spec = VolumeSpec(name="data", keep=keep)
    return Object(KEY, spec, Where("", 0), *hashes(spec))


def box(ensure: Literal["running", "stopped"]) -> Object:
    asked = Asked(image="busybox:latest")
    spec = ContainerSpec(image="busybox:latest", container_name="box", ensure=ensure, asked=asked)
    return Object(BOX, spec, Where("", 0), *hashes(spec))


@contextlib.asynccontextmanager
async def running(disk: Disk, engine: FakeEngine | None = None) -> AsyncIterator[tuple[Loop, FakeEngine]]:
    engine = engine or FakeEngine(time.time)
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


@pytest.mark.parametrize("has_time", [True, False])
async def test_a_container_whose_wish_a_power_cut_takes_is_kept_by_the_next_agent(has_time: bool) -> None:
    disk = Disk(has_time=has_time)
    async with running(disk) as (loop, engine):
        disk.answers.clear()
        wish = asyncio.ensure_future(loop.put_together([box("stopped")]))
        await until(lambda: engine.state(BOX_ID) is not None)
        await never(wish.done)
        assert str(BOX) in disk.written and disk.safe == 0
        before = engine.state(BOX_ID)
    async with running(Disk(), engine) as (loop, _):  # whose store has no word of it
        assert engine.state(BOX_ID) == before and before.phase == "created"
        assert loop.objects()[BOX].owner == "api" and not loop.objects()[BOX].deleting
        assert loop.preview() == ()


@pytest.mark.parametrize("has_time", [True, False])
async def test_a_container_is_started_while_the_disk_is_waited_for(has_time: bool) -> None:
    disk = Disk(has_time=has_time)
    async with running(disk) as (loop, engine):
        await loop.put_together([box("stopped")])
        disk.answers.clear()
        wish = asyncio.ensure_future(loop.put(box("running"), starts=True, is_done_meanwhile=True))
        await until(lambda: (state := engine.state(BOX_ID)) is not None and state.phase == "running")
        await never(wish.done)
        disk.answers.set()
        await wish
        await until(loop.is_ready)
        assert loop.preview() == ()
