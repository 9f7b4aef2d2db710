"""Gives back what many connections have left free in the heap, or full of what nobody asks for any more, once
they are over. Nothing is asked of anybody while few come, and there is no timer when none do. Used by
`ways.Door`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from runtime import syscalls

CONNECTIONS = 500  # that ended; of fewer it is not worth it
QUIET_SECONDS = 5.0  # from there on, in which more of them end


class Trimming:
    """For the event loop's thread. free: what others can do without for now; called in another thread."""

    def __init__(self, free: Callable[[], None] | None = None) -> None:
        self._free = free
        self._ended = 0
        self._timer: asyncio.TimerHandle | None = None

    def note_end(self) -> None:
        """A connection is over."""
        self._ended += 1
        if self._ended >= CONNECTIONS and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(QUIET_SECONDS, self._trim)

    def _trim(self) -> None:
        self._ended, self._timer = 0, None
        asyncio.get_running_loop().run_in_executor(None, self._give_back)

    def _give_back(self) -> None:
        if self._free is not None:
            self._free()
        syscalls.trim_malloc()
