"""A new agent finds a supervisor whose program, or whose Python, has been upgraded under it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.engine import NativeEngine
from runtime.layout import Layout
from runtime.model import EndpointConfig, NetworkConfig, SandboxConfig
from runtime.supervisor import starter
from tests.native import (
    another_engine,
    config_of,
    ended,
    native_engine,
    output,
    run,
    shell,
    supervisor_pid,
    until,
)

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the runtime, which supervisors are started from."""
    shutil.copytree(
        REPOSITORY / "runtime", tmp_path / "runtime", ignore=shutil.ignore_patterns("__pycache__", "images")
    )
    monkeypatch.setattr(starter, "MAIN", tmp_path / "runtime/supervisor/main.py")
    return tmp_path


@pytest.fixture
async def upgraded(program: Path, instance: Layout, busybox_archive: Path) -> AsyncIterator[NativeEngine]:
    async with native_engine(instance, busybox_archive) as made:
        yield made


async def _executed_at(engine: NativeEngine) -> float:
    return float((await engine._client.call("ping"))["executed_at"])


async def test_it_stays_what_it_is_while_its_files_do(upgraded: NativeEngine, instance: Layout) -> None:
    before = await _executed_at(upgraded)
    async with another_engine(instance) as second:
        assert await _executed_at(second) == before


async def test_it_becomes_the_program_that_is_there_now(
    upgraded: NativeEngine, instance: Layout, program: Path
) -> None:
    await run(upgraded, config_of(upgraded, "one", "sleep", "1000"))
    pid, before = await supervisor_pid(upgraded), await _executed_at(upgraded)
    changed = program / "runtime/supervisor/log_file.py"
    changed.write_text(changed.read_text() + "\n# changed\n")
    async with another_engine(instance) as second:
        assert await supervisor_pid(second) == pid
        assert await _executed_at(second) > before
        assert [state.phase for state in second.list()] == ["running"]
    renewed = await _executed_at(upgraded)  # its connection went along
    async with another_engine(instance) as third:
        assert await _executed_at(third) == renewed


def _as_an_older_release(operations: Path) -> str:
    """Take away the words that came later; the file as it was."""
    now = operations.read_text()
    words = '    "prepare": prepare,\n    "go": go,\n    "drop": drop,\n'
    assert words in now and ", **can}" in now
    operations.write_text(now.replace(words, "").replace(", **can}", "}"))
    return now


async def test_one_of_an_older_release_is_asked_for_what_it_knows(
    program: Path, instance: Layout, busybox_archive: Path
) -> None:
    """It cannot prepare a start while its network is made: that is made first. Upgraded, it can."""
    operations = program / "runtime/supervisor/operations.py"
    now = _as_an_older_release(operations)
    async with native_engine(instance, busybox_archive) as engine:
        assert not engine._client.can_prepare
        await engine.create_network(NetworkConfig("web"))
        sandbox = SandboxConfig("own", "s", (EndpointConfig("web"),))
        config = shell(engine, "one", "ip route | grep -c default; exit 4", sandbox=sandbox)
        await run(engine, config)
        assert (await ended(engine, config.id)).exit_code == 4
        assert output(engine, config.id) == b"1\n"
        operations.write_text(now)
        async with another_engine(instance) as second:
            assert second._client.can_prepare
            late = shell(second, "two", "exit 5", sandbox=replace(sandbox, id="s2"))
            await run(second, late)
            assert (await ended(second, late.id)).exit_code == 5


async def test_without_its_program_it_goes_on_as_it_was(
    upgraded: NativeEngine, instance: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = await _supervised_by(upgraded, tmp_path, Path(sys.executable), monkeypatch)
    before = await _executed_at(upgraded)
    python.unlink()
    async with another_engine(instance) as second:
        assert await _executed_at(second) == before
        config = config_of(second, "one", "sh", "-c", "exit 3")
        await run(second, config)
        assert (await ended(second, config.id)).exit_code == 3


@pytest.mark.parametrize(("old", "new"), [("3.11", "3.13"), ("3.13", "3.11")])
async def test_another_python_takes_over(
    old: str,
    new: str,
    instance: Layout,
    busybox_archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As when a distribution is upgraded, and .venv made again with the Python that it has now."""
    before, after = _interpreter(old), _interpreter(new)
    async with native_engine(instance, busybox_archive) as engine:
        python = await _supervised_by(engine, tmp_path, before, monkeypatch)
        script = "printf begun; while ! [ -e /go ]; do sleep 0.01; done; echo , end; exit 8"
        living, late = shell(engine, "one", script), shell(engine, "late", "exit 3")
        await run(engine, living)
        pid = await supervisor_pid(engine)
        assert _pythons(pid) == {old}
        python.unlink()
        python.symlink_to(after)
        async with another_engine(instance) as second:
            assert await supervisor_pid(second) == pid
            assert _pythons(pid) == {new}
            await run(second, late)
            assert (await ended(second, late.id)).exit_code == 3
            state = second.state(living.id)
            assert state is not None and state.phase == "running"
            Path(f"/proc/{state.pid}/root/go").touch()
            assert (await ended(second, living.id)).exit_code == 8
            assert output(second, living.id) == b"begun, end\n"


async def _supervised_by(
    engine: NativeEngine, folder: Path, interpreter: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Have a supervisor of this Python in the place of the one that runs: its name, which may come to stand
    for another one, as .venv/bin/python does."""
    (folder / "bin").mkdir()
    name = folder / "bin/python"
    name.symlink_to(interpreter.resolve())
    before = await supervisor_pid(engine)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(name))
        await engine._client.call("stop")
        await until(lambda: not engine.is_supervisor_up)
        await until(lambda: engine.is_supervisor_up)
        assert await supervisor_pid(engine) != before
    return name


def _pythons(pid: int) -> set[str]:
    """Whose extension modules a process has loaded."""
    return set(re.findall(r"/python(3\.\d+)/lib-dynload/", Path(f"/proc/{pid}/maps").read_text()))


def _interpreter(version: str) -> Path:
    for name in (f"/usr/bin/python{version}", shutil.which(f"python{version}") or ""):
        asked = [name, "-c", "import sys; print(sys.executable)"]
        if os.access(name, os.X_OK):
            found = subprocess.run(asked, capture_output=True, text=True, check=False)
            if found.returncode == 0:
                return Path(found.stdout.strip())
    pytest.skip(f"no Python {version} here")
