"""What the loop does while a look for drift takes long: it waits for its end."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any, cast

from agent.reconcile.watching import Watching


class SlowEngine:
    """Whose look for drift lasts until `go` is set."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def find_drift(self, _subjects: Collection[str] | None) -> tuple[Any, ...]:
        await self.go.wait()
        return ()


async def test_nothing_is_due_while_a_look_is_under_way() -> None:
    wakeup = asyncio.Event()
    know = SimpleNamespace(
        clock=SimpleNamespace(now=lambda: 100.0),
        settings=SimpleNamespace(drift_look_seconds=0.1),
        queue=SimpleNamespace(in_flight=set),
        observed=SimpleNamespace(set_drifts=lambda *_: ((), ())),
        wakeup=wakeup,
    )
    engine = SlowEngine()
    watching = Watching(cast(Any, engine), cast(Any, know))
    watching.start()
    watching._hint("a", "a link changed")
    assert watching.next_at() <= 100.0
    watching.start_due(100.0)
    await asyncio.sleep(0)
    watching._hint("b", "another one did")
    assert watching.next_at() == math.inf  # a time in the past would have the loop turn for nothing

    wakeup.clear()
    engine.go.set()
    await asyncio.wait_for(wakeup.wait(), 5.0)
    assert watching.next_at() < math.inf
