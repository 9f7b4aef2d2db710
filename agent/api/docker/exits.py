"""How containers' runs ended, for those who wait for it. Filled by the loop; bounded.

A waiter is told of each exit of its container from the moment that it asked, also when the container is gone
before it looks.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from agent.reconcile.policy import Exit
from store.records import Key

MAX_KEPT = 4096


class Exits:
    """`add` for each exit; `next_of` is a future of the next one of a container."""

    def __init__(self) -> None:
        self._last: OrderedDict[str, Exit] = OrderedDict()
        self._waiting: dict[str, asyncio.Future[Exit]] = {}
        self._removed: OrderedDict[str, None] = OrderedDict()

    def add(self, _key: Key, exit: Exit) -> None:
        self._last[exit.container] = exit
        self._last.move_to_end(exit.container)
        if len(self._last) > MAX_KEPT:
            self._last.popitem(last=False)
        waiting = self._waiting.pop(exit.container, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(exit)

    def last_of(self, id: str) -> Exit | None:
        """The newest exit that was seen of a container; None when none was, or it is forgotten."""
        return self._last.get(id)

    def note_removal(self, id: str) -> None:
        """A container goes by itself, since it has ended."""
        self._removed[id] = None
        if len(self._removed) > MAX_KEPT:
            self._removed.popitem(last=False)

    def is_removed(self, id: str) -> bool:
        """Whether it ended and went by itself, as far back as that is remembered."""
        return id in self._removed

    def next_of(self, id: str) -> asyncio.Future[Exit]:
        """Shared by all who wait: shield it."""
        found = self._waiting.get(id)
        if found is None or found.done():
            found = self._waiting[id] = asyncio.get_running_loop().create_future()
        return found

    def give_up(self, id: str) -> None:
        """Nobody waits any more, or the container is gone and cannot end again."""
        found = self._waiting.pop(id, None)
        if found is not None:
            found.cancel()
