"""How many execs of one container are on their way to their programs at once. The others wait for their
turn, in the order in which they came, and whoever makes a new one waits with them: an exec that was asked for
begins though its client broke off, so that nothing else would bound how many pile up, each with its pipes.

Called by `execs`. Of each container on its own: one that is frozen in the middle holds up nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
from weakref import WeakValueDictionary

AT_ONCE = 16  # more than the supervisor can fork meanwhile
LONGEST_SECONDS = 10.0  # that making one waits


class ExecTurns:
    """Of all containers."""

    def __init__(self) -> None:
        self._all: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._all)

    def of(self, container: str) -> asyncio.Semaphore:
        """To be held from the question to the answer; it is there as long as somebody holds it or waits."""
        turns = self._all.get(container)
        if turns is None:
            turns = self._all[container] = asyncio.Semaphore(AT_ONCE)
        return turns

    async def come(self, container: str) -> None:
        """Until those that were asked for before are on their way. At once when few are."""
        turns = self._all.get(container)
        if turns is None or not turns.locked():
            return
        await asyncio.sleep(0)  # into a task, which a timeout needs: see `agent.first_step`
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_SECONDS), turns:
                return
