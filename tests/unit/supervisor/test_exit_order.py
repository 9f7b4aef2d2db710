"""How a program ended is on disk before its process is reaped: nobody can ask the kernel after that."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.supervisor import records, server
from runtime.supervisor.server import Supervisor


def test_r2_the_record_is_there_when_the_process_is_reaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, run = tmp_path / "bundle", tmp_path / "run"
    bundle.mkdir()
    run.mkdir()
    records.write(str(run), records.STATE, {"pid": 7})
    found: list[dict[str, Any] | None] = []
    monkeypatch.setattr(server, "_reap", lambda _pid: found.append(records.read(str(bundle), records.EXIT)))
    container = SimpleNamespace(
        pid=7, name="x", is_running=True, bundle=str(bundle), directory=str(run), waiting=[], start_time=1,
        started_at=1.0, close=lambda: None, was_oom_killed=lambda: False,
    )  # fmt: skip
    supervisor = Supervisor.__new__(Supervisor)
    supervisor.by_pid, supervisor.containers = {}, {}
    monkeypatch.setattr(supervisor, "publish", lambda _event: None)
    supervisor.finish(container, 3, zombie=7)  # type: ignore[arg-type]
    assert [each and each["exit_code"] for each in found] == [3]
    assert records.read(str(run), records.STATE) is None
