"""What an exec costs is pages that the kernel copies, since the supervisor forks: see ops/decisions/0019."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.engine import NativeEngine
from runtime.supervisor import immortal
from tests.native import config_of, run, supervisor_pid

EXECS = 30
OWN_PAGES = 215  # 165 here; 300 where references are counted, 25 more for each megabyte of modules
CHILD_PAGES = 345  # 290 here with those of the program, which are 35; 395 where references are counted


@pytest.mark.skipif(not immortal.is_known(), reason="this Python counts all references")
async def test_an_exec_copies_few_pages(engine: NativeEngine) -> None:
    config = config_of(engine, "one", "sleep", "1000")
    await run(engine, config)
    await _execute(engine, config.id)  # the first ones make plans and caches
    pid = await supervisor_pid(engine)
    before = _faults(pid)
    await _execute(engine, config.id)
    own, children = ((after - earlier) / EXECS for after, earlier in zip(_faults(pid), before, strict=True))
    assert 50 < own < OWN_PAGES
    assert 50 < children < CHILD_PAGES


async def _execute(engine: NativeEngine, id: str) -> None:
    for _ in range(EXECS):
        assert (await engine.exec(id, ["true"], timeout_seconds=30)).exit_code == 0


def _faults(pid: int) -> tuple[int, int]:
    """Minor page faults of a process, and of those of its children that have ended: proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[7]), int(fields[8])
