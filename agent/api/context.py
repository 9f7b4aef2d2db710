"""What the handlers of the API work with: the parts of one running agent, and how to say what it asks.

Made by the daemon, once; the handlers find it in the aiohttp application under CONTEXT.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiohttp import web

from agent.manifest.objects import Manifest
from agent.metrics import Metrics
from agent.reconcile.loop import Loop
from agent.settings import Settings
from store.records import Key
from store.store import Store

LOOK_AGAIN_SECONDS = 0.025


class Follower(Protocol):
    """The source as the API sees it. view(): {"kind", "where", "revision", "subject", "looked_at",
    "error", "errors": [{"file", "line", "column", "message", "hint"}], "warnings": […]}."""

    def view(self) -> dict[str, Any]: ...
    @property
    def is_settled(self) -> bool:
        """The source was read, without failure or error, and what it says was handed to the loop."""

    async def look_now(self) -> None:
        """Read the source; returns when what it says was handed to the loop."""

    async def wait_changed(self) -> None: ...


@dataclass(slots=True)
class Context:
    """The parts of a running agent. engine: the native engine, with what `runtime.face` leaves out.
    read_files: files of a plan request -> Manifest. stop: ends the agent."""

    settings: Settings
    loop: Loop
    engine: Any
    store: Store
    follower: Follower
    metrics: Metrics
    version: str
    read_files: Callable[[Mapping[str, bytes]], Awaitable[Manifest]]
    stop: Callable[[], None]
    started_at: float = 0.0
    metrics_address: str = ""  # where it is served, with the port that the kernel chose
    streams: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def is_ready(self) -> bool:
        """All that the newest state of the source wants is so."""
        return self.follower.is_settled and self.loop.is_ready()

    def keys(self) -> list[Key]:
        return [*self.loop.objects(), *(k for k in self.loop.statuses() if k not in self.loop.objects())]

    async def wait_changed(self, timeout_seconds: float) -> None:
        """Until a status or the source changed, or the time is over; at most LOOK_AGAIN_SECONDS, since
        `is_ready` may turn without any status that shows it (a generation that was seen)."""
        timeout_seconds = min(timeout_seconds, LOOK_AGAIN_SECONDS)
        waits = [asyncio.ensure_future(w) for w in (self.loop.wait_changed(), self.follower.wait_changed())]
        try:
            await asyncio.wait(waits, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()


CONTEXT = web.AppKey("context", Context)
