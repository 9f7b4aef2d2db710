"""Keeps the image store in bounds: looks now and then at what there is and who needs it, takes what is to go,
and says so. Holds leases. Made and run by the daemon; `system df` and `system prune` ask it.

    every 5 min, and on trouble with the disk:  look ─> find_roots ─> judge ─> engine.collect_images ─> events
    every 2 s, while there is an alarm:         statvfs ─> a look as soon as there is room again

What goes is decided by `runtime.images.collection` alone. For the event loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Protocol

from agent.images.notes import Notes
from agent.images.roots import Wanted, find_roots, kept_good
from agent.reconcile.api_objects import is_api
from agent.room import Alarm
from runtime.disk import room
from runtime.errors import Invalid, NotFound, SetpointError, Temporary
from runtime.images.collection import Asked, Disk, Holding, Judgement, Rules, is_short, judge
from runtime.images.reference import is_digest, parse_reference
from runtime.model import ImageInfo
from store.errors import StoreError
from store.image_memory import GoodImageRecord, ImageMemory, ImageRecord, LeaseRecord
from store.records import Key, ObjectRecord

log = logging.getLogger("setpoint.images")

IMAGES = Key("setpoint", "images", "store")  # whose events tell what went
FIRST_LOOK_SECONDS = 30.0  # what runs is taken over by then, and the source was read
PAUSE_SECONDS = 5.0  # between two looks, however often the disk is in trouble
ALARM_SECONDS = 2.0  # between two looks at the room alone, while an alarm says that there is none
USED_STEP_SECONDS = 900.0  # how exactly it is stored when an image was needed last
MAX_LEASE_SECONDS = 30 * 86400.0


class Loop(Protocol):
    """What the reconcile loop is to the keeper."""

    def objects(self) -> Mapping[Key, ObjectRecord]: ...
    def image_of(self, key: Key) -> ImageInfo | None: ...
    def image_changed(self, reference: str = "") -> None: ...
    def note(self, key: Key, type: str, reason: str, message: str) -> None: ...
    async def flush(self) -> None: ...
    @property
    def journal(self) -> Any: ...


class ImageKeeper:
    """engine: the native one. alarm: what a person must hear of, None when all is well."""

    def __init__(
        self,
        engine: Any,
        loop: Loop,
        remembered: Callable[[], ImageMemory],
        rules: Rules,
        look_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.alarm: Alarm | None = None
        self._engine = engine
        self._loop = loop
        self._remembered = remembered
        self._rules = rules
        self._look_seconds = look_seconds
        self._clock = clock
        self._wakeup = asyncio.Event()
        self._turn = asyncio.Lock()
        self._is_short = False

    @property
    def notes(self) -> Notes:
        notes: Notes = self._loop.journal.notes
        return notes

    async def load(self) -> None:
        """What the store remembers. Nothing of it is needed: without it all images count as used just now."""
        with contextlib.suppress(StoreError):
            self.notes.load(await asyncio.to_thread(self._remembered))

    def look_soon(self) -> None:
        """The disk is in trouble. Cheap: called for every failure."""
        self._wakeup.set()

    async def run(self) -> None:
        """Until cancelled."""
        await self._sleep(min(FIRST_LOOK_SECONDS, self._look_seconds))
        while True:
            self._wakeup.clear()
            try:
                await self.look()
            except (SetpointError, OSError) as error:
                log.warning("images could not be looked at: %s", error)
            except Exception:  # a bug in here must not end the agent
                log.exception("a bug in looking at images")
            await asyncio.sleep(min(PAUSE_SECONDS, self._look_seconds))
            await self._rest()

    async def _rest(self) -> None:
        """Until it is time for a look: also when an alarm is up and there is room again, for an alarm that
        stays on after somebody made room has them make more."""
        left = self._look_seconds
        while left > 0 and not self._wakeup.is_set():
            step = min(left, ALARM_SECONDS) if self.alarm is not None else left
            await self._sleep(step)
            left -= step
            if self.alarm is not None and await self._has_room_again():
                return

    async def _has_room_again(self) -> bool:
        try:
            return not self._is_alarming(await self._disk())
        except OSError:  # a look will tell
            return True

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wakeup.wait()

    # --- what is good -------------------------------------------------------------------------

    def settled(self, key: Key) -> None:
        """An object is as it is wanted: its image is one that a revert may go back to. What the Docker API
        made has none: its image is free when it is gone."""
        if is_api(key):
            return
        image, record = self._loop.image_of(key), self._loop.objects().get(key)
        if image is None or record is None or record.deleting:
            return
        mine = self.notes.good().get(key, [])
        if mine and mine[0].image == image.id and mine[0].removed_at is None:
            return
        reference = str(record.spec.get("image", ""))
        good = GoodImageRecord(key, image.id, reference, record.revision, self._clock())
        self.notes.put(good)

    def _tidy_good(self, now: float) -> None:
        objects = self._loop.objects()
        for key, records in list(self.notes.good().items()):
            is_wanted = key in objects and not objects[key].deleting
            for record in list(records):
                if not is_wanted and record.removed_at is None:
                    self.notes.put(replace(record, removed_at=now))
            now_good = self.notes.good().get(key, [])
            for record in [each for each in now_good if each not in kept_good(now_good, now)]:
                self.notes.drop(record)

    # --- looking ------------------------------------------------------------------------------

    async def look(self) -> tuple[Judgement, ...]:
        """Judge, and take what is to go; all judgements."""
        async with self._turn:
            found, disk = await self._judge(None)
            going = [each for each in found if each.goes]
            self._note_alarm(disk, found)
            is_cache_smaller = await self._tidy_build_cache(disk)
            if going or is_cache_smaller:
                await self._take(going)
            return found

    async def _tidy_build_cache(self, disk: Disk) -> bool:
        """By the same rules: steps of builds that are unused for long, and on a disk over its mark all that
        are older than the grace. Whether anything went."""
        rules = self._rules
        age = rules.grace_seconds if disk.used_fraction > rules.high else rules.max_age_seconds
        if not age and disk.used_fraction <= rules.high:
            return False
        return bool(await asyncio.to_thread(self._engine.images.prune_build_cache, age))

    async def look_only(self) -> tuple[Judgement, ...]:
        """What `look` would judge; nothing goes."""
        return (await self._judge(None))[0]

    async def plan(self, asked: Asked) -> tuple[Judgement, ...]:
        """What would go if a person asked so."""
        return (await self._judge(asked))[0]

    async def prune(self, asked: Asked, spared: Mapping[str, str] | None = None) -> tuple[Judgement, ...]:
        """Take what a person asks for; of what went. spared: images that stay, and why."""
        async with self._turn:
            found, _ = await self._judge(asked, spared or {})
            gone = await self._take([each for each in found if each.goes])  # and what no image needs
            self._wakeup.set()  # the alarm may be over
            return gone

    async def _judge(
        self, asked: Asked | None, spared: Mapping[str, str] = MappingProxyType({})
    ) -> tuple[tuple[Judgement, ...], Disk]:
        engine, now = self._engine, self._clock()
        holdings = await asyncio.to_thread(engine.images.holdings)
        disk = await self._disk()
        self._tidy_good(now)
        roots = self._roots(holdings, now)
        used_at = self._note_use(holdings, roots, now)
        return judge(holdings, {**spared, **roots}, used_at, disk, now, self._rules, asked), disk

    async def _disk(self) -> Disk:
        """One statvfs(3), in a thread: a disk may be slow. OSError."""
        found = await asyncio.to_thread(room, self._engine.layout.images)
        return Disk(found.total_bytes, found.free_bytes)

    def roots(self, holdings: tuple[Holding, ...]) -> dict[str, str]:
        """Image -> who needs it."""
        return self._roots(holdings, self._clock())

    def _roots(self, holdings: tuple[Holding, ...], now: float) -> dict[str, str]:
        engine = self._engine
        names = {
            parse_reference(name).canonical: holding.id for holding in holdings for name in holding.names
        }
        return find_roots(
            engine.list(), engine.images_in_use(), self._wanted(), self.notes.good(), self._leases(now),
            engine.pulls.running(), names, now,
        )  # fmt: skip

    def _wanted(self) -> Iterator[Wanted]:
        known: dict[str, str] = {}
        for key, record in self._loop.objects().items():
            reference = record.spec.get("image")
            if not isinstance(reference, str) or record.deleting:
                continue
            if reference not in known:
                image = None
                with contextlib.suppress(SetpointError):
                    image = self._engine.image(reference)
                known[reference] = image.id if image is not None else ""
            place = f"{record.file}:{record.line}" if record.file else ""
            yield Wanted(key, reference, known[reference], place)

    def _note_use(
        self, holdings: tuple[Holding, ...], roots: Mapping[str, str], now: float
    ) -> dict[str, float]:
        """When each was needed last. A clock that was set back makes nothing older."""
        used_at: dict[str, float] = {}
        for holding in holdings:
            known = self.notes.image(holding.id) or ImageRecord(holding.id, now, now)
            if holding.id in roots and now - known.used_at >= USED_STEP_SECONDS:
                known = replace(known, used_at=now)
            if known.used_at > now:
                known = replace(known, used_at=now)
            self.notes.put(known)
            used_at[holding.id] = known.used_at
        for id in self.notes.images().keys() - used_at.keys():
            if (gone := self.notes.image(id)) is not None:
                self.notes.drop(gone)
        return used_at

    async def _take(self, going: list[Judgement]) -> tuple[Judgement, ...]:
        """Those that went: some may be needed again since they were judged."""
        gone = set(await self._engine.collect_images({each.id: each.names for each in going}))
        taken = tuple(each for each in going if each.id in gone)
        for each in taken:
            name = ", ".join(each.names) or each.id[:19]
            megabytes = each.goes_bytes / 1e6
            self._loop.note(
                IMAGES, "Normal", "ImageCollected", f"{name} went, {megabytes:.1f} MB: {each.why}"
            )
        if taken:
            self._loop.image_changed()
        return taken

    def _is_alarming(self, disk: Disk) -> bool:
        return disk.used_fraction > self._rules.alarm

    def _note_alarm(self, disk: Disk, found: tuple[Judgement, ...]) -> None:
        was_short, self._is_short = self._is_short, is_short(disk, self._rules, found)
        is_alarming = self._is_short and self._is_alarming(disk)
        if self.alarm is not None and not is_alarming:
            self.alarm = None
            message = (
                f"the disk of {self._engine.layout.images} has room again: {disk.used_fraction:.0%} full"
            )
            self._loop.note(IMAGES, "Normal", "DiskPressureOver", message)
        if not self._is_short:
            return
        if not was_short or (is_alarming and self.alarm is None):
            message = (
                f"the disk of {self._engine.layout.images} is {disk.used_fraction:.0%} full, over the "
                f"{self._rules.high:.0%} for images, and all that are left are needed or came by hand"
            )
            hint = "`setpoint system df` shows what takes room, `setpoint system prune --all` what may go"
            if is_alarming:
                self.alarm = Alarm("DiskPressure", message, hint, self._clock())
            self._loop.note(IMAGES, "Warning", "DiskPressure", f"{message} (hint: {hint})")

    # --- leases -------------------------------------------------------------------------------

    async def lease(self, subject: str, seconds: float, owner: str, id: str = "") -> LeaseRecord:
        """Hold an image for a time, or, with the id of a lease, for longer. Returns when that is stored."""
        if not 0 < seconds <= MAX_LEASE_SECONDS:
            reason = f"{seconds:g} s is not a time from 1 s to {MAX_LEASE_SECONDS / 86400:.0f} days"
            raise Invalid("hold image", subject, reason)
        image = self._engine.image(subject)
        if image is None:
            raise NotFound("hold image", subject, "no such image here", f"setpoint image pull {subject}")
        now = self._clock()
        before = self.notes.lease(id) if id else None
        if id and before is None:
            raise NotFound("hold image", id, "there is no such lease", "ask for a new one")
        made_at = before.made_at if before is not None else now
        record = LeaseRecord(id or secrets.token_hex(8), image.id, owner[:200], made_at, now + seconds)
        self.notes.put(record)
        if await self._loop.journal.flush():
            return record
        self.notes.drop(record)
        raise Temporary("hold image", subject, "the lease cannot be stored now", "see `setpoint status`", 5.0)

    async def release(self, id: str) -> None:
        """End a lease. `NotFound`."""
        record = self.notes.lease(id)
        if record is None:
            raise NotFound("release image", id, "there is no such lease", "it may be over")
        self.notes.drop(record)
        await self._loop.flush()

    def leases(self) -> tuple[LeaseRecord, ...]:
        """Those that are not over."""
        return self._leases(self._clock())

    def _leases(self, now: float) -> tuple[LeaseRecord, ...]:
        for record in self.notes.leases():
            if record.expires_at <= now:
                self.notes.drop(record)
        return self.notes.leases()


def lease_view(record: LeaseRecord) -> dict[str, Any]:
    subject = record.subject
    kind = "image" if is_digest(subject) else "name"
    return {"id": record.id, kind: subject, "owner": record.owner, "expires_at": record.expires_at}
