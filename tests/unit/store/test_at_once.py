"""Writes that wait for nothing, and what they leave to those that may."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from store import event_caps
from store import store as module
from store.errors import StoreError
from store.records import Batch
from store.store import Store
from tests.unit.store.conftest import a_status, an_event, an_object


def said_by(store: Store) -> list[str]:
    said: list[str] = []
    connection: Any = store._connection.connection.dbapi_connection
    connection.set_trace_callback(said.append)
    return said


def test_it_is_there_for_every_reader_and_told(store: Store, path: Path) -> None:
    heard: list[int] = []
    store.subscribe(lambda events: heard.extend(event.id for event in events))
    assert store.write_at_once(Batch(objects=(an_object(),), events=(an_event(),)))
    again = Store(path)
    assert set(again.load()[0]) == {an_object().key}
    assert [event.id for event in again.events()] == heard == [1]
    again.close()


def test_it_waits_for_no_disk(store: Store) -> None:
    said = said_by(store)
    assert store.write_at_once(Batch(objects=(an_object(),)))
    connection: Any = store._connection.connection.dbapi_connection
    settings = [
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "wal_autocheckpoint")
    ]
    assert settings == [1, 0]  # NORMAL, never
    assert not any("PRAGMA" in text for text in said[: said.index("COMMIT")])


@pytest.mark.parametrize("is_at_once", [True, False])
def test_one_that_was_closed_is_opened_anew_and_left_as_it_was(store: Store, is_at_once: bool) -> None:
    """As after a damage that could not be moved aside."""
    connection: Any = store._connection.connection.dbapi_connection
    connection.close()
    if is_at_once:
        assert not store.write_at_once(Batch(objects=(an_object(),)))
    else:
        with pytest.raises(StoreError):
            store.write(Batch(objects=(an_object(),)))
    store.write(Batch(objects=(an_object(),)))
    again: Any = store._connection.connection.dbapi_connection
    assert again is not connection
    names = ("synchronous", "busy_timeout", "wal_autocheckpoint")
    assert [again.execute(f"PRAGMA {name}").fetchone()[0] for name in names] == [1, 0, 0]
    store.write(Batch(objects=(an_object("db"),)))
    assert store.write_at_once(Batch(objects=(an_object("last"),)))
    assert len(store.load()[0]) == 3


def test_its_log_is_what_is_synced(store: Store, path: Path) -> None:
    store.write_at_once(Batch(objects=(an_object(),)))
    log = store.open_log()
    assert log is not None
    assert os.path.sameopenfile(log, os.open(f"{path}-wal", os.O_RDONLY))
    os.close(log)


def test_another_call_is_not_waited_for(store: Store) -> None:
    with store._lock:
        assert not store.write_at_once(Batch(objects=(an_object(),)))
    assert store.load() == ({}, {})


def test_another_process_is_not_waited_for(store: Store, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    assert not store.write_at_once(Batch(objects=(an_object(),)))
    assert time.monotonic() - began < module.BUSY_TIMEOUT_SECONDS / 2
    writing = threading.Thread(target=store.write, args=(Batch(objects=(an_object(),)),))
    writing.start()  # which waits
    other.execute("COMMIT")
    writing.join()
    assert set(store.load()[0]) == {an_object().key}
    other.close()


@pytest.mark.parametrize("batch", [
    Batch(objects=tuple(an_object(f"web{number}") for number in range(33))),
    Batch(statuses=(a_status(restarts=None),)),
], ids=["much", "wrong"])  # fmt: skip
def test_what_takes_long_or_fails_is_left_to_who_may_wait(store: Store, batch: Batch) -> None:
    assert not store.write_at_once(batch)
    assert store.load() == ({}, {})


def test_what_would_trim_the_history_is_left_to_who_may_wait(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_caps, "TRIM_EVERY", 3)
    said = said_by(store)
    assert [store.write_at_once(Batch(events=(an_event(),))) for _ in range(3)] == [True, True, False]
    assert not any("count" in text for text in said)


def test_another_database_is_written_by_who_may_wait(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store._engine.dialect, "name", "postgresql")
    assert not store.write_at_once(Batch(objects=(an_object(),)))


def test_what_has_no_file_has_no_log() -> None:
    memory = Store("sqlite://")
    assert memory.write_at_once(Batch(objects=(an_object(),)))
    assert memory.open_log() is None
    memory.sync()
    memory.close()


def written_as(store: Store, batch: Batch) -> str:
    if store.write_at_once(batch):
        return "."
    store.write(batch)
    return "W"


def a_wish(number: int) -> Batch:
    return Batch(objects=(an_object(f"web{number % 7}", generation=number + 1),))


def some_history(_number: int) -> Batch:
    return Batch(events=(an_event(),))


@pytest.mark.parametrize(("make", "most"), [(a_wish, 64), (some_history, 32)])
def test_after_so_many_it_is_the_turn_of_who_may_wait(store: Store, make: Any, most: int) -> None:
    """Twice, and for history sooner than for a wish, since nobody waits for that."""
    order = "".join(written_as(store, make(number)) for number in range(2 * most + 4))
    assert order == ("." * most + "WW") * 2


def test_who_may_wait_ends_and_begins_the_log(store: Store, path: Path) -> None:
    """It stays in its room, and is begun anew by no commit that waits for nothing: SQLite syncs its head."""
    begun: list[str] = []
    head = b""
    for number in range(1500):
        by = written_as(store, a_wish(number) if number % 3 else some_history(number))
        with Path(f"{path}-wal").open("rb") as log:
            now = log.read(32)
        if now != head and head:
            begun.append(by)
        head = now
    assert len(begun) >= 3
    assert set(begun) == {"W"}
    assert Path(f"{path}-wal").stat().st_size <= 4 << 20
