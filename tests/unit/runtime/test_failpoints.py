"""Fail points are not there unless they are asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import failpoints
from runtime.supervisor.interpreter import FAILPOINTS, environment

ROOT = Path(__file__).resolve().parents[3]
IMPORTS = "import agent.daemon, runtime.engine, runtime.images.worker, runtime.supervisor.server, store.store"
LOOK = (
    f"{IMPORTS}; import os, socket, sys; from runtime import syscalls;"
    "print('runtime.failpoints' in sys.modules, type(os.rename).__name__, syscalls.mount.__module__,"
    " socket.socket.send.__objclass__.__module__)"
)


def run(code: str, **more: str) -> str:
    bare = {name: value for name, value in os.environ.items() if name != FAILPOINTS}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**bare, **more},
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    return done.stdout.strip()


def test_without_the_variable_nothing_is_wrapped() -> None:
    assert run(LOOK) == "False builtin_function_or_method runtime.syscalls _socket"


def test_with_it_a_step_is_noted_before_and_after(tmp_path: Path) -> None:
    control = tmp_path / "control"
    with control.open("wb") as file:
        file.write(failpoints.RECORD.to_bytes(4, sys.byteorder))
        file.truncate(failpoints.SIZE)
    code = (
        "from runtime import failpoints; failpoints.install('supervisor');"
        "from runtime.supervisor import records;"
        f"records.write({str(tmp_path)!r}, 'one', {{}})"
    )
    run(code, **{FAILPOINTS: str(control)})
    noted = control.read_bytes()[failpoints.SLOTS_AT + 4 :].rstrip(b"\0").decode().splitlines()
    steps = [tuple(line.split()[-2:]) for line in noted]
    assert steps == [(call, when) for call in ("open", "write", "rename") for when in ("before", "after")]
    assert all("runtime/supervisor/records:" in line for line in noted)


def test_only_the_variable_gets_into_an_empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FAILPOINTS, raising=False)
    assert environment() == {}
    monkeypatch.setenv(FAILPOINTS, "/a")
    assert environment() == {FAILPOINTS: "/a"}
