"""Sandboxes on their way out. Used by `networks`, in the event loop.

    begin ─> (taken down in a turn) ─> down ─> the reaper's thread ─> gone

Who asked for it has his answer at `down`: the namespace, ports, names and the record are gone, and nothing
reaches the links any more. The kernel takes 10 to 20 ms to delete those, for which only who needs the same
sandbox, address or network again waits. After a crash in between they are links without a record.
"""

from __future__ import annotations

import asyncio
import contextlib

from runtime.errors import SetpointError
from runtime.network.failures import translated
from runtime.network.instance import Instance

_AGAIN_SECONDS = 1.0  # after the kernel refused


class Going:
    """Those of an instance, by their ids."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._down: dict[str, asyncio.Future[None]] = {}
        self._gone: dict[str, asyncio.Future[None]] = {}
        self._doomed: list[str] = []
        self._reaping: asyncio.Task[None] | None = None

    def __contains__(self, id: object) -> bool:
        return id in self._gone

    @property
    def is_any(self) -> bool:
        return bool(self._gone)

    def begin(self, id: str, down: asyncio.Future[None]) -> None:
        """down: done when it is taken down, or cannot be."""
        self._down[id] = down
        self._gone[id] = asyncio.get_running_loop().create_future()
        self._instance.deleting.add(id)

    def is_down(self, id: str) -> bool:
        return id in self._down and self._down[id].done()

    async def wait_down(self, id: str) -> None:
        """Raises why it cannot be taken down."""
        await asyncio.shield(self._down[id])

    async def wait_gone(self) -> None:
        """Until the links of all that go now are gone."""
        if self._gone:
            await asyncio.wait(tuple(self._gone.values()))

    def stays(self, id: str) -> None:
        """It could not be taken down."""
        self._end(id)

    def doom(self, id: str) -> None:
        """It is taken down: its links are to go."""
        self._doomed.append(id)
        if self._reaping is None:
            self._reaping = asyncio.get_running_loop().create_task(self._reap())

    async def _reap(self) -> None:
        """Delete the links of all that was taken down, in as few goes as come together."""
        try:
            while self._doomed:
                batch, self._doomed = self._doomed, []
                try:
                    with translated("delete sandboxes of", self._instance.layout.instance):
                        await self._instance.reaper.delete(names=self._links_of(batch))
                except SetpointError:
                    self._doomed = batch + self._doomed
                    await asyncio.sleep(_AGAIN_SECONDS)
                    continue
                self._forget(batch)
        finally:
            self._reaping = None

    def _links_of(self, batch: list[str]) -> list[str]:
        sandboxes = self._instance.book.sandboxes
        return [each.link for id in batch for each in sandboxes[id].endpoints]

    def _forget(self, batch: list[str]) -> None:
        for id in batch:
            self._instance.forget(id)
            self._end(id)

    def _end(self, id: str) -> None:
        self._instance.deleting.discard(id)
        self._down.pop(id, None)
        gone = self._gone.pop(id, None)
        if gone is not None and not gone.done():
            gone.set_result(None)

    def close(self) -> None:
        """Nothing is left on its way."""
        if self._reaping is not None:
            self._reaping.cancel()
        left = [id for id in self._gone if self.is_down(id)]
        if left:
            with contextlib.suppress(SetpointError, OSError):  # the next one finds links without a record
                self._instance.reaper.finish(self._links_of(left))
            self._forget(left)
