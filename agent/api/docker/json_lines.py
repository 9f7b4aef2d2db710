"""Answers that are JSON, line after line, while work goes on: pulls, pushes, loads. The status code is sent
with the first line; what fails later is a line of its own, `{"errorDetail": …, "error": …}`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Generic, TypeVar

from aiohttp import web

from agent.api.docker.answers import message_of
from agent.api.docker.progress_lines import Line, Lines
from agent.api.pieces import write_pieces
from agent.api.requests import context_of

QUEUE = 1000  # reports that a slow client may be behind; what comes then is left out
Report = Callable[[Any], None]
_Result = TypeVar("_Result")


async def write_json_lines(
    request: web.Request, lines: AsyncIterator[Line], *, begins: bool = False
) -> web.StreamResponse:
    """An error before the first line is an answer of its own. begins: it is a line as well, as clients of
    this call look for it."""
    return await write_pieces(request, "application/json", lines, _packed, _told, begins=begins)


def _told(error: Exception) -> bytes:
    message = message_of(error)
    return _packed({"errorDetail": {"message": message}, "error": message})


class Work(Generic[_Result]):
    """Work whose reports become lines while it runs: `async for line in work.told()`, and then `work.result`.
    It ends with who listens, unless it `goes_on`."""

    def __init__(
        self,
        request: web.Request,
        lines: Lines,
        begin: Callable[[Report], Coroutine[Any, Any, _Result]],
        *,
        goes_on: bool = False,
    ) -> None:
        self.result: _Result
        self.has_begun = False
        self._request = request
        self._lines = lines
        self._begin = begin
        self._goes_on = goes_on
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def _report(self, progress: Any) -> None:
        """From any thread."""
        if self._queue.qsize() < QUEUE:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, progress)

    async def told(self) -> AsyncIterator[Line]:
        """The last lines come when it is done, and well."""
        streams = context_of(self._request).streams
        task = asyncio.ensure_future(self._begin(self._report))
        self.has_begun = True
        streams.add(task)
        task.add_done_callback(streams.discard)
        try:
            while not (task.done() and self._queue.empty()):
                progress = await self._next(task)
                for line in self._lines.of(progress) if progress is not None else ():
                    yield line
            self.result = await task
        finally:
            if self._goes_on:
                task.add_done_callback(_heard)
            else:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        for line in self._lines.end():
            yield line

    async def _next(self, task: asyncio.Task[_Result]) -> Any:
        """A report, or None at the end of the work. Cancelled when the client is gone."""
        if self._queue.empty() and not task.done():
            getting = asyncio.ensure_future(self._queue.get())
            try:
                await asyncio.wait({getting, task}, return_when=asyncio.FIRST_COMPLETED)
                if getting.done():
                    return getting.result()
            finally:
                getting.cancel()
        return None if self._queue.empty() else self._queue.get_nowait()


def _heard(task: asyncio.Task[Any]) -> None:
    """Nobody may be there to be told: asyncio would call that a bug."""
    if not task.cancelled():
        task.exception()


def _packed(line: Line) -> bytes:
    return json.dumps(line, separators=(",", ":")).encode() + b"\r\n"
