"""What is written is what is read, whole batches only, and the caps hold."""

from __future__ import annotations

import ctypes
import stat
import threading
import types
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from store.errors import StoreError, Unavailable
from store.records import Batch, Happening, Key
from store.store import Store

from .conftest import a_batch, a_revision, a_status, an_event, an_object, key


def test_what_is_written_is_loaded_by_the_next_store(store: Store, path: Path) -> None:
    store.write(Batch(objects=(an_object(),), statuses=(a_status(),)))
    store.close()
    again = Store(path)
    assert again.load() == ({key(): an_object()}, {key(): a_status()})
    assert again.notes == ()
    again.close()


def test_writing_a_key_again_replaces_it(store: Store) -> None:
    store.write(Batch(objects=(an_object(),), statuses=(a_status(),)))
    store.write(Batch(objects=(an_object(generation=9, deleting=True),)))
    objects, statuses = store.load()
    assert objects[key()].generation == 9
    assert objects[key()].deleting is True
    assert statuses[key()] == a_status()


def test_a_removed_key_is_forgotten_but_its_events_stay(store: Store) -> None:
    store.write(Batch(objects=(an_object(),), statuses=(a_status(),), events=(an_event(),)))
    store.write(Batch(removed=(key(), key("never-there"))))
    assert store.load() == ({}, {})
    assert [event.reason for event in store.events(key=key())] == ["Created"]


def test_a_key_removed_and_written_in_one_batch_is_there(store: Store) -> None:
    store.write(Batch(objects=(an_object(),), statuses=(a_status(),)))
    store.write(Batch(removed=(key(),), objects=(an_object(generation=1),)))
    objects, statuses = store.load()
    assert objects[key()].generation == 1
    assert statuses == {}


def test_a_batch_that_fails_leaves_nothing_behind(store: Store) -> None:
    bad = a_status("other", phase=None)
    with pytest.raises(StoreError):
        store.write(Batch(objects=(an_object(),), statuses=(bad,), events=(an_event(),)))
    assert store.load() == ({}, {})
    assert store.events() == ()
    assert store.last_event_id == 0
    store.write(Batch(events=(an_event(),)))
    assert [event.id for event in store.events()] == [1]


def test_an_empty_batch_writes_nothing(store: Store, path: Path) -> None:
    before = Path(f"{path}-wal").read_bytes()
    store.write(Batch())
    assert Path(f"{path}-wal").read_bytes() == before


def test_mappings_and_sets_are_written_as_json(store: Store) -> None:
    spec = types.MappingProxyType({"image": "x", "profiles": frozenset({"b", "a"})})
    store.write(Batch(objects=(an_object(spec=spec),)))
    assert store.load()[0][key()].spec == {"image": "x", "profiles": ["a", "b"]}


def test_a_file_name_that_is_not_utf8_is_written_as_escapes(store: Store) -> None:
    store.write(Batch(objects=(an_object(file="shop/\udcff.yaml"),), events=(an_event(message="\udc80"),)))
    assert store.load()[0][key()].file == "shop/\\udcff.yaml"
    assert store.events()[0].message == "\\udc80"


def test_events_come_in_order_and_filtered(store: Store) -> None:
    store.write(Batch(events=tuple(an_event(float(n), f"web{n % 2}") for n in range(10))))
    store.write(Batch(events=(an_event(10.0, key=Key("other", "network", "net")),)))
    assert [e.id for e in store.events()] == list(range(1, 12))
    assert [e.id for e in store.events(limit=3)] == [9, 10, 11]
    assert [e.id for e in store.events(key=key("web0"))] == [1, 3, 5, 7, 9]
    assert [e.id for e in store.events(project="other")] == [11]
    assert [e.id for e in store.events(since=7.0, until=8.0)] == [8, 9]
    assert [e.id for e in store.events(after_id=4, limit=2)] == [5, 6]
    assert store.events()[0] == an_event(0.0, "web0", id=1)
    assert store.last_event_id == 11


def test_happenings_are_kept_and_found(store: Store) -> None:
    silent = an_event(1.0, "db", happenings=())
    store.write(Batch(events=(silent, an_event(2.0))))
    [found] = store.events(after_id=0, only_happenings=True)
    assert found.happenings == (Happening("container", "create", "a" * 64, {"name": "web"}),)
    assert [event.key.name for event in store.events()] == ["db", "web"]


def test_event_ids_go_on_after_reopening(store: Store, path: Path) -> None:
    store.write(Batch(events=(an_event(), an_event())))
    store.close()
    again = Store(path)
    again.write(Batch(events=(an_event(),)))
    assert [e.id for e in again.events()] == [1, 2, 3]
    again.close()


def test_revisions_newest_first_and_the_last_of_a_source(store: Store) -> None:
    store.write(Batch(revisions=(a_revision("a", 1.0), a_revision("b", 3.0), a_revision("c", 2.0, "git"))))
    assert [r.id for r in store.revisions()] == ["b", "c", "a"]
    assert [r.id for r in store.revisions(limit=1)] == ["b"]
    last = store.last_revision("git")
    assert last is not None
    assert last.id == "c"
    assert store.last_revision("none") is None


