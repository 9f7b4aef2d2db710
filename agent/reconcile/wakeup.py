"""Calls the loop's pass when it was asked for, and when its time has come: once in a turn of the event loop,
however often somebody asks. Called by `loop`; decides nothing.

    set ─┐
         ├─> work, in the next turn ─> when it is to be called again ─> a timer
    time ┘
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


class Wakeup:
    """work: returns after how many seconds it is to be called again at the latest; 0 is the next turn."""

    def __init__(self) -> None:
        self._work: Callable[[], float] | None = None
        self._is_set = False
        self._turn: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._over: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def set(self) -> None:
        """Something may be due."""
        self._is_set = True
        if self._loop is not None and self._turn is None:
            self._turn = self._loop.call_soon(self._on_turn)

    @property
    def is_running(self) -> bool:
        return self._loop is not None

    async def run(self, work: Callable[[], float]) -> None:
        """Until `stop`. Raises what `work` raises."""
        self._work, self._loop = work, asyncio.get_running_loop()
        self._over = self._loop.create_future()
        self.set()
        try:
            await self._over
        finally:
            self._work = self._loop = None
            for handle in (self._turn, self._timer):
                if handle is not None:
                    handle.cancel()
            self._turn = self._timer = None

    def stop(self) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    def done(self, seconds: float) -> None:
        """All that is due was done past `work`, which is to be called again after so many seconds: a turn
        that was asked for meanwhile comes behind what was set off, as who follows the events."""
        self._is_set = False
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._sleep(seconds)

    def _on_turn(self) -> None:
        self._turn = None
        if not self._is_set or self._work is None or self._over is None or self._over.done():
            return
        self._is_set = False
        try:
            seconds = self._work()
        except Exception as error:
            self._over.set_exception(error)
            return
        self._sleep(seconds)

    def _sleep(self, seconds: float) -> None:
        """A timer that is set for sooner stays: it calls for nothing then, which costs less than to set one
        anew each time."""
        if seconds <= 0.0:
            self.set()
        if self._is_set or self._loop is None or math.isinf(seconds):
            return
        at = self._loop.time() + seconds
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self.set()
