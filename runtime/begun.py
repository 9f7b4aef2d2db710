"""Work that is begun for nobody in particular, and why the last of it failed: fetches and builds of images,
and what is asked of registries beside. Called by the engine's parts, in its event loop.

    begin(reference) ─> state: under way ─> on_end(reference, error) ─> state: why it failed, or nothing
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from runtime.errors import SetpointError
from runtime.model import PullState

log = logging.getLogger(__name__)

OnEnd = Callable[[str, SetpointError | None], None]


class Begun:
    """op: how it is named in an error of ours. on_end: hears of each that ended, by the reference that it was
    begun with, and why it failed."""

    def __init__(self, op: str, on_end: OnEnd) -> None:
        self._op = op
        self._on_end = on_end
        self._running: dict[str, asyncio.Task[None]] = {}
        self._failed: dict[str, SetpointError] = {}
        self._project: dict[str, str] = {}  # of the last who began it

    def begin(self, reference: str, work: Callable[[], Awaitable[object]], project: str = "") -> None:
        """Nothing when it is under way."""
        if reference in self._running:
            return
        self._failed.pop(reference, None)
        self._project[reference] = project
        self._running[reference] = asyncio.get_running_loop().create_task(self._run(reference, work))

    def state(self, reference: str) -> PullState | None:
        """None when nobody began it, or it went well."""
        if reference in self._running:
            return PullState()
        error = self._failed.get(reference)
        return PullState(error, self._project.get(reference, "")) if error is not None else None

    async def close(self) -> None:
        """Give up what is under way."""
        works = tuple(self._running.values())
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)

    async def _run(self, reference: str, work: Callable[[], Awaitable[object]]) -> None:
        error: SetpointError | None = None
        try:
            await work()
        except SetpointError as failure:
            error = self._failed[reference] = failure
        except Exception as failure:  # a bug of ours is said on the object, and tried again
            log.exception("%s %s failed", self._op, reference)
            reason = f"internal error, please report it: {failure!r}"
            error = self._failed[reference] = SetpointError(self._op, reference, reason)
        finally:
            del self._running[reference]
        self._on_end(reference, error)
