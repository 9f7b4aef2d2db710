"""Wishes that may turn out not to be possible: then they are taken back, or they would be tried for ever.

    wish ─> stored ─> wait ─┬─> it is so
                            ├─> it cannot be ────────────> undo, and the client hears why
                            └─> the client has gone ─> wait alone ─> it cannot be ─> undo, and nobody hears

Called by handlers. One a key waits alone, the newest: a client cannot pile them up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from agent.api.context import Context
from agent.api.docker import wishes
from agent.api.docker.completing import begun, completed
from agent.reconcile.conditions import Verdict
from store.records import Key


@dataclass(frozen=True, slots=True)
class Attempt:
    """is_so: what is waited for. undo: takes the wish back; told why. before: the verdict from before it."""

    context: Context
    key: Key
    op: str
    is_so: Callable[[], bool]
    undo: Callable[[Exception], Coroutine[Any, Any, object]]
    before: Verdict | None = None

    async def come_true(self, wish: Awaitable[object] | None) -> None:
        """Have it wished, unless it was, and wait until it is so. Raises what keeps it from being so."""
        try:
            if wish is not None:
                await wish
            why = await self._why_not(self.is_so)
        except asyncio.CancelledError:
            self._go_on_alone()
            raise
        if why is not None:
            await completed(self.undo(why))
            raise why

    async def _why_not(self, is_so: Callable[[], bool]) -> Exception | None:
        try:
            await wishes.wait(self.context, self.key, is_so, self.op, before=self.before)
        except Exception as error:
            return error
        return None

    # --- nobody waits any more ------------------------------------------------------------------

    def _go_on_alone(self) -> None:
        alone = self.context.alone
        if (other := alone.get(self.key)) is not None:
            other.cancel()
        task = alone[self.key] = begun(self._wait_alone(self._generation()))
        task.add_done_callback(lambda done: alone.pop(self.key) if alone.get(self.key) is done else None)

    async def _wait_alone(self, wished: int | None) -> None:
        def is_over() -> bool:
            """Or somebody wishes for something else, which is his to wait for."""
            return self._generation() != wished or self.is_so()

        if wished is not None and (why := await self._why_not(is_over)) is not None:
            await self.undo(why)

    def _generation(self) -> int | None:
        record = self.context.loop.objects().get(self.key)
        return record.generation if record is not None and not record.deleting else None
