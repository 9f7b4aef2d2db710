"""What a worker says, line by line, to who began it. Called by `container_copies` and `container_files`."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from runtime import pipes
from runtime.errors import Temporary
from runtime.fence import Fence
from runtime.images.error_view import to_error


@dataclass(frozen=True, slots=True)
class Lines:
    """Of one worker. op, name: for errors. oom_kills: as many as there were before it."""

    reader: asyncio.StreamReader
    op: str
    name: str
    fence: Fence
    oom_kills: int

    async def line(self) -> dict[str, Any]:
        """Raises the error that the worker tells of, and Temporary when it ended without a word."""
        line = await self.reader.readline()
        if not line:
            error = Temporary(self.op, self.name, "it was given up", "do it again")
            raise self.fence.explained(error, self.oom_kills)
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            raise to_error(found["error"])
        return found


@dataclass(frozen=True, slots=True)
class Given:
    """A tar that is being written. pipe: where it comes from; closed by who gave it. end: called when the
    pipe is at its end, it raises unless that is the end of all of it: else what came is no archive."""

    pipe: int
    end: Callable[[], Awaitable[object]]

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        async with pipes.reader_of(os.dup(self.pipe)) as pipe:
            while data := await pipe.read(pipes.READ_BYTES):
                yield data
        await self.end()
