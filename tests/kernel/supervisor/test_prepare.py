"""What is prepared waits for the word of who asked for it; without that nothing of it stays."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from runtime import cgroups
from runtime.engine import NativeEngine
from runtime.errors import Temporary
from runtime.model import ContainerConfig
from runtime.supervisor.client import Client, Result
from tests.gate import is_prepared
from tests.native import ended, output, shell, supervisor_pid, until


async def _prepare(engine: NativeEngine, client: Client | None = None) -> tuple[ContainerConfig, Any]:
    config = shell(engine, "one", "echo ran; exit 3")
    await engine.create(config)
    engine._assembly.complete(config)
    answer = (client or engine._client).prepare(config.id, engine._assembly.bundle(config.id), label="one")
    return config, answer


def _pids(engine: NativeEngine, config: ContainerConfig) -> tuple[int, ...]:
    return cgroups.list_pids(engine._assembly.cgroup(config.id))


async def _is_refused(engine: NativeEngine, config: ContainerConfig, answer: asyncio.Future[Result]) -> None:
    """The program never ran, the starter hears of it, and the next start is as any."""
    with pytest.raises(Temporary):
        await engine._client.started(config.id, answer)
    await until(lambda: not _pids(engine, config))
    assert output(engine, config.id) == b"" and engine.state(config.id).phase == "created"  # type: ignore[union-attr]
    await _runs(engine, config)


async def _runs(engine: NativeEngine, config: ContainerConfig) -> None:
    async def start() -> bool:
        with contextlib.suppress(Temporary):  # of the moment in which the other is being reaped
            await engine.start(config.id)
            return True
        return False

    while not await start():
        await asyncio.sleep(0.005)
    assert (await ended(engine, config.id)).exit_code == 3
    assert output(engine, config.id) == b"ran\n"


async def test_its_program_waits_for_go(engine: NativeEngine) -> None:
    config, answer = await _prepare(engine)
    await until(lambda: is_prepared(engine, config.id))
    assert not answer.done() and output(engine, config.id) == b""
    assert not Path(engine._assembly.run_directory(config.id), "state.json").exists()
    engine._client.go(config.id)
    record = await engine._client.started(config.id, answer)
    assert record["pid"] and record["start_time"]
    await until(lambda: output(engine, config.id) == b"ran\n")
    engine._client.go(config.id)  # one that comes too late
    assert (await engine._client.call("ping"))["pid"]


async def test_go_may_come_with_it(engine: NativeEngine) -> None:
    config, answer = await _prepare(engine)
    engine._client.go(config.id)
    await engine._client.started(config.id, answer)
    await until(lambda: output(engine, config.id) == b"ran\n")


@pytest.mark.parametrize("is_early", [True, False])
async def test_it_ends_when_it_is_dropped(engine: NativeEngine, is_early: bool) -> None:
    config, answer = await _prepare(engine)
    if not is_early:
        await until(lambda: is_prepared(engine, config.id))
    engine._client.drop(config.id)
    await _is_refused(engine, config, answer)


async def test_another_has_no_word_in_it(engine: NativeEngine) -> None:
    other = Client(engine.layout, lambda _event: None)
    await other.open()
    config, answer = await _prepare(engine)
    for say in (other.go, other.drop):
        say(config.id)
    await other.call("ping")
    await until(lambda: is_prepared(engine, config.id))
    assert not answer.done()
    await other.close()
    await engine._client.call("ping")
    assert is_prepared(engine, config.id)
    engine._client.go(config.id)
    await engine._client.started(config.id, answer)
    await until(lambda: output(engine, config.id) == b"ran\n")


@pytest.mark.parametrize("is_early", [True, False])
async def test_it_ends_with_who_asked(engine: NativeEngine, is_early: bool) -> None:
    other = Client(engine.layout, lambda _event: None)
    await other.open()
    config, answer = await _prepare(engine, other)
    if not is_early:
        await until(lambda: is_prepared(engine, config.id))
    await other.close()
    with pytest.raises(Temporary):
        await answer
    await until(lambda: not _pids(engine, config))
    assert output(engine, config.id) == b""
    await _runs(engine, config)


async def test_it_ends_with_the_supervisor(engine: NativeEngine) -> None:
    config, answer = await _prepare(engine)
    await until(lambda: is_prepared(engine, config.id))
    os.kill(await supervisor_pid(engine), signal.SIGKILL)
    await until(lambda: not engine.is_supervisor_up)
    engine._client.go(config.id)  # to nobody, or to one that knows nothing of it
    await until(lambda: engine.is_supervisor_up)
    await _is_refused(engine, config, answer)


async def test_a_supervisor_becomes_another_program_only_when_it_is_over(engine: NativeEngine) -> None:
    config, answer = await _prepare(engine)
    await until(lambda: is_prepared(engine, config.id))
    before = (await engine._client.call("ping"))["executed_at"]
    await engine._client.call("reexec")
    assert (await engine._client.call("ping"))["executed_at"] == before
    engine._client.go(config.id)
    await engine._client.started(config.id, answer)
    await until(lambda: output(engine, config.id) == b"ran\n")
    assert (await engine._client.call("ping"))["executed_at"] > before
