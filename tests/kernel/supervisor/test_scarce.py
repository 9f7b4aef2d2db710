"""A supervisor that runs out of descriptors in the middle of a start: whichever call it is that fails, who
asked hears so, nothing stays behind, and what runs goes on."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.engine import NativeEngine
from runtime.errors import Temporary
from runtime.layout import Layout
from runtime.supervisor import starter
from runtime.supervisor.loop import MAX_FAILURES
from tests.native import another_engine, config_of, run, supervisor_pid, until

MOST = 40  # a start takes fewer than that


@contextmanager
def descriptors_left(pid: int, count: int) -> Iterator[None]:
    """Have a process open no more than `count` beside what it has."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    taken = sorted(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
    free = (number for number in range(taken[-1] + count + 2) if number not in taken)
    limit = [next(free) for _ in range(count + 1)][-1]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def count_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


async def test_r15_a_start_fails_at_any_descriptor_and_leaves_nothing(engine: NativeEngine) -> None:
    steady, config = config_of(engine, "steady", "sleep", "1000"), config_of(engine, "one", "sleep", "1000")
    await run(engine, steady)
    await engine.create(config)
    await engine.start(config.id)  # everything was used once
    await engine.stop(config.id, 0)
    pid, living, refused = await supervisor_pid(engine), engine.state(steady.id), 0
    before = count_of(pid)
    for left in range(MOST):
        try:
            with descriptors_left(pid, left):
                await engine.start(config.id)
        except Temporary as error:
            assert "Too many open files" in error.reason
            refused += 1
        await engine.stop(config.id, 0)
        await until(lambda: count_of(pid) == before)
        assert Path(f"/proc/{pid}/task/{pid}/children").read_text().split() == [str(living.pid)]  # type: ignore[union-attr]
    assert 3 < refused < MOST
    await engine.start(config.id)
    assert await supervisor_pid(engine) == pid and engine.state(steady.id) == living


async def test_r15_who_comes_when_there_is_none_is_heard_later(
    engine: NativeEngine, instance: Layout
) -> None:
    """More often than the loop bears what fails."""
    pid = await supervisor_pid(engine)
    with descriptors_left(pid, 0):
        waiting = [await asyncio.to_thread(starter.ensure, instance) for _ in range(2 * MAX_FAILURES)]
        assert await supervisor_pid(engine) == pid  # who has a connection is served all the same
    for sock in waiting:
        sock.close()
    async with another_engine(instance) as second:
        assert await supervisor_pid(second) == pid
