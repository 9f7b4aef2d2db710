"""An agent does nothing by what it remembers before it has asked the source: that may say else."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from agent import daemon


async def test_r1_work_waits_for_the_first_look() -> None:
    done: list[str] = []
    has_looked = asyncio.Event()

    async def look(_seconds: float) -> None:
        await has_looked.wait()
        done.append("look")

    async def work() -> None:
        done.append("work")

    loop, follower = SimpleNamespace(run=work), SimpleNamespace(wait_first_look=look)
    running = asyncio.ensure_future(daemon._run_loop(loop, follower))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert done == []
    has_looked.set()
    await running
    assert done == ["look", "work"]
