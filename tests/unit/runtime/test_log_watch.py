"""Who follows a log is told of what is written, of a rotation and of an end, and misses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from runtime.log_watch import LogWatch

LONG_SECONDS = 30.0


@pytest.fixture
async def watch() -> AsyncIterator[LogWatch]:
    made = LogWatch()
    yield made
    made.close()


def never() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


async def begun(watch: LogWatch, directory: Path, end: asyncio.Future[Any]) -> asyncio.Task[None]:
    """Somebody who waits, and has looked already."""
    looked = asyncio.Event()

    def is_there() -> bool:
        looked.set()
        return False

    task = asyncio.ensure_future(watch.wait(directory, is_there, end, LONG_SECONDS))
    await looked.wait()
    return task


async def test_all_who_wait_are_told_of_each_write(watch: LogWatch, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    with log.open("ab", buffering=0) as file:
        for _ in range(3):
            waiting = [await begun(watch, tmp_path, never()) for _ in range(2)]
            file.write(b"line\n")
            async with asyncio.timeout(10):
                await asyncio.gather(*waiting)


async def test_of_a_rotation(watch: LogWatch, tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    waiting = await begun(watch, tmp_path, never())
    (tmp_path / "log").rename(tmp_path / "log.1")
    async with asyncio.timeout(10):
        await waiting


async def test_of_another_log_nobody_is_told(watch: LogWatch, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one = await begun(watch, tmp_path / "one", never())
    two = await begun(watch, tmp_path / "two", never())
    (tmp_path / "two/log").touch()
    async with asyncio.timeout(10):
        await two
    assert not one.done()
    one.cancel()


async def test_of_an_end_and_of_what_was_there(watch: LogWatch, tmp_path: Path) -> None:
    end = never()
    waiting = await begun(watch, tmp_path, end)
    end.set_result(None)
    async with asyncio.timeout(10):
        await waiting
        await watch.wait(tmp_path, lambda: True, never(), LONG_SECONDS)


async def test_a_log_that_is_not_there_is_looked_for_again(watch: LogWatch, tmp_path: Path) -> None:
    async with asyncio.timeout(10):
        await watch.wait(tmp_path / "nowhere", lambda: False, never(), LONG_SECONDS)