def test_the_file_and_its_companions_are_for_root_alone(store: Store, path: Path) -> None:
    store.write(Batch(events=(an_event(),)))
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {"setpoint.db": 0o600, "setpoint.db-wal": 0o600, "setpoint.db-shm": 0o600}


def test_commits_are_durable_and_readers_do_not_block(store: Store) -> None:
    seen: list[dict[str, object]] = []

    def on_commit(connection: sa.Connection) -> None:
        names = ("synchronous", "journal_mode", "foreign_keys", "busy_timeout")
        raw: Any = connection.connection.dbapi_connection
        seen.append({name: raw.execute(f"PRAGMA {name}").fetchone()[0] for name in names})

    sa.event.listen(store._engine, "commit", on_commit)
    store.write(Batch(events=(an_event(),)))
    full = 2
    assert seen == [{"synchronous": full, "journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 5000}]


def test_history_is_not_waited_for_where_nobody_asks_that(store: Store, path: Path) -> None:
    said: list[str] = []
    connection: Any = store._connection.connection.dbapi_connection
    connection.set_trace_callback(said.append)
    store.write(Batch(events=(an_event(),)), is_synced=False)
    with pytest.raises(StoreError):
        store.write(Batch(events=(an_event(type=None),)), is_synced=False)
    connection.set_trace_callback(None)
    pragmas = [text.partition("= ")[2] for text in said if "synchronous" in text]
    assert pragmas == ["NORMAL"] * 2  # as it is left by each write
    again = Store(path)
    assert [event.id for event in again.events()] == [1]
    again.close()
    store.sync()
    (path.parent / f"{path.name}-wal").unlink()
    store.sync()  # it is in the database then


def test_a_symlink_in_the_files_place_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="symbolic links"):
        Store(path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_is_said_and_nothing_is_half_written(store: Store) -> None:
    store.write(a_batch(1))
    with store._connection.begin():
        pages = store._connection.exec_driver_sql("PRAGMA page_count").scalar()
        store._connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    big = an_object("big", spec={"image": "x" * 100_000})
    with pytest.raises(Unavailable, match="no space left on device"):
        store.write(Batch(statuses=(a_status(restarts=99),), objects=(big,)))
    objects, statuses = store.load()
    assert key("big") not in objects
    assert {s.restarts for s in statuses.values()} == {1}


def test_threads_may_share_it(store: Store) -> None:
    def write(number: int) -> None:
        for _ in range(20):
            store.write(Batch(events=(an_event(float(number)),)))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [e.id for e in store.events(limit=100)] == list(range(1, 81))


def test_listeners_hear_of_committed_events_only(store: Store) -> None:
    heard: list[list[int]] = []
    unsubscribe = store.subscribe(lambda events: heard.append([event.id for event in events]))
    store.write(Batch(events=(an_event(), an_event())))
    store.write(Batch(statuses=(a_status(),)))
    with pytest.raises(StoreError):
        store.write(Batch(events=(an_event(type=None),)))
    store.write(Batch(events=(an_event(),)))
    unsubscribe()
    store.write(Batch(events=(an_event(),)))
    assert heard == [[1, 2], [3]]


def test_every_record_of_the_tables_has_a_column() -> None:
    """A field added to a record and forgotten in the tables would be lost silently."""
    import dataclasses

    from store import records, tables

    pairs = {
        records.ObjectRecord: tables.objects,
        records.StatusRecord: tables.statuses,
        records.EventRecord: tables.events,
        records.RevisionRecord: tables.revisions,
    }
    for record, table in pairs.items():
        fields = {field.name for field in dataclasses.fields(record)} - {"key"}
        assert fields <= {column.name for column in table.columns} | {"key"}


def test_upsert_has_the_same_form_for_postgresql() -> None:
    from store import tables
    from store.store import upsert

    statement = upsert(tables.revisions, "postgresql")
    text = str(statement.compile(dialect=sa.dialects.postgresql.dialect()))  # type: ignore[no-untyped-call]
    assert "ON CONFLICT (id, source) DO UPDATE SET seen_at = excluded.seen_at" in text


def test_the_pages_that_it_keeps_are_given_back(store: Store) -> None:
    used = _sqlite_memory()
    for number in range(20):
        store.write(Batch(events=tuple(an_event(float(number), message="m" * 500) for _ in range(100))))
    assert len(store.events(limit=5000)) == 2000
    full = used()
    assert full > 1_000_000
    store.free_cache()
    assert used() < full / 2
    assert len(store.events(limit=5000)) == 2000
    store.close()
    store.free_cache()  # of one that is closed is nobody's failure


def _sqlite_memory() -> Any:
    """sqlite3_memory_used(), of the library that Python's module has loaded."""
    import _sqlite3  # a built-in one has no file of its own

    library = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
    if not hasattr(library, "sqlite3_memory_used"):
        pytest.skip("the library is not to be found")
    library.sqlite3_memory_used.restype = ctypes.c_int64
    return library.sqlite3_memory_used
