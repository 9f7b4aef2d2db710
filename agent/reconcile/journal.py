"""Collects what a pass has to remember and writes it in one go, the newest only: what is small at once, into
the kernel's memory, from where it comes to the disk meanwhile; what is not in a thread.

Called by `loop`. A store that cannot be written (a full disk) holds nothing up: what waits is kept,
bounded, and tried again. One that was damaged, and is fresh now, gets all that is known.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from agent.images.notes import Notes
from agent.reconcile.writer import Writer
from store.errors import Damaged
from store.records import Batch, EventRecord, Key, ObjectRecord, RevisionRecord, StatusRecord

log = logging.getLogger(__name__)

STORE = Key("setpoint", "store", "store")  # whose events tell of the store itself
MAX_WAITING_EVENTS = 20_000
LONGEST_RETRY_SECONDS = 30.0
TOLD_SECONDS = 0.01  # that what followers have heard of waits for what else is to be written with it


class Remembers(Protocol):
    """What the heart needs of the store (`store.store.Store`). Called from a worker thread."""

    last_event_id: int

    def load(self) -> tuple[Mapping[Key, ObjectRecord], Mapping[Key, StatusRecord]]: ...
    def write(self, batch: Batch, *, is_synced: bool = True) -> None: ...
    def write_at_once(self, batch: Batch) -> bool: ...
    def sync(self) -> None: ...
    def open_log(self) -> int | None: ...


@dataclass(slots=True, eq=False)
class _Storing:
    """For who waits, each with a future of his own: who goes away takes nothing from the others, and no turn
    of the event loop is between them and this. done: whether it is stored. kept: whether no end of the agent
    takes it back, for those who are to hear of that before the disk has answered. is_kept: it is so."""

    done: list[asyncio.Future[bool]] = field(default_factory=list)
    kept: list[asyncio.Future[bool]] = field(default_factory=list)
    is_synced: bool = False
    is_kept: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Write:
    """One transaction."""

    batch: Batch
    storing: _Storing
    is_synced: bool


class Journal:
    """objects, statuses: the live records, read at the moment of writing. A key in neither is removed.

    in_thread: False writes in the caller's thread (tests that must not wait for real time).
    """

    def __init__(
        self,
        store: Remembers,
        objects: Mapping[Key, ObjectRecord],
        statuses: Mapping[Key, StatusRecord],
        *,
        delay_seconds: float,
        in_thread: bool,
        on_error: Callable[[Exception], None],
    ) -> None:
        self._store = store
        self._objects = objects
        self._statuses = statuses
        self._delay = delay_seconds
        self._in_thread = in_thread
        self._on_error = on_error
        self._dirty_objects: set[Key] = set()
        self._dirty_statuses: set[Key] = set()
        self._removed: set[Key] = set()
        self._events: deque[EventRecord] = deque(maxlen=MAX_WAITING_EVENTS)
        self._revisions: dict[str, RevisionRecord] = {}
        self.notes = Notes(self._soon)
        self._writer: asyncio.Task[None] | None = None
        self._syncer: asyncio.Task[None] | None = None
        self._written = self._synced = 0  # transactions, and how many of them no power cut takes back
        self._writing = Writer()
        self._current: _Write | None = None
        self._next: _Storing | None = None  # what comes during a write is the next one
        self._failures = 0
        self._soon_again = asyncio.Event()
        self._hastening: asyncio.TimerHandle | None = None
        self._being_written: tuple[EventRecord, ...] = ()
        self._held: deque[tuple[EventRecord, bool]] = deque(maxlen=MAX_WAITING_EVENTS)
        self._tell: Callable[[EventRecord], bool] | None = None
        self._last_event_id = 0
        self.dropped_events = 0  # that found no room here while the store could not be written

    # --- what is to be written ----------------------------------------------------------------

    def object_changed(self, key: Key) -> None:
        self._dirty_objects.add(key)
        self._removed.discard(key)
        self._soon()

    def status_changed(self, key: Key) -> None:
        self._dirty_statuses.add(key)
        self._soon()

    def removed(self, key: Key) -> None:
        self._removed.add(key)
        self._dirty_objects.discard(key)
        self._dirty_statuses.discard(key)
        self._soon()

    def event(self, event: EventRecord, *, is_told_first: bool = False) -> EventRecord:
        """The same with its number. is_told_first: followers may hear of it before it is stored, since no
        later agent finds it, and tells of it, once more."""
        self.dropped_events += len(self._events) == MAX_WAITING_EVENTS
        event = self._numbered(event)
        self._events.append(event)
        self._soon()
        if self._tell is not None and not self._failures:
            self._held.append((event, is_told_first))
            self._tell_held()
        return event

    def _tell_held(self) -> None:
        """Not while the disk is still to answer for a wish: what is done for it meanwhile a power cut may
        take back, and whoever wished it hears of it first."""
        if self._current is not None and self._current.storing.is_kept:
            return
        while self._held:
            event, is_told_first = self._held.popleft()
            if self._tell is not None and not self._failures:
                self._tell_follower(event, self._tell, is_told_first=is_told_first)

    def _tell_follower(
        self, event: EventRecord, tell: Callable[[EventRecord], bool], *, is_told_first: bool
    ) -> None:
        is_told = (is_told_first or not event.happenings) and tell(event)
        if event.happenings and not is_told:
            self._soon_again.set()
        elif event.happenings and self._hastening is None:
            self._hastening = asyncio.get_running_loop().call_later(TOLD_SECONDS, self._hasten)

    def _hasten(self) -> None:
        self._hastening = None
        if self._events:
            self._soon_again.set()

    def _numbered(self, event: EventRecord) -> EventRecord:
        """In the order in which they are stored."""
        self._last_event_id = max(self._last_event_id, self._store.last_event_id) + 1
        return replace(event, id=self._last_event_id)

    def revision(self, revision: RevisionRecord) -> None:
        self._revisions[revision.id] = revision
        self._soon()

    # --- writing ------------------------------------------------------------------------------

    def _soon(self) -> None:
        if self._writer is None or self._writer.done():
            self._writer = asyncio.get_running_loop().create_task(self._write_later())

    async def _write_later(self) -> None:
        """Until nothing waits; a little later each time, so that a burst is one write."""
        while self._is_waiting():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._wait_seconds):
                    await self._soon_again.wait()
            self._soon_again.clear()
            await self.flush(is_synced=False)

    @property
    def _wait_seconds(self) -> float:
        return max(self._delay, min(self._delay * 2.0**self._failures, LONGEST_RETRY_SECONDS))

    def followed_by(self, tell: Callable[[EventRecord], bool] | None) -> None:
        """Who waits for what happens is told at once by `tell`, which says whether it could; what that must
        not tell is not kept for what else may come, then. A burst is still few writes, since all that comes
        during one is the next."""
        self._tell = tell

    def look(self) -> None:
        """The disk may have answered by now."""
        self._writing.look()

    def try_again(self) -> None:
        """What kept the store from being written may be over."""
        self._failures = 0
        self._soon_again.set()

    @property
    def is_failing(self) -> bool:
        """The last write failed: what happens is kept in memory alone."""
        return self._failures > 0

    @property
    def waiting(self) -> int:
        """How many records are in memory alone."""
        dirty = len(self._dirty_objects) + len(self._dirty_statuses)
        return dirty + len(self._removed) + len(self._events) + len(self._revisions) + self.notes.waiting

    def waiting_events(self) -> tuple[EventRecord, ...]:
        """Those that nobody can read from the store yet, oldest first."""
        return (*self._being_written, *self._events)

    def _is_waiting(self) -> bool:
        return self.waiting > 0

    @property
    def _is_unsynced(self) -> bool:
        return self._written > self._synced

    async def flush(self, *, is_synced: bool = True) -> bool:
        """Write all that waits; True when it is stored. Unless is_synced, what was only seen and done reaches
        the disk itself a little later: nobody waits for that then, and no wish behind it.

        Whoever waits may go away (a client that breaks off). What was taken is then still stored, or put
        back, and no later write overtakes it."""
        return await self._write(asyncio.get_running_loop().create_future(), is_synced=is_synced)

    async def keep(self) -> asyncio.Future[bool]:
        """Write all that waits, and return as soon as no end of the agent takes it back: the rest is the
        disk's, and is done when the answer is. For what may be done meanwhile."""
        loop = asyncio.get_running_loop()
        kept = loop.create_future() if self._in_thread else None
        done = self._write(loop.create_future(), is_synced=True, kept=kept)
        if kept is not None:
            await kept
        return done

    def _write(
        self, done: asyncio.Future[bool], *, is_synced: bool, kept: asyncio.Future[bool] | None = None
    ) -> asyncio.Future[bool]:
        """Now, or right after what is being written now; `done` tells of its end, and `kept` before."""
        is_now = self._current is None
        storing = self._next or _Storing()
        storing.is_synced |= is_synced
        storing.done.append(done)
        if kept is not None:
            storing.kept.append(kept)
        if is_now:
            self._begin(storing)
        else:
            self._next = storing
        return done

    def _begin(self, storing: _Storing) -> None:
        """Take what waits, and have it written."""
        batch, is_synced = self._take(), storing.is_synced
        if batch:
            write = _Write(batch, storing, is_synced=is_synced or not self._in_thread or not batch.is_history)
            self._current, self._being_written = write, batch.events
            if not self._in_thread:
                self._on_written(write, _error_of(self._store, write))
            elif not self._write_at_once(write):
                self._hand_over(write)
        elif is_synced and self._is_unsynced:
            self._current = _Write(batch, storing, is_synced=True)
            self._sync(lambda is_stored: self._end(storing, is_stored=is_stored))
        else:
            _tell(storing, is_stored=True)

    def _write_at_once(self, write: _Write) -> bool:
        """Here and now: to hand it to the thread would take longer. False where it would have to wait for
        something, and while the disk makes others wait."""
        storing = write.storing
        if self._writing.is_slow:
            return False
        try:
            if not self._store.write_at_once(write.batch):
                return False
        except Exception as error:  # as in the thread
            self._on_written(write, error)
            return True
        storing.is_kept = True
        _set(storing.kept, True)
        if write.is_synced:
            self._writing.sync(self._store, functools.partial(self._on_written, write))
        else:
            self._on_written(write, None)
        return True

    def _hand_over(self, write: _Write) -> None:
        storing, loop = write.storing, asyncio.get_running_loop()

        def on_kept() -> None:
            with contextlib.suppress(RuntimeError):  # the event loop is closed
                loop.call_soon_threadsafe(_set, storing.kept, True)

        work = functools.partial(_error_of, self._store, write, on_kept if storing.kept else None)
        self._writing.begin(work, functools.partial(self._on_written, write))

    def _on_written(self, write: _Write, error: Exception | None) -> None:
        self._being_written = ()
        if error is not None:
            # Events that are in the database would be there twice.
            self._put_back(replace(write.batch, events=()) if write.storing.is_kept else write.batch)
            if isinstance(error, Damaged):
                self._write_all_again(error)
            self._failures += 1
            self._on_error(error)
        else:
            self._written += 1
            if write.is_synced:
                self._synced, self._failures = self._written, 0
            else:
                self._sync_soon()  # whether it can be stored is known then
        self._end(write.storing, is_stored=error is None)

    def _end(self, storing: _Storing, *, is_stored: bool) -> None:
        """And begin with what came meanwhile."""
        self._current = None
        _tell(storing, is_stored=is_stored)
        self._tell_held()
        if self._next is not None:
            following, self._next = self._next, None
            self._begin(following)

    def _sync_soon(self) -> None:
        if self._syncer is None or self._syncer.done():
            self._syncer = asyncio.get_running_loop().create_task(self._sync_later())

    async def _sync_later(self) -> None:
        """Beside whoever writes meanwhile: what is written now may come to the disk with it, or is next."""
        while self._is_unsynced:
            await asyncio.sleep(self._wait_seconds)
            if self._is_unsynced:
                synced: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
                self._sync(functools.partial(_set, [synced]))
                await synced

    def _sync(self, done: Callable[[bool], None]) -> None:
        reached = self._written  # and not what is written meanwhile

        def on_end(error: Exception | None) -> None:
            if error is None:
                self._synced, self._failures = max(self._synced, reached), 0
            else:
                self._failures += 1
                self._on_error(error)
            done(error is None)

        self._writing.sync(self._store, on_end)

    def _take(self) -> Batch:
        images, images_forgotten = self.notes.take()
        batch = Batch(
            objects=tuple(self._objects[key] for key in self._dirty_objects if key in self._objects),
            removed=tuple(self._removed),
            statuses=tuple(self._statuses[key] for key in self._dirty_statuses if key in self._statuses),
            events=tuple(self._events),
            revisions=tuple(self._revisions.values()),
            images=images,
            images_forgotten=images_forgotten,
        )
        self._dirty_objects.clear()
        self._dirty_statuses.clear()
        self._removed.clear()
        self._events.clear()
        self._revisions.clear()
        return batch

    def _put_back(self, batch: Batch) -> None:
        self._dirty_objects.update(record.key for record in batch.objects)
        self._dirty_statuses.update(record.key for record in batch.statuses)
        self._removed.update(key for key in batch.removed if key not in self._objects)
        newer = list(self._events)
        self._events.clear()
        self._events.extend((*batch.events, *newer))
        self._revisions = {record.id: record for record in batch.revisions} | self._revisions
        self.notes.put_back(batch.images, batch.images_forgotten)

    def _write_all_again(self, error: Damaged) -> None:
        """The store is empty now. Its loss is an event, since a person must hear of it."""
        self._dirty_objects.update(self._objects)
        self._dirty_statuses.update(self._statuses)
        self.notes.write_all_again()
        note = f"{error}; the file was moved aside, and a fresh one is written from memory"
        if not any(event.key == STORE for event in self._events):
            event = EventRecord(time.time(), STORE, "Warning", "StoreDamaged", note)
            self._events.append(self._numbered(event))

    async def close(self) -> None:
        """Write what waits, once more if need be, and end."""
        if self._hastening is not None:
            self._hastening.cancel()
        for task in (self._writer, self._syncer):
            if task is not None:
                task.cancel()
        if not await self.flush():
            log.error("what happened last could not be stored")
        self._writing.close()


def _tell(storing: _Storing, *, is_stored: bool) -> None:
    _set(storing.kept, is_stored)
    _set(storing.done, is_stored)


def _set(futures: list[asyncio.Future[bool]], value: bool) -> None:
    for future in futures:
        if not future.done():
            future.set_result(value)


def _error_of(store: Remembers, write: _Write, on_kept: Callable[[], None] | None = None) -> Exception | None:
    """on_kept: called between the two steps, where somebody waits for the first."""
    try:
        store.write(write.batch, is_synced=write.is_synced and on_kept is None)
        if on_kept is not None:
            write.storing.is_kept = True
            on_kept()
            store.sync()
    except Exception as error:
        return error
    return None
