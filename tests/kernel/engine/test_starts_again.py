"""A container that was ended by force, or ran out of memory, starts again as if for the first time."""

from __future__ import annotations

from runtime import cgroups
from runtime.engine import NativeEngine
from runtime.model import Resources
from tests.native import ended, run, shell

STUBBORN = "trap '' TERM; while :; do sleep 1000; done"


async def test_what_was_killed_runs_again(engine: NativeEngine) -> None:
    """cgroup.kill has a memory: a new process in the same cgroup would die at once."""
    config = shell(engine, "stubborn", STUBBORN)
    await run(engine, config)
    for _ in range(2):
        await engine.stop(config.id, 0)
        await engine.start(config.id)
        answer = await engine.exec(config.id, ["echo", "alive"], timeout_seconds=10)
        assert answer.output == b"alive\n"
        state = engine.state(config.id)
        assert state is not None and state.phase == "running"
    await engine.stop(config.id, 0)


async def test_want_of_memory_in_one_life_is_not_that_of_the_next(engine: NativeEngine) -> None:
    script = "test -e /once && exit 5; touch /once; dd if=/dev/zero of=/dev/null bs=100M count=1; exit 6"
    config = shell(engine, "hungry", script, resources=Resources(memory_bytes=32 << 20))
    await run(engine, config)
    first = await ended(engine, config.id)
    await engine.start(config.id)
    second = await ended(engine, config.id)
    assert (first.oom_killed, second.oom_killed, second.exit_code) == (True, False, 5)


async def test_limits_that_are_gone_do_not_bind_the_next_life(engine: NativeEngine) -> None:
    config = shell(engine, "bound", STUBBORN, resources=Resources(pids=20, memory_bytes=32 << 20))
    await run(engine, config)
    await engine.stop(config.id, 0)
    await engine.update(config.id, Resources(pids=None))
    await engine.start(config.id)
    path = f"/{engine.layout.cgroup_parent}/{config.id}"
    unbound = {"memory": {"limit": -1}, "pids": {"limit": -1}}
    assert cgroups.find_drift(path, unbound) == ()
    await engine.stop(config.id, 0)
