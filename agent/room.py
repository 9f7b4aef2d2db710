"""Watches the disk that an instance's data are on: gives the ballast up when it is full, says so, and has
work go on by itself when there is room again.

    look: every 10 s while all is well (one statvfs); after an error of the disk at once, then at
    0.5, 1, 2 … 10 s until the ballast is whole again, which proves that the disk can be written

Made and run by the daemon. Errors only say when to look; what is wrong is read from the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import time
from dataclasses import dataclass
from typing import Any, Protocol

from runtime.disk import FULL, LOOK_AT_IT, Ballast, Room, room
from runtime.layout import Layout
from store.records import Key

log = logging.getLogger("setpoint.room")

DISK = Key("setpoint", "disk", "data")  # whose events tell of the disk
QUIET_SECONDS = 10.0
FIRST_LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.5, 10.0
MAKE_ROOM = "delete images, volumes or what else is on it"


@dataclass(frozen=True, slots=True)
class Alarm:
    """What a person must hear of. reason: DiskFull, DiskReadOnly or DiskFailing. since: Unix seconds."""

    reason: str
    message: str
    hint: str
    since: float

    def view(self) -> dict[str, Any]:
        return {"reason": self.reason, "message": self.message, "hint": self.hint, "since": self.since}


class Works(Protocol):
    """What the loop is to the watch."""

    def note(self, key: Key, type: str, reason: str, message: str) -> None: ...
    def try_failed_again(self) -> None: ...


class RoomWatch:
    """alarm: what is wrong now, None when all is well."""

    def __init__(self, layout: Layout, works: Works) -> None:
        self.alarm: Alarm | None = None
        self._data = layout.data
        self._ballast = Ballast(layout.data)
        self._works = works
        self._wakeup = asyncio.Event()
        self._is_suspicious = self._needs_ballast = False

    @property
    def ballast_bytes(self) -> int:
        return self._ballast.held_bytes()

    def room(self) -> Room | None:
        """What is free now; None when the disk does not even tell that."""
        with contextlib.suppress(OSError):
            return room(self._data)
        return None

    def look_soon(self, *, needs_ballast: bool = False) -> None:
        """Something that writes to the disk failed. needs_ballast: it was a removal, or the store, which are
        what the ballast is for. Cheap: called for every failure."""
        self._is_suspicious = True
        self._needs_ballast = self._needs_ballast or needs_ballast
        self._wakeup.set()

    async def run(self) -> None:
        """Until cancelled."""
        wait = FIRST_LOOK_SECONDS
        while True:
            self._wakeup.clear()
            await self._look()
            if self.alarm is None:
                wait = FIRST_LOOK_SECONDS
                await self._sleep(QUIET_SECONDS)
                continue
            await asyncio.sleep(FIRST_LOOK_SECONDS)  # a removal that fails at once again is no busy loop
            await self._sleep(wait - FIRST_LOOK_SECONDS)
            wait = min(wait * 2, LONGEST_LOOK_SECONDS)

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wakeup.wait()

    # --- looking ------------------------------------------------------------------------------

    async def _look(self) -> None:
        """A bug in here must not end the agent."""
        is_suspicious, self._is_suspicious = self._is_suspicious, False
        needs_ballast, self._needs_ballast = self._needs_ballast, False
        found = self.room()
        is_well = found is not None and not found.is_read_only and not found.is_full
        if found is not None and is_well and self.alarm is None and not is_suspicious:
            await asyncio.to_thread(self._complete_ballast, found)
            return
        wrong = await asyncio.to_thread(self._what_is_wrong, found)
        if wrong is None:
            if self.alarm is not None:
                self._all_clear()
            return
        if self.alarm is None or self.alarm.reason != wrong[0]:
            self._raise_alarm(*wrong)
        if needs_ballast and wrong[0] == "DiskFull" and self._ballast.give_up_part():
            self._works.try_failed_again()

    def _what_is_wrong(self, found: Room | None) -> tuple[str, str, str] | None:
        """(reason, message, hint), by completing the ballast: what cannot be had now is what is wrong. In a
        thread: a failing disk takes its time."""
        if found is not None and found.is_read_only:
            return self._read_only()
        if found is not None and found.is_full:
            return self._full(found)
        try:
            if found is not None and found.free_bytes < self._ballast.missing_bytes() + found.low_bytes:
                return self._full(found)
            self._ballast.take()
        except OSError as error:
            if error.errno == errno.EDQUOT:
                return "DiskFull", f"the quota of {self._data} is used up", MAKE_ROOM
            if error.errno in FULL:
                return self._full(self.room() or found)
            if error.errno == errno.EROFS:
                return self._read_only()
            return "DiskFailing", f"{self._data} cannot be written: {error.strerror}", LOOK_AT_IT
        return None

    def _read_only(self) -> tuple[str, str, str]:
        return "DiskReadOnly", f"{self._data} is read-only: what happens is not stored", LOOK_AT_IT

    def _full(self, found: Room | None) -> tuple[str, str, str]:
        return "DiskFull", f"the disk of {self._data} is full ({found or 'nobody knows how'})", MAKE_ROOM

    def _complete_ballast(self, found: Room) -> None:
        """Once there is room to spare: it is not taken from those who need it."""
        with contextlib.suppress(OSError):
            if 0 < self._ballast.missing_bytes() < found.free_bytes // 2:
                self._ballast.take()

    # --- telling ------------------------------------------------------------------------------

    def _raise_alarm(self, reason: str, message: str, hint: str) -> None:
        self.alarm = Alarm(reason, message, hint, time.time())
        log.error("%s (hint: %s)", message, hint)
        self._works.note(DISK, "Warning", reason, f"{message} (hint: {hint})")

    def _all_clear(self) -> None:
        assert self.alarm is not None
        seconds = time.time() - self.alarm.since
        self.alarm = None
        message = f"the disk of {self._data} can be written again, after {seconds:.0f} s"
        log.warning("%s", message)
        self._works.note(DISK, "Normal", "DiskWritable", message)
        self._works.try_failed_again()
