"""Output that nobody keeps: those who are attached see it, and no disk."""

from __future__ import annotations

import os
import signal

import pytest

from runtime.engine import NativeEngine
from tests.kernel.engine.test_streams import _attach, _read_all
from tests.native import ended, run, shell, supervisor_pid, until


@pytest.mark.parametrize("tty", [False, True])
async def test_it_goes_to_who_is_attached_alone(engine: NativeEngine, tty: bool) -> None:
    script = "echo begun; head -c 300000 /dev/zero | tr '\\0' 'x'; echo; echo done"
    config = shell(engine, "one", script, tty=tty, log_max_bytes=0)
    await engine.create(config)
    sock = await _attach(engine, config.id)
    await engine.start(config.id)
    seen = await _read_all(sock)
    assert seen.startswith(b"begun") and b"done" in seen[-10:] and len(seen) > 300_000
    assert (await ended(engine, config.id)).exit_code == 0
    assert not engine.log_directory(config.id).exists()


@pytest.mark.parametrize("tty", [False, True])
async def test_nor_does_another_supervisor_keep_it(engine: NativeEngine, tty: bool) -> None:
    script = "while ! [ -e /go ]; do echo more; sleep 0.01; done; echo last"
    config = shell(engine, "one", script, tty=tty, log_max_bytes=0)
    await run(engine, config)
    os.kill(await supervisor_pid(engine), signal.SIGKILL)
    await until(lambda: not engine.is_supervisor_up)
    await until(lambda: engine.is_supervisor_up)
    sock = await _attach(engine, config.id)
    await engine.exec(config.id, ["touch", "/go"], timeout_seconds=20)
    assert (await _read_all(sock)).rstrip().endswith(b"last")
    assert (await ended(engine, config.id)).exit_code == 0
    assert not engine.log_directory(config.id).exists()
