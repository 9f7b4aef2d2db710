"""The supervisor is killed, started twice and re-executed; containers and their output do not notice."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from runtime.engine import NativeEngine
from runtime.errors import Temporary
from runtime.layout import Layout
from runtime.supervisor import starter
from tests.native import (
    PATIENCE_SECONDS,
    another_engine,
    config_of,
    ended,
    kernel_tells_exits,
    native_engine,
    output,
    records,
    run,
    shell,
    supervisor_pid,
    until,
)

LINES = 400_000
FLOOD = f"i=0; while [ $i -lt {LINES} ]; do echo line $i; i=$((i+1)); done; exit 17"


async def test_kill_under_a_log_flood_loses_no_line_and_no_exit_code(engine: NativeEngine) -> None:
    flood = shell(engine, "flood", FLOOD, log_max_bytes=1 << 30)
    quiet = config_of(engine, "quiet", "sleep", "1000")
    await run(engine, quiet)
    await run(engine, flood)
    pid = engine.state(flood.id).pid  # type: ignore[union-attr]
    kills = 0
    while engine.state(flood.id).phase == "running" and kills < 6:  # type: ignore[union-attr]
        old = await supervisor_pid(engine)
        os.kill(old, signal.SIGKILL)
        kills += 1
        await until(lambda: not engine.is_supervisor_up)
        await until(lambda: engine.is_supervisor_up)
        assert await supervisor_pid(engine) != old
    assert kills >= 2
    state = await ended(engine, flood.id)
    assert state.exit_code == 17 or (state.exit_code is None and not kernel_tells_exits())
    assert [record.text for record in records(engine, flood.id)] == [b"line %d" % n for n in range(LINES)]
    living = engine.state(quiet.id)
    assert living is not None and living.phase == "running" and living.pid != pid
    os.kill(living.pid or 0, 0)


async def test_output_and_exit_while_no_supervisor_runs(engine: NativeEngine) -> None:
    config = shell(engine, "one", "while ! [ -e /go ]; do sleep 0.01; done; echo last words; exit 6")
    await run(engine, config)
    living = engine.state(config.id)
    assert living is not None and living.pid
    engine._client._is_closing = True  # nobody starts another one
    old = await supervisor_pid(engine)
    os.kill(old, signal.SIGKILL)
    await until(lambda: engine._client._wire is None)
    open(f"/proc/{living.pid}/root/go", "w").close()
    await until(lambda: not os.path.exists(f"/proc/{living.pid}"))
    engine._client._is_closing = False
    await engine._client.open()
    await engine._supervised.look()
    state = engine.state(config.id)
    assert state is not None and state.phase == "stopped"
    assert output(engine, config.id) == b"last words\n"


async def test_who_runs_a_command_as_it_dies_waits_for_the_next(engine: NativeEngine) -> None:
    config = config_of(engine, "one", "sleep", "1000")
    await run(engine, config)
    os.kill(await supervisor_pid(engine), signal.SIGKILL)
    await until(lambda: not engine.is_supervisor_up)
    result = await engine.exec(config.id, ["echo", "done"], timeout_seconds=PATIENCE_SECONDS)
    assert (result.exit_code, result.output) == (0, b"done\n")


async def test_nobody_waits_for_ever_for_one_that_does_not_come(
    engine: NativeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(engine, "one", "sleep", "1000")
    await run(engine, config)
    monkeypatch.setattr("runtime.execs.WAIT_SECONDS", 0.2)
    with monkeypatch.context() as patched:
        patched.setattr(starter, "ensure", lambda _layout: (_ for _ in ()).throw(OSError("none today")))
        os.kill(await supervisor_pid(engine), signal.SIGKILL)
        await until(lambda: not engine.is_supervisor_up)
        with pytest.raises(Temporary, match="it is being started again"):
            await engine.start_exec(config.id, ["true"])
    await until(lambda: engine.is_supervisor_up)


async def test_an_adopted_container_tells_its_exit_code(engine: NativeEngine) -> None:
    config = shell(engine, "one", "trap 'exit 33' TERM; echo ready; while :; do sleep 0.01; done")
    await run(engine, config)
    await until(lambda: output(engine, config.id))
    os.kill(await supervisor_pid(engine), signal.SIGKILL)
    await until(lambda: not engine.is_supervisor_up)
    await until(lambda: engine.is_supervisor_up)
    await engine.stop(config.id, 10)
    code = engine.state(config.id).exit_code  # type: ignore[union-attr]
    # Without the kernel's word it is known only when we look before the reaper does.
    assert code == 33 or (code is None and not kernel_tells_exits())


async def test_the_next_agent_finds_everything(engine: NativeEngine, instance: Layout) -> None:
    runs = config_of(engine, "runs", "sleep", "1000")
    exits = shell(engine, "exits", "exit 4")
    made = config_of(engine, "made", "true")
    await run(engine, runs)
    await run(engine, exits)
    await ended(engine, exits.id)
    await engine.create(made)
    before = {state.name: state for state in engine.list()}
    await engine.close()
    async with another_engine(instance) as second:
        after = {state.name: state for state in second.list()}
        assert after == before
        await second.stop(runs.id, 0)
        assert second.state(runs.id).exit_code == 137  # type: ignore[union-attr]


async def test_an_exit_while_no_agent_runs_is_known_to_the_next(
    engine: NativeEngine, instance: Layout
) -> None:
    config = shell(engine, "one", "while ! [ -e /go ]; do sleep 0.01; done; exit 6")
    await run(engine, config)
    living = engine.state(config.id)
    assert living is not None
    await engine.close()
    open(f"/proc/{living.pid}/root/go", "w").close()
    async with another_engine(instance) as second:
        assert (await ended(second, config.id)).exit_code == 6


async def test_two_starters_make_one_supervisor(instance: Layout) -> None:
    socks = await asyncio.gather(*(asyncio.to_thread(starter.ensure, instance) for _ in range(8)))
    pids = set()
    for sock in socks:
        pids.add(int.from_bytes(sock.getsockopt(1, 17, 12)[:4], "little"))
        sock.close()
    assert len(pids) == 1
    from runtime.cleanup import remove_instance

    remove_instance(instance, with_data=True)


async def test_reexec_keeps_children_descriptors_and_clients(engine: NativeEngine) -> None:
    config = shell(engine, "one", "printf begun; while ! [ -e /go ]; do sleep 0.01; done; echo , end; exit 8")
    await run(engine, config)
    loud = shell(engine, "loud", "i=0; while [ $i -lt 100000 ]; do echo line $i; i=$((i+1)); done")
    await run(engine, loud)
    waiting = asyncio.create_task(engine._client.call("wait", name=config.id))
    pid = await supervisor_pid(engine)
    for _ in range(5):
        before = (await engine._client.call("ping"))["executed_at"]
        await engine._client.call("reexec")
        assert (await engine._client.call("ping"))["executed_at"] > before
        assert await supervisor_pid(engine) == pid
    living = engine.state(config.id)
    assert living is not None and living.phase == "running"
    open(f"/proc/{living.pid}/root/go", "w").close()
    assert (await waiting)["exit_code"] == 8
    assert (await ended(engine, config.id)).exit_code == 8
    await ended(engine, loud.id)
    assert output(engine, loud.id) == b"".join(b"line %d\n" % number for number in range(100000))
    assert engine.is_supervisor_up


@pytest.mark.parametrize("rude", [False, True])
async def test_stopping_the_supervisor_leaves_containers_running(engine: NativeEngine, rude: bool) -> None:
    config = config_of(engine, "one", "sleep", "1000")
    await run(engine, config)
    pid = engine.state(config.id).pid  # type: ignore[union-attr]
    if rude:
        os.kill(await supervisor_pid(engine), signal.SIGTERM)
    else:
        await engine._client.call("stop", force=True)
    await until(lambda: not engine.is_supervisor_up)
    await until(lambda: engine.is_supervisor_up)
    state = engine.state(config.id)
    assert state is not None and (state.phase, state.pid) == ("running", pid)


async def test_adopted_without_their_terminal_and_input_containers_cost_nothing(
    instance: Layout, busybox_archive: Path
) -> None:
    """Agent and supervisor killed together: what only they held is lost, and nothing waits for it busily."""
    async with native_engine(instance, busybox_archive) as first:
        ticking = shell(first, "ticking", "while :; do echo tick; sleep 0.01; done")
        await run(first, ticking)
        await run(first, shell(first, "terminal", "while :; do echo tick; sleep 0.05; done", tty=True))
        await run(first, shell(first, "reader", "cat; exec sleep 1000", stdin_open=True))
        first._client._is_closing = True  # nobody starts another one
        pid = await supervisor_pid(first)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: first._client._wire is None)
        await first.close()
        async with another_engine(instance) as second:
            assert {state.phase for state in second.list()} == {"running"}
            supervisor = await supervisor_pid(second)
            begun, before = time.monotonic(), _cpu_seconds(supervisor)
            lines = len(records(second, ticking.id))
            await until(lambda: len(records(second, ticking.id)) > lines + 50)
            used, passed = _cpu_seconds(supervisor) - before, time.monotonic() - begun
            assert used < passed / 4, f"{used} s of {passed} s"


def _cpu_seconds(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
