"""What is remembered is written again whole when the database was damaged under a running agent."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agent.reconcile import writer
from agent.reconcile.journal import Journal
from store.records import Batch, EventRecord, Happening, Key, ObjectRecord, StatusRecord
from store.store import Store

WEB, DB = Key("shop", "container", "web"), Key("shop", "container", "db")


def object_of(key: Key) -> ObjectRecord:
    return ObjectRecord(
        key=key, owner="git", spec={"image": "a"}, spec_hash="h", generation=1, observed_generation=1,
        file="shop/compose.yaml", line=1, revision="r", updated_at=1.0,
    )  # fmt: skip


def status_of(key: Key, message: str = "") -> StatusRecord:
    return StatusRecord(key=key, phase="Running", ready=True, since=1.0, restarts=0, message=message)


def damage(path: Path) -> None:
    """Every page but the first. Another's write first, so that no page is in the writer's cache."""
    other = sqlite3.connect(path)
    with other:
        other.execute("UPDATE objects SET line = 2")
    other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    other.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))


def test_a_store_damaged_while_running_is_begun_afresh_with_all_that_is_known(tmp_path: Path) -> None:
    path = tmp_path / "data" / "setpoint.db"
    store = Store(path)
    objects = {key: object_of(key) for key in (WEB, DB)}
    statuses = {key: status_of(key) for key in (WEB, DB)}
    errors: list[Exception] = []

    async def story() -> None:
        journal = Journal(
            store, objects, statuses, delay_seconds=0.01, in_thread=True, on_error=errors.append
        )
        for key in objects:
            journal.object_changed(key)
            journal.status_changed(key)
        journal.event(EventRecord(1.0, WEB, "Normal", "Started", "first"))
        assert await journal.flush()
        damage(path)
        statuses[WEB] = status_of(WEB, "second")
        journal.status_changed(WEB)
        journal.event(EventRecord(2.0, WEB, "Normal", "Started", "second"))
        while not await journal.flush():
            assert len(errors) < 5
        await journal.close()

    asyncio.run(story())
    assert len(errors) == 1
    assert len(list(path.parent.glob("setpoint.db.damaged-*Z"))) == 1
    assert [event.message for event in store.events() if event.key == WEB] == ["second"]
    assert [event.reason for event in store.events() if event.key.kind == "store"] == ["StoreDamaged"]
    assert [event.id for event in store.events()] == [2, 3]  # a follower's place stays right
    store.close()
    again = Store(path)
    assert again.load() == (objects, statuses)
    again.close()


async def test_what_happens_is_written_at_once_while_somebody_follows_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "setpoint.db")
    written = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_commit(_events: tuple[EventRecord, ...]) -> None:
        loop.call_soon_threadsafe(written.set)

    store.subscribe(on_commit)
    journal = Journal(store, {}, {}, delay_seconds=3600.0, in_thread=True, on_error=lambda _error: None)
    told = (Happening("volume", "create", "data", {}),)
    journal.event(EventRecord(1.0, WEB, "Normal", "VolumeCreate", "kept", happenings=told))
    journal.followed_by(lambda _event: False)
    journal.event(EventRecord(2.0, WEB, "Normal", "VolumeCreate", "told", happenings=told))
    async with asyncio.timeout(30):
        await written.wait()
    assert [event.message for event in store.events()] == ["kept", "told"]
    await journal.close()
    store.close()


async def test_who_waits_for_a_write_and_goes_away_takes_nothing_along(tmp_path: Path) -> None:
    store = Store(tmp_path / "setpoint.db")
    journal = Journal(store, {}, {}, delay_seconds=3600.0, in_thread=True, on_error=lambda _error: None)
    for number in range(20):
        journal.event(EventRecord(1.0, WEB, "Normal", "Started", str(number)))
        caller = asyncio.ensure_future(journal.flush())
        for _ in range(number % 4):
            await asyncio.sleep(0)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
    assert await journal.flush()
    assert [event.message for event in store.events()] == [str(number) for number in range(20)]
    await journal.close()
    store.close()


class Disk:
    """A store that tells what reached it, and what of that a power cut would leave. has_time: whether it
    writes at once what it is given so."""

    last_event_id = 0

    def __init__(self, *, has_time: bool = False) -> None:
        self.has_time = has_time
        self.writers: list[threading.Thread] = []
        self.written: list[str] = []
        self.safe = 0
        self.error: Exception | None = None
        self.answers = threading.Event()
        self.answers.set()

    def load(self) -> tuple[dict[Key, ObjectRecord], dict[Key, StatusRecord]]:
        return {}, {}

    def write(self, batch: Batch, *, is_synced: bool = True) -> None:
        self.writers.append(threading.current_thread())
        self.written += [event.message for event in batch.events]
        self.written += [str(record.key) for record in (*batch.objects, *batch.statuses)]
        if is_synced:
            assert self.answers.wait(20)
            self.safe = len(self.written)

    def write_at_once(self, batch: Batch) -> bool:
        if self.has_time:
            self.write(batch, is_synced=False)
        return self.has_time

    def open_log(self) -> int | None:
        return None

    def sync(self) -> None:
        assert self.answers.wait(20)
        if self.error is not None:
            raise self.error
        self.safe = len(self.written)


def an_event(message: str) -> EventRecord:
    return EventRecord(1.0, WEB, "Normal", "Started", message)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0.001)


def journal_of(disk: Disk, objects: dict[Key, ObjectRecord], errors: list[Exception]) -> Journal:
    return Journal(disk, objects, {}, delay_seconds=0.02, in_thread=True, on_error=errors.append)


async def test_what_only_happened_reaches_the_disk_a_little_later() -> None:
    disk = Disk()
    journal = journal_of(disk, {}, [])
    journal.event(an_event("one"))
    await until(lambda: disk.written == ["one"])
    await until(lambda: disk.safe == 1)
    await journal.close()


async def test_who_asks_for_what_is_stored_is_not_answered_before() -> None:
    """Also when somebody else wrote it a moment ago."""
    disk = Disk()
    journal = journal_of(disk, {}, [])
    journal.event(an_event("one"))
    assert await journal.flush(is_synced=False)
    assert (disk.written, disk.safe) == (["one"], 0)
    assert await journal.flush()
    assert disk.safe == 1
    await journal.close()
    assert disk.safe == 1


async def test_a_wish_is_on_the_disk_whoever_writes_it() -> None:
    disk, objects = Disk(), {WEB: object_of(WEB)}
    journal = journal_of(disk, objects, [])
    journal.event(an_event("one"))
    journal.object_changed(WEB)
    assert await journal.flush(is_synced=False)
    assert disk.safe == 2
    await journal.close()


async def test_the_end_leaves_nothing_behind() -> None:
    disk = Disk()
    journal = journal_of(disk, {}, [])
    journal.event(an_event("one"))
    await journal.flush(is_synced=False)
    await journal.close()
    assert disk.safe == 1


async def test_a_disk_that_refuses_is_told_and_asked_again() -> None:
    disk, errors = Disk(), list[Exception]()
    journal = journal_of(disk, {}, errors)
    disk.error = OSError("broken")
    journal.event(an_event("one"))
    await until(lambda: len(errors) >= 2)
    assert journal.is_failing
    assert not await journal.flush()
    disk.error = None
    await until(lambda: not journal.is_failing)
    assert disk.safe == 1
    await journal.close()


async def test_events_have_the_numbers_that_they_are_stored_under(tmp_path: Path) -> None:
    store = Store(tmp_path / "setpoint.db")
    store.write(Batch(events=(an_event("before"),)))
    journal = Journal(store, {}, {}, delay_seconds=3600.0, in_thread=True, on_error=lambda _error: None)
    numbers = [journal.event(an_event(text)).id for text in ("one", "two")]
    assert await journal.flush()
    numbers.append(journal.event(an_event("three")).id)
    assert await journal.flush()
    assert numbers == [2, 3, 4]
    assert [event.id for event in store.events()] == [1, *numbers]
    await journal.close()
    store.close()


async def test_followers_hear_at_once_of_what_no_later_agent_tells_again() -> None:
    disk, told = Disk(), list[str]()

    def tell(event: EventRecord) -> bool:
        told.append(event.message)
        return True

    journal = Journal(disk, {}, {}, delay_seconds=3600.0, in_thread=True, on_error=lambda _error: None)
    journal.followed_by(tell)
    happening = (Happening("volume", "create", "data", {}),)
    journal.event(replace(an_event("made"), happenings=happening), is_told_first=True)
    assert (told, disk.written) == (["made"], [])
    await until(lambda: disk.written == ["made"])  # a moment later: the next kill takes no more than that
    journal.event(replace(an_event("ended"), happenings=happening))
    await until(lambda: disk.written == ["made", "ended"])
    assert told == ["made"]
    await journal.close()


# --- what is done while the disk is waited for ------------------------------------------------------


async def test_what_no_end_of_the_agent_takes_back_is_told_before_the_disk_has_answered() -> None:
    disk, objects = Disk(), {WEB: object_of(WEB)}
    journal = journal_of(disk, objects, [])
    disk.answers.clear()
    journal.object_changed(WEB)
    stored = await journal.keep()
    assert (disk.written, disk.safe, stored.done()) == ([str(WEB)], 0, False)
    behind = asyncio.ensure_future(journal.flush())
    await asyncio.sleep(0.01)
    assert not behind.done()
    disk.answers.set()
    assert await stored and await behind
    assert disk.safe == 1
    await journal.close()


async def test_who_comes_during_a_write_is_told_early_of_the_next() -> None:
    disk, objects = Disk(), {WEB: object_of(WEB), DB: object_of(DB)}
    journal = journal_of(disk, objects, [])
    disk.answers.clear()
    journal.object_changed(WEB)
    first = await journal.keep()
    journal.object_changed(DB)
    both = [asyncio.ensure_future(wait) for wait in (journal.keep(), journal.keep(), journal.keep())]
    await asyncio.sleep(0.01)
    both[0].cancel()  # takes nothing along
    disk.answers.set()
    assert await first
    assert all(await asyncio.gather(*[await each for each in both[1:]]))
    assert disk.safe == 2
    await journal.close()


async def test_nothing_that_waits_is_stored_already() -> None:
    disk = Disk()
    journal = journal_of(disk, {}, [])
    stored = await journal.keep()
    assert stored.done() and await stored
    await journal.close()


async def test_what_the_disk_refuses_is_written_again_but_for_its_events() -> None:
    disk, errors, objects = Disk(), list[Exception](), {WEB: object_of(WEB)}
    journal = journal_of(disk, objects, errors)
    disk.error = OSError("broken")
    journal.event(an_event("one"))
    journal.object_changed(WEB)
    stored = await journal.keep()
    assert not await stored and journal.is_failing and errors == [disk.error]
    disk.error = None
    assert await journal.flush()
    assert disk.written == ["one", str(WEB), str(WEB)] and disk.safe == 3
    await journal.close()


async def test_what_cannot_be_written_is_no_more_than_tried() -> None:
    disk, errors, objects = Disk(), list[Exception](), {WEB: object_of(WEB)}
    journal = journal_of(disk, objects, errors)

    def refuses(_batch: Batch, *, is_synced: bool = True) -> None:
        raise OSError("full")

    disk.write = refuses  # type: ignore[method-assign]
    journal.event(an_event("one"))
    journal.object_changed(WEB)
    assert not await (await journal.keep())
    del disk.write  # type: ignore[misc]
    assert await journal.flush()
    assert disk.written == ["one", str(WEB)]
    await journal.close()


# --- what is written at once ------------------------------------------------------------------------


async def test_what_is_small_is_written_where_it_is_asked_for_and_the_disk_is_waited_for_elsewhere() -> None:
    disk, objects = Disk(has_time=True), {WEB: object_of(WEB)}
    journal = journal_of(disk, objects, [])
    disk.answers.clear()
    journal.object_changed(WEB)
    stored = asyncio.ensure_future(journal.flush())
    await asyncio.sleep(0)
    assert (disk.written, disk.writers) == ([str(WEB)], [threading.main_thread()])
    await asyncio.sleep(0.01)
    assert not stored.done()
    disk.answers.set()
    assert await stored and disk.safe == 1
    await journal.close()


async def test_what_is_kept_at_once_goes_on_in_the_same_turn() -> None:
    disk, objects = Disk(has_time=True), {WEB: object_of(WEB)}
    journal = journal_of(disk, objects, [])
    disk.answers.clear()
    journal.object_changed(WEB)
    keeping = journal.keep()
    try:
        keeping.send(None)
    except StopIteration as done:
        stored = done.value
    assert disk.written == [str(WEB)] and not stored.done()
    disk.answers.set()
    assert await stored and disk.safe == 1
    await journal.close()


async def test_what_cannot_be_written_at_once_goes_to_the_thread() -> None:
    disk, objects = Disk(), {WEB: object_of(WEB)}
    journal = journal_of(disk, objects, [])
    journal.object_changed(WEB)
    assert await journal.flush()
    assert disk.writers and threading.main_thread() not in disk.writers
    await journal.close()


async def test_nothing_is_written_at_once_while_the_disk_makes_others_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writer, "SLOW_SECONDS", 0.0)
    disk = Disk(has_time=True)
    journal = journal_of(disk, {}, [])
    journal.event(an_event("one"))
    assert await journal.flush(is_synced=False)
    disk.answers.clear()
    await until(lambda: journal._writing.is_slow)
    journal.event(an_event("two"))
    assert await journal.flush(is_synced=False)
    assert [thread is threading.main_thread() for thread in disk.writers] == [True, False]
    disk.answers.set()
    await journal.close()


async def test_who_asks_for_what_is_stored_waits_for_a_disk_that_was_asked_before() -> None:
    disk = Disk(has_time=True)
    journal = journal_of(disk, {}, [])
    disk.answers.clear()
    journal.event(an_event("one"))
    await until(lambda: disk.written == ["one"])
    await until(lambda: bool(journal._writing._syncs))
    asked = asyncio.ensure_future(journal.flush())
    await asyncio.sleep(0.02)
    assert not asked.done() and not disk.safe
    disk.answers.set()
    assert await asked and disk.safe == 1
    await journal.close()


@pytest.mark.parametrize("has_time", [True, False])
async def test_what_is_done_for_a_wish_is_told_when_the_disk_has_answered_for_it(has_time: bool) -> None:
    """And after whoever wished it."""
    disk, objects, order = Disk(has_time=has_time), {WEB: object_of(WEB)}, list[str]()

    def tell(event: EventRecord) -> bool:
        order.append(event.message)
        return True

    async def wish() -> None:
        stored = await journal.keep()
        made = replace(an_event("made"), happenings=(Happening("volume", "create", "data", {}),))
        journal.event(made, is_told_first=True)
        journal.event(an_event("nothing that anybody hears of"))
        order.append("done")
        await stored

    journal = journal_of(disk, objects, [])
    journal.followed_by(tell)
    disk.answers.clear()
    journal.object_changed(WEB)
    wishing = asyncio.ensure_future(wish())
    await until(lambda: order == ["done"])
    await asyncio.sleep(0.02)
    assert order == ["done"]
    disk.answers.set()
    await wishing
    assert order == ["done", "made", "nothing that anybody hears of"]
    await until(lambda: disk.safe == len(disk.written) == 3)
    await journal.close()


async def test_what_a_refusing_disk_held_back_is_told_with_what_is_stored() -> None:
    disk, errors, objects, told = Disk(has_time=True), list[Exception](), {WEB: object_of(WEB)}, list[str]()

    def tell(event: EventRecord) -> bool:
        told.append(event.message)
        return True

    journal = journal_of(disk, objects, errors)
    journal.followed_by(tell)
    disk.error = OSError("broken")
    journal.object_changed(WEB)
    stored = await journal.keep()
    journal.event(
        replace(an_event("made"), happenings=(Happening("volume", "create", "data", {}),)), is_told_first=True
    )
    assert not await stored
    assert (told, disk.written) == ([], [str(WEB)])
    disk.error = None
    assert await journal.flush()
    assert disk.written == [str(WEB), "made", str(WEB)] or disk.written == [str(WEB), str(WEB), "made"]
    await journal.close()
