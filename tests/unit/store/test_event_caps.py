"""The caps of the history hold, and what passes pushes out nothing of what lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from store.errors import StoreError
from store.event_caps import EventCaps
from store.records import Batch, EventRecord
from store.store import Store

from .conftest import a_status, an_event

EXEC = "ContainerExecStart"


@contextmanager
def opened(path: Path, *caps: Any, **named: Any) -> Iterator[Store]:
    store = Store(path, caps=EventCaps(*caps, **named))
    yield store
    store.close()


def of(store: Store, reason: str = "") -> list[int]:
    return [event.id for event in store.events(limit=100_000) if reason in ("", event.reason)]


def written(store: Store, count: int, reason: str = "Created", at: float = 1.0) -> None:
    events: tuple[EventRecord, ...] = tuple(an_event(at, reason=reason) for _ in range(count))
    store.write(Batch(events=events))


def test_events_are_trimmed_by_count(path: Path) -> None:
    with opened(path, 1500) as store:
        for _ in range(8):
            written(store, 500)
        kept = of(store)
    assert kept == list(range(2501, 4001))


def test_events_are_trimmed_by_age_but_the_newest_thousand_stay(path: Path) -> None:
    with opened(path, keep_seconds=100.0) as store:
        written(store, 900, at=0.0)
        mad = an_event(1e12)  # of a clock gone mad
        store.write(Batch(events=(*(an_event(0.0) for _ in range(600)), mad)))
        assert of(store) == list(range(502, 1502))


def test_a_flood_of_what_passes_leaves_all_that_lasts(path: Path) -> None:
    with opened(path, 50, keep_passing=2000) as store:
        written(store, 40)
        for _ in range(20):
            written(store, 500, EXEC)
        assert of(store, "Created") == list(range(1, 41))
        assert of(store, EXEC) == list(range(8041, 10041))
        written(store, 1000)
        assert len(of(store, "Created")) == 50
        assert len(of(store, EXEC)) == 2000


def test_age_keeps_the_newest_of_both(path: Path) -> None:
    with opened(path, keep_seconds=100.0) as store:
        written(store, 900, at=0.0)
        passing = tuple(an_event(0.0, reason=EXEC) for _ in range(1200))
        store.write(Batch(events=(*passing, an_event(1e12))))
        assert len(of(store, "Created")) == 901
        assert len(of(store, EXEC)) == 1000


def test_another_start_counts_what_is_there(path: Path) -> None:
    with opened(path, 700, keep_passing=300) as store:
        written(store, 900, at=1.0)
        written(store, 90, EXEC)
    with opened(path, 700, keep_passing=300) as store:
        written(store, 1000, EXEC)
        assert of(store, "Created") == list(range(201, 901))
        assert of(store, EXEC) == list(range(1691, 1991))


def test_a_write_that_was_taken_back_is_counted_for_nothing(path: Path) -> None:
    with opened(path, 1000) as store:
        written(store, 1000)
        for _ in range(3):
            bad = Batch(events=tuple(an_event() for _ in range(1000)), statuses=(a_status(phase=None),))
            with pytest.raises(StoreError):
                store.write(bad)
        written(store, 1100)
        assert of(store) == list(range(1101, 2101))


def test_a_look_costs_the_same_however_much_there_is(tmp_path: Path) -> None:
    """What lasts stands before what passes: a look that began at the first row would read all of it."""
    few, many = (steps_of_a_write(tmp_path / str(lasting), lasting) for lasting in (100, 20_000))
    assert many < few * 1.2, (few, many)


def steps_of_a_write(directory: Path, lasting: int) -> int:
    """Hundreds of SQLite's steps that a thousand more of what passes take, when its cap is reached."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    with opened(directory / "setpoint.db", 50_000, keep_passing=1000) as store:
        written(store, lasting)
        for _ in range(3):
            written(store, 1000, EXEC)
        raw: Any = store._connection.connection.dbapi_connection
        raw.set_progress_handler(count, 100)
        written(store, 1000, EXEC)
        raw.set_progress_handler(None, 0)
        assert len(of(store, EXEC)) == 1000
    return steps
