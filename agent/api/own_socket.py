"""Keeps the agent's socket where clients look for it: removed by somebody, it is made again.

Who is connected stays so. One inotify descriptor on the run directory, in which little happens. Called by
`server`, which binds and serves.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from runtime.drift.tripwires import Tripwires

log = logging.getLogger("setpoint.api")


class OwnSocket:
    """serve_again: binds the path anew and serves it. Open from a running event loop."""

    def __init__(self, path: Path, serve_again: Callable[[], Awaitable[None]]) -> None:
        self._path = path
        self._serve_again = serve_again
        self._tripwires = Tripwires(self._on_removal)
        self._work: asyncio.Task[None] | None = None

    def open(self) -> None:
        self._tripwires.open()
        self._tripwires.watch_directory(str(self._path.parent), lambda name: (name,))

    def close(self) -> None:
        self._tripwires.close()
        if self._work is not None:
            self._work.cancel()

    def _on_removal(self, names: frozenset[str] | None) -> None:
        is_busy = self._work is not None and not self._work.done()
        if (names is None or self._path.name in names) and not is_busy:
            self._work = asyncio.get_running_loop().create_task(self._put_back())

    async def _put_back(self) -> None:
        if self._path.exists():
            return
        try:
            await self._serve_again()
        except Exception:
            log.exception("the socket %s is gone and cannot be made again", self._path)
