"""Tells who follows a log that something was written. Used by the API; one inotify(7) descriptor for all.

A watch is made when somebody begins to wait and ends with the first event (IN_ONESHOT): a flood that somebody
reads, or that nobody follows, wakes nobody. Where the kernel has no descriptor or watch left, there is none
to wait for, and who follows looks every POLL_SECONDS.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runtime import syscalls

POLL_SECONDS = 0.1
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows
_WRITTEN = syscalls.IN_MODIFY | syscalls.IN_CREATE | syscalls.IN_MOVED_TO  # written to, or rotated


class LogWatch:
    """All directories of logs that somebody waits at."""

    def __init__(self) -> None:
        self._descriptor = -1
        self._waiting: dict[int, asyncio.Future[None]] = {}  # by watches; the kernel has one a directory

    async def wait(
        self, directory: Path, is_there: Callable[[], bool], end: asyncio.Future[Any], seconds: float
    ) -> None:
        """Until something is written to the log, `end` is done, or the time is over. is_there: asked once the
        watch is made, so that nothing is missed."""
        written = self._written(directory)
        if is_there():
            return
        futures: set[asyncio.Future[Any]] = {end} if written is None else {end, written}
        timeout = POLL_SECONDS if written is None else seconds
        await asyncio.wait(futures, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)

    def _written(self, directory: Path) -> asyncio.Future[None] | None:
        """Shared by all who wait there."""
        try:
            if self._descriptor < 0:
                self._descriptor = syscalls.inotify_init()
                asyncio.get_running_loop().add_reader(self._descriptor, self._on_events)
            mask = _WRITTEN | syscalls.IN_ONESHOT
            watch = syscalls.inotify_add_watch(self._descriptor, str(directory), mask)
        except OSError:
            return None
        if watch not in self._waiting:
            self._waiting[watch] = asyncio.get_running_loop().create_future()
        return self._waiting[watch]

    def _on_events(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._descriptor, 65536)
            offset = 0
            while offset < len(data):
                watch, mask, _cookie, length = _EVENT.unpack_from(data, offset)
                offset += _EVENT.size + length
                self._tell(watch, is_lost=bool(mask & syscalls.IN_Q_OVERFLOW))

    def _tell(self, watch: int, *, is_lost: bool) -> None:
        for each in tuple(self._waiting) if is_lost else (watch,):
            waiting = self._waiting.pop(each, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)

    def close(self) -> None:
        """Who waits has his time."""
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
        self._waiting.clear()
