"""Builds that BuildKit's clients asked for, by the client's word for each: what it was asked with, what it
says, and what it came to. One client calls several methods for one build, at the same time.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from agent.api.docker.buildkit.vertexes import Progress
from runtime.errors import Conflict, NotFound, Temporary
from runtime.model import ImageInfo

MAX_JOBS = 512
MAX_SAID_BYTES = 8 << 20  # that no client has read yet
WAIT_SECONDS = 10.0
KEPT_SECONDS = 15.0  # after the end: a client may ask how it went a moment later
MAX_REF_CHARACTERS = 256


@dataclass(eq=False)
class Job:
    """names: of the image. returned: why the client's own part failed, "" when it did not."""

    ref: str
    session: str
    names: tuple[str, ...]
    is_trusted: bool
    image: ImageInfo | None = None
    is_over: bool = False
    returned: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    tasks: set[asyncio.Task[object]] = field(default_factory=set)
    _said: deque[bytes] = field(default_factory=deque)
    _said_bytes: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.progress = Progress(self.ref, time.time)

    def say(self, data: bytes, *, may_be_lost: bool = False) -> None:
        """A piece of a StatusResponse. may_be_lost: output, of which the build keeps a log."""
        if not data or (may_be_lost and self._said_bytes > MAX_SAID_BYTES):
            return
        self._said.append(data)
        self._said_bytes += len(data)
        self._changed.set()

    def end(self) -> None:
        self.is_over = True
        for task in self.tasks:
            task.cancel()
        if not self.returned.done():
            self.returned.cancel()
        self._changed.set()

    async def status(self) -> AsyncGenerator[bytes, None]:
        """All that it says, until it is over."""
        while True:
            while self._said:
                data = self._said.popleft()
                self._said_bytes -= len(data)
                yield data
            if self.is_over:
                return
            self._changed.clear()
            await self._changed.wait()


class Jobs:
    """Those of one agent."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._added = asyncio.Event()

    def add(self, job: Job) -> None:
        if not job.ref or len(job.ref) > MAX_REF_CHARACTERS or job.ref in self._jobs:
            raise Conflict("build image", job.ref[:40], "not a new build's id")
        if len(self._jobs) >= MAX_JOBS:
            raise Temporary("build image", job.ref[:40], f"there are {MAX_JOBS} builds", "end some")
        self._jobs[job.ref] = job
        self._added.set()
        self._added = asyncio.Event()

    def end(self, job: Job) -> None:
        job.end()
        asyncio.get_running_loop().call_later(KEPT_SECONDS, self._jobs.pop, job.ref, None)

    async def get(self, ref: str) -> Job:
        """`NotFound` when it does not come."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while ref not in self._jobs:
                    await self._added.wait()
        except TimeoutError:
            raise NotFound("find build", ref[:40], "no such job") from None
        return self._jobs[ref]
