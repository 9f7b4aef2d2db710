"""What happened, handed to however many follow it: each row is read from the store once and encoded once.

    noted  ─> what cannot be found again ─┐
    commit ─> what it stored ─────────────┴─> the newest few ─> followers that keep up, each by one call
                                              the store      ─> those that do not, where they were

A follower costs the place where it is, and what its connection holds: it has no queue. Nobody misses one,
and nobody is told twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from agent.api.docker.attached import LONGEST_SECONDS, Attached
from agent.api.docker.event_view import Telling, tellings
from store.errors import StoreError
from store.records import EventRecord
from store.store import Store

Tell = Callable[[EventRecord], bool]
Window = tuple[float | None, float | None]  # since and until, Unix seconds, inclusive
HandOn = Callable[[tuple[Telling, ...]], bool]  # whether they were taken at once
KEPT = 4096
AT_FIRST, AT_ONCE = 60, 500  # records of one read, to one who has just come, and to one who takes them


@dataclass(slots=True)
class _Waiting:
    """A follower that has all there is up to a record."""

    after: int
    hand_on: HandOn


class EventFeed:
    """For the event loop's thread. instance: what the ids of its networks are made of. on_followed: gets
    `tell` when the first comes, and None when the last goes. attached: see `attached`."""

    def __init__(
        self,
        store: Store,
        instance: str,
        on_followed: Callable[[Tell | None], None] = lambda _tell: None,
        attached: Attached | None = None,
    ) -> None:
        self._store = store
        self._attached = attached if attached is not None else {}
        self._on_followed = on_followed
        self._instance = instance
        self._followers = 0
        self._recent: deque[Telling] = deque()
        self._complete_after = 0  # of all records after this one, what they tell is in `_recent`
        self._last = 0  # the record that was read last
        self._noted: deque[EventRecord] = deque()  # right behind that one, to be told in the next turn
        self._waiting: dict[asyncio.Future[None], _Waiting] = {}
        self._reading: asyncio.Task[None] | None = None

    @property
    def followers(self) -> int:
        return self._followers

    @property
    def last_id(self) -> int:
        """What is told from here on is after this record."""
        return self._store.last_event_id

    async def take(self, after: int, window: Window, most: int) -> tuple[tuple[Telling, ...], int]:
        """The next ones after that record, and the record that they reach to; the same one when there is
        nothing more for now: wait for a change that was taken before."""
        if after >= self._complete_after:
            return self._newer(after), max(after, self._last)
        return await self.read(after, window, most)

    async def read(self, after: int, window: Window, most: int) -> tuple[tuple[Telling, ...], int]:
        """The same from the store, with what was committed this very moment."""
        since, until = window
        last = self._store.last_event_id
        found = await asyncio.to_thread(
            lambda: self._store.events(
                since=since, until=until, after_id=after, limit=most, only_happenings=True
            )
        )
        told = tuple(telling for record in found for telling in tellings(record, self._instance))
        if len(found) == most:
            return told, found[-1].id
        return told, max(last, after, *(record.id for record in found[-1:]))

    def _newer(self, after: int) -> tuple[Telling, ...]:
        found: list[Telling] = []
        for telling in reversed(self._recent):
            if telling.record_id <= after:
                break
            found.append(telling)
        return tuple(reversed(found))

    # --- what all share -------------------------------------------------------------------------

    @contextlib.contextmanager
    def joined(self) -> Iterator[None]:
        """The store is listened to while anybody follows."""
        self._followers += 1
        if self._followers == 1:
            self._last = self._complete_after = self._store.last_event_id
            loop = asyncio.get_running_loop()
            self._unsubscribe = self._store.subscribe(
                lambda events: _call_soon(loop, lambda: self._on_commit(events))
            )
            self._on_followed(self.tell)
        try:
            yield
        finally:
            self._followers -= 1
            if not self._followers:
                self._unsubscribe()
                self._on_followed(None)
                self._recent.clear()
                self._noted.clear()

    async def wait(self, after: int, hand_on: HandOn, seconds: float | None) -> int:
        """Hand on what comes, for so many seconds at most, None for ever, or until that cannot be. The record
        that was reached: from there on, `take`."""
        if after < self._last and (after >= self._complete_after or after < self._store.last_event_id):
            return after
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        mine = self._waiting[woken] = _Waiting(after, hand_on)
        try:
            await asyncio.wait((woken,), timeout=seconds)
        finally:
            del self._waiting[woken]
        return mine.after

    def _hand_on(self) -> None:
        newer: dict[int, tuple[Telling, ...]] = {}  # most are at the same place
        for woken, each in self._waiting.items():
            if woken.done():
                continue
            if each.after not in newer:
                newer[each.after] = self._newer(each.after)
            if each.after >= self._complete_after and each.hand_on(newer[each.after]):
                each.after = max(each.after, self._last)
            else:
                woken.set_result(None)

    @property
    def _is_reading(self) -> bool:
        return self._reading is not None and not self._reading.done()

    def tell(self, event: EventRecord) -> bool:
        """Of what just happened, before it is stored; in the next turn, after who did it was answered. False
        where something before it is still to be stored: then it is told with that."""
        before = self._noted[-1].id if self._noted else self._last
        if not self._followers or self._is_reading or event.id != before + 1:
            return False
        self._noted.append(event)
        if len(self._noted) == 1:
            asyncio.get_running_loop().call_soon(self._tell_noted)
        return True

    def _tell_noted(self) -> None:
        if noted := tuple(self._noted):
            self._noted.clear()
            self._keep(noted, noted[-1].id)

    def _on_commit(self, events: tuple[EventRecord, ...]) -> None:
        """What was stored is told as it is; where something before it was not told, or it is much, it is read
        from the store."""
        if not self._followers or self._is_reading:
            return
        self._tell_noted()
        events = tuple(event for event in events if event.id > self._last)
        if not events:
            return
        if unsent := self._unsent(events):
            self._reading = asyncio.get_running_loop().create_task(self._read_when_sent(unsent))
        elif events[0].id == self._last + 1 and len(events) <= AT_ONCE:
            self._keep(events, events[-1].id)
        elif self._last < events[-1].id:
            self._reading = asyncio.get_running_loop().create_task(self._read())

    def _keep(self, events: Sequence[EventRecord], last: int) -> None:
        for record in events:
            self._recent.extend(tellings(record, self._instance))
        self._last = last
        while len(self._recent) > KEPT:
            self._complete_after = self._recent.popleft().record_id
        self._hand_on()

    def _unsent(self, events: Sequence[EventRecord]) -> set[asyncio.Future[None]]:
        """Who is still sent what a container printed whose end these tell: compose takes the end for the end
        of its output, too."""
        if not self._attached:
            return set()
        ended = {each.id for event in events for each in event.happenings if each.action == "die"}
        return set().union(*(self._attached.get(id, ()) for id in ended))

    async def _read_when_sent(self, unsent: set[asyncio.Future[None]]) -> None:
        await asyncio.wait(unsent, timeout=LONGEST_SECONDS)
        await self._read()

    async def _read(self) -> None:
        """Until there is nothing new; what cannot be read now is read after the next commit."""
        while self._followers and self._last < (newest := self._store.last_event_id):
            after = self._last
            try:
                found = await asyncio.to_thread(
                    lambda after=after: self._store.events(  # type: ignore[misc]
                        after_id=after, limit=AT_ONCE, only_happenings=True
                    )
                )
            except StoreError:
                return
            if not self._followers or self._last != after:
                return  # all went, and others came, meanwhile
            is_all = len(found) < AT_ONCE
            self._keep(found, max((newest, *(r.id for r in found[-1:]))) if is_all else found[-1].id)


def _call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(callback)
