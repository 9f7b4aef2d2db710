"""R14: containers that fork without an end. Each is held by its own limit, all else goes on, and they end
when they are told to."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from agent.drill import kernel
from runtime import cgroups
from runtime.engine import NativeEngine
from runtime.model import ContainerConfig, Resources
from tests.native import PATIENCE_SECONDS, config_of, ended, id_of, run, shell, until

BOMBS, LIMIT = 20, 30
BOMB = "b() { b & sleep 1000; }; b"  # and stays, however many of its forks fail
BACKSTOP = 2 * BOMBS * LIMIT  # of all together: a limit that is not kept must not take this host along


def bomb(engine: NativeEngine, number: int) -> ContainerConfig:
    return shell(engine, f"bomb{number}", BOMB, resources=Resources(pids=LIMIT))


def was_refused(engine: NativeEngine, id: str) -> bool:
    """Whether one of its forks met its limit (pids.events: max)."""
    file = kernel.cgroup_file(f"/{engine.layout.cgroup_parent}/{id}", "pids", "pids.events")
    return int(file.read_text().split()[1]) > 0


def counted(engine: NativeEngine, id: str) -> int:
    file = kernel.cgroup_file(f"/{engine.layout.cgroup_parent}/{id}", "pids", "pids.current")
    return int(file.read_text())


async def test_r14_each_is_held_by_its_own_limit_and_ends_when_told(engine: NativeEngine) -> None:
    await run(engine, config_of(engine, "quiet", "sleep", "1000"))
    found = cgroups.hierarchies()
    parent = Path(found.directory("pids" if "pids" in found.v1 else "", f"/{engine.layout.cgroup_parent}"))
    (parent / "pids.max").write_text(str(BACKSTOP))
    bombs = [bomb(engine, number) for number in range(BOMBS)]
    await asyncio.gather(*(run(engine, each) for each in bombs))
    most = dict.fromkeys((each.id for each in bombs), 0)

    def look() -> bool:
        for id in most:
            most[id] = max(most[id], counted(engine, id))
        return all(was_refused(engine, id) for id in most)

    await until(look, 2 * PATIENCE_SECONDS)
    slowest = 0.0
    for number in range(5):
        began = time.monotonic()
        config = config_of(engine, f"other{number}", "true")
        await run(engine, config)
        assert (await ended(engine, config.id)).exit_code == 0
        await engine.delete(config.id)
        slowest = max(slowest, time.monotonic() - began)
        look()
    print(f"beside {BOMBS} bombs the slowest of 5 starts, with its end, took {slowest:.2f} s")
    assert LIMIT // 2 < max(most.values()) <= LIMIT  # those whose fork failed have ended
    assert engine.state(id_of("quiet")).phase == "running"  # type: ignore[union-attr]
    await asyncio.gather(*(engine.stop(each.id, 0) for each in bombs))
    assert all(counted(engine, each.id) == 0 for each in bombs)


async def test_r14_who_asks_for_no_limit_has_one(engine: NativeEngine) -> None:
    config = config_of(engine, "one", "sleep", "1000")
    await run(engine, config)
    file = kernel.cgroup_file(f"/{engine.layout.cgroup_parent}/{config.id}", "pids", "pids.max")
    assert file.read_text() == "2048\n"
