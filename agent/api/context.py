"""What the handlers of the API work with: the parts of one running agent, and how to say what it asks.

Made by the daemon, once; the handlers find it in the aiohttp application under CONTEXT.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiohttp import web

from agent.api.docker.exec_registry import ExecRegistry
from agent.api.docker.exits import Exits
from agent.api.docker.rendered import Rendered
from agent.images.keeper import ImageKeeper
from agent.images.verifier import ImageVerifier
from agent.manifest.objects import Manifest
from agent.metrics import Metrics
from agent.reconcile.loop import Loop
from agent.room import RoomWatch
from agent.settings import Settings
from agent.updates.watcher import UpdateWatcher
from runtime.log_watch import LogWatch
from runtime.program import Program, of_agent
from store.records import Key
from store.store import Store

LOOK_AGAIN_SECONDS = 1.0  # the source's own state turns without a word while it is being read


class Follower(Protocol):
    """The source as the API sees it. view(): {"kind", "where", "revision", "subject", "looked_at",
    "error", "errors": [{"file", "line", "column", "message", "hint"}], "warnings": […]}."""

    def view(self) -> dict[str, Any]: ...
    @property
    def is_settled(self) -> bool:
        """The source was read, without failure or error, and what it says was handed to the loop."""

    def files(self) -> Mapping[str, bytes]:
        """Of the newest revision."""

    def tree_of(self, path: str) -> str:
        """What a directory of the source holds, as `Revision` says it."""

    async def look_now(self) -> None:
        """Read the source; returns when what it says was handed to the loop."""

    def next_change(self) -> asyncio.Future[None]: ...


@dataclass(slots=True)
class Context:
    """The parts of a running agent. engine: the native engine, with what `runtime.face` leaves out.
    read_files: files of a plan request -> Manifest. stop: ends the agent."""

    settings: Settings
    loop: Loop
    engine: Any
    store: Store
    follower: Follower
    room: RoomWatch
    images: ImageKeeper
    updates: UpdateWatcher
    verifier: ImageVerifier
    metrics: Metrics
    version: str
    read_files: Callable[[Mapping[str, bytes]], Awaitable[Manifest]]
    stop: Callable[[], None]
    started_at: float = 0.0
    metrics_address: str = ""  # where it is served, with the port that the kernel chose
    addresses: tuple[str, ...] = ()  # on TCP, likewise
    building: dict[str, list[Any]] = field(
        default_factory=dict
    )  # at scoped sockets (agent.api.sockets.quota)
    program: Program = field(default_factory=of_agent)
    expiry: Any = None  # agent.api.sockets.expiry.Expiry, of what scoped sockets made
    refusals: dict[tuple[str, str], float] = field(default_factory=dict)  # of them, and when they were told
    instance_use: Any = None  # made when it is first asked for (agent.api.system)
    samples: Any = None  # the same (agent.api.docker.stats)
    event_feed: Any = None  # the same, for GET /events
    buildkit: Any = None  # the same (agent.api.docker.buildkit)
    streams: set[asyncio.Task[Any]] = field(default_factory=set)
    alone: dict[Key, asyncio.Task[None]] = field(default_factory=dict)  # (agent.api.docker.attempts)
    execs: ExecRegistry = field(default_factory=ExecRegistry)  # of the Docker API
    exits: Exits = field(default_factory=Exits)  # for who waits for a container's end
    attached: dict[str, set[asyncio.Future[None]]] = field(default_factory=dict)  # by container
    reading: dict[str, set[asyncio.Future[None]]] = field(default_factory=dict)  # who was sent all of it
    rendered: Rendered = field(default_factory=Rendered)  # of the Docker API, too
    log_watch: LogWatch = field(default_factory=LogWatch)  # for who follows logs

    @property
    def is_ready(self) -> bool:
        """All that the newest state of the source wants is so."""
        return self.follower.is_settled and self.loop.is_ready()

    def keys(self) -> list[Key]:
        return [*self.loop.objects(), *(k for k in self.loop.statuses() if k not in self.loop.objects())]

    async def wait_until(self, is_so: Callable[[], bool], timeout_seconds: float) -> bool:
        """Until `is_so`, looked at whenever a status, what is ready or the source changed; False when the
        time is over."""
        end = time.monotonic() + timeout_seconds
        while True:
            # Taken before looking, so that none is missed. One of a loop that has stopped is done for ever.
            changes = {c for c in (self.loop.next_change(), self.follower.next_change()) if not c.done()}
            if is_so():
                return True
            left = end - time.monotonic()
            if left <= 0:
                return False
            await asyncio.wait(
                changes, timeout=min(left, LOOK_AGAIN_SECONDS), return_when=asyncio.FIRST_COMPLETED
            )


CONTEXT = web.AppKey("context", Context)
