"""The read-only reader: sees what is committed, beside a writer and without one, and changes nothing."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from store import migrate
from store.errors import Damaged
from store.reader import read_events, read_status
from store.records import Batch
from store.store import Store

from .conftest import a_batch, a_revision, a_status, an_event, an_object, key, open_below


def test_it_reads_what_a_closed_store_left(store: Store, path: Path) -> None:
    store.write(Batch(objects=(an_object(),), statuses=(a_status(),), revisions=(a_revision(),)))
    store.close()
    before = sorted(file.name for file in path.parent.iterdir())
    seen = read_status(path)
    assert seen is not None
    assert seen == ({key(): an_object()}, {key(): a_status()}, (a_revision(),))
    assert sorted(file.name for file in path.parent.iterdir()) == before == ["setpoint.db"]


def test_it_reads_beside_a_writer(store: Store, path: Path) -> None:
    store.write(a_batch(1))
    seen = read_status(path)
    assert seen is not None
    assert {o.revision for o in seen.objects.values()} == {"1"}


def test_what_it_sees_is_always_one_whole_batch(store: Store, path: Path) -> None:
    done = threading.Event()

    def write() -> None:
        for number in range(150):
            store.write(a_batch(number))
        done.set()

    store.write(a_batch(0))
    thread = threading.Thread(target=write)
    thread.start()
    reads = 0
    while not done.is_set():
        seen = read_status(path)
        assert seen is not None
        revisions = {o.revision for o in seen.objects.values()}
        assert len(revisions) == 1
        assert {str(s.restarts) for s in seen.statuses.values()} == revisions
        reads += 1
    thread.join()
    assert reads > 3


def test_nothing_there_is_none(path: Path) -> None:
    assert read_status(path) is None
    assert read_events(path) == ()
    path.parent.mkdir()
    path.touch()
    assert read_status(path) is None


def test_what_is_no_database_is_said(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(Damaged):
        read_status(path)
    assert path.exists()
    assert open_below(path.parent) == []


def test_events_of_one_object_oldest_first(store: Store, path: Path) -> None:
    store.write(Batch(events=tuple(an_event(float(n), f"web{n % 2}") for n in range(6))))
    assert [e.id for e in read_events(path, limit=2)] == [5, 6]
    assert [e.id for e in read_events(path, key("web1"))] == [2, 4, 6]
    assert read_events(path, key("web1"))[0] == store.events(key("web1"))[0]


def test_it_imports_nothing_heavy() -> None:
    code = (
        "import sys; import store.reader; print([m for m in ('sqlalchemy', 'asyncio') if m in sys.modules])"
    )
    root = Path(__file__).parents[3]
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert run.stdout == "[]\n", run.stderr


def test_a_database_of_an_older_schema_is_read_too(path: Path) -> None:
    """By a newer command line, before the newer agent led it to its own."""
    path.parent.mkdir()
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        migrate.upgrade(connection, "0002")
        connection.execute(
            sa.text("INSERT INTO events VALUES (1, 1, 'shop', 'container', 'web', '', 'Made', '', '', '[]')")
        )
        connection.commit()
    engine.dispose()
    [event] = read_events(path)
    assert (event.reason, event.happenings) == ("Made", ())
