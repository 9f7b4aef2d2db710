"""Roots of containers, let go where nobody waits for it.

    start ─ a descriptor of the root ─> keep ... the container ends ─> let_go ─ a thread closes it ─> gone

Whoever leaves an overlay last unmounts it, and writes back the whole file system below it: 2 ms on an idle
disk, a quarter of a second on a busy one. Without this descriptor that is the container's own process, in
exit(2), before its sockets are closed and before its parent hears of it (decision 0007). The supervisor's
client keeps one for each container that runs. Nothing depends on it: where none is held, or the agent that
held it was killed, the end of a container waits as it always did.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from concurrent.futures import Future

from runtime.errors import Temporary
from runtime.threads import Threads

THREADS = 4  # those that wait for a disk at the same time share what it writes
GONE_SECONDS = 10.0  # then the disk stands still, and who asks is told
_HINT = "it is tried again; what is wrong with the disk, the kernel's log says"


class Roots:
    """Of an engine's running containers, by their ids. For one event loop's thread."""

    def __init__(self) -> None:
        self._held: dict[str, int] = {}
        self._going: dict[str, Future[None]] = {}
        self._threads = Threads("unmount", THREADS)

    def __contains__(self, id: object) -> bool:
        return id in self._held

    def keep(self, id: str, root: int) -> None:
        """root: a descriptor, which is ours from now on."""
        self.let_go(id)
        self._held[id] = root

    def let_go(self, id: str) -> None:
        """Of a container that has ended. Nothing for one whose root is not held."""
        root = self._held.pop(id, -1)
        if root < 0:
            return
        self._going = {each: gone for each, gone in self._going.items() if not gone.done()}
        self._going[id] = self._threads.do(lambda: _close(root), len(self._going) + 1)

    def going(self, id: str) -> Future[None] | None:
        """Done when what was let go of it is unmounted; None where nothing is under way."""
        gone = self._going.get(id)
        return gone if gone is not None and not gone.done() else None

    async def wait_gone(self, op: str, id: str, name: str) -> None:
        """Until what was let go of it is unmounted: its layers must not be mounted twice, and the disk has
        its room back only then. `Temporary` where that takes too long."""
        if (gone := self.going(id)) is not None:
            await wait(gone, op, name)

    def close(self) -> None:
        """Hold none any more. Those of containers that run are not the last."""
        for id in list(self._held):
            self.let_go(id)
        self._threads.close()


def _close(root: int) -> None:
    with contextlib.suppress(OSError):  # of what was still to be written: the root is gone all the same
        os.close(root)


async def wait(gone: Future[None], op: str, name: str) -> None:
    """Not by wait_for, which takes the caller's task: see `agent.first_step`."""
    done, _ = await asyncio.wait((asyncio.wrap_future(gone),), timeout=GONE_SECONDS)
    if not done:
        raise Temporary(op, name, "its files are still being written to the disk", _HINT)
