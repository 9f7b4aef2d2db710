"""Compares the images in the store with their digests, slowly and for ever: one at a time, each once in a
while, in a process that is in nobody's way. What is damaged is marked, told, and left for a person to repair.

Made and run by the daemon. A person's `image check` counts as well.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any

from agent.images.keeper import ImageKeeper
from agent.room import Alarm
from runtime.disk import room
from runtime.errors import SetpointError
from runtime.images.collection import Holding
from store.image_memory import ImageRecord

log = logging.getLogger("setpoint.images")

LOOK_SECONDS = 600.0  # between two images
FIRST_SECONDS = 86400.0  # one that just came was hashed as it came
BYTES_PER_SECOND = 20e6
ROOM = 3  # times its size must be free: a layer is unpacked to be compared


class ImageVerifier:
    """every_seconds: how often each image is looked at; 0 is never. on_change: hears of an image that is
    otherwise damaged than it was, or whole again."""

    def __init__(
        self,
        engine: Any,
        keeper: ImageKeeper,
        tell: Callable[[str, str, str], None],
        every_seconds: float,
        clock: Callable[[], float] = time.time,
        on_change: Callable[[str], None] = lambda id: None,
    ) -> None:
        self._engine = engine
        self._keeper = keeper
        self._tell = tell
        self._every = every_seconds
        self._clock = clock
        self._on_change = on_change

    async def run(self) -> None:
        """Until cancelled."""
        if not self._every:
            await asyncio.Event().wait()
        while True:
            await asyncio.sleep(min(LOOK_SECONDS, self._every))
            try:
                await self.look()
            except (SetpointError, OSError) as error:
                log.warning("images could not be verified: %s", error)
            except Exception:  # a bug in here must not end the agent
                log.exception("a bug in verifying images")

    async def look(self) -> str:
        """Verify the image that was not for longest, if it is due; its id, or ""."""
        holdings = await asyncio.to_thread(self._engine.images.holdings)
        chosen = self._due(holdings)
        if chosen is None:
            return ""
        found = await self._engine.check_images([chosen.id], repair=False, bytes_per_second=BYTES_PER_SECOND)
        self.note([chosen.id], found)
        return chosen.id

    def note(self, ids: Collection[str], findings: Iterable[Any]) -> None:
        """What a check found, of these images."""
        now, damage = self._clock(), damage_of(findings)
        for id in ids:
            before = self._keeper.notes.image(id) or ImageRecord(id, now, now)
            after = replace(before, checked_at=now, damage=damage.get(id, ""))
            self._keeper.notes.put(after)
            if after.damage != before.damage:
                self._on_change(id)
            if after.damage and after.damage != before.damage:
                self._tell("Warning", "ImageDamaged", f"{self._name(id)} is damaged: {after.damage}")
            elif before.damage and not after.damage:
                self._tell("Normal", "ImageWhole", f"{self._name(id)} is whole again")

    def alarms(self) -> list[Alarm]:
        """One for each image that is damaged."""
        return [
            Alarm(
                "ImageDamaged",
                f"image {self._name(record.id)} is damaged: {record.damage}",
                f"setpoint image check --repair {self._name(record.id)}",
                record.checked_at or record.seen_at,
            )
            for record in self._keeper.notes.images().values()
            if record.damage
        ]

    def _due(self, holdings: Iterable[Holding]) -> Holding | None:
        """Where there is room for it. A time that lies ahead is of a clock that was wrong."""
        now, due = self._clock(), []
        for holding in holdings:
            record = self._keeper.notes.image(holding.id)
            if record is None:
                continue
            last = record.checked_at
            first = min(FIRST_SECONDS, self._every)
            at = record.seen_at + first if last is None else last + self._every
            if at <= now or (last is not None and last > now):
                due.append((at, holding.id, holding))
        if not due:
            return None
        chosen = min(due)[2]
        free = room(self._engine.layout.images).free_bytes
        return chosen if free > ROOM * sum(chosen.parts.values()) else None

    def _name(self, id: str) -> str:
        names = self._engine.images.names(id)
        return names[0] if names else id[:19]


def damage_of(findings: Iterable[Any]) -> dict[str, str]:
    """Image -> what is wrong with it in a sentence. What only warns, and what was repaired, is no damage."""
    found: dict[str, list[str]] = {}
    for finding in findings:
        if finding.is_warning or finding.repair == "done":
            continue
        subject = str(finding.subject).removeprefix("sha256:")[:12]
        what = f"{finding.path} of layer {subject}" if finding.path else f"blob {subject}"
        found.setdefault(finding.image, []).append(f"{what} {finding.reason}")
    return {
        image: texts[0] + (f" (and {len(texts) - 1} more)" if len(texts) > 1 else "")
        for image, texts in found.items()
    }
