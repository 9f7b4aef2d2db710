"""What is remembered of images is written, read, forgotten, and survives a row that nobody can read."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from store.image_memory import GoodImageRecord, ImageMemory, ImageRecord, LeaseRecord, TagRecord
from store.records import Batch
from store.store import Store

from .conftest import key

LEASE = LeaseRecord("a1", "docker.io/library/nginx:1.27", "a client", 10.0, 20.0)
GOOD = GoodImageRecord(key(), "sha256:" + "a" * 64, "nginx:1.27", "c0ffee", 12.0)
IMAGE = ImageRecord("sha256:" + "a" * 64, 1.0, 2.0, None, "")
TAG = TagRecord("docker.io/library/nginx:1.27", "sha256:" + "b" * 64, 5.0)
ALL = ImageMemory((LEASE,), (GOOD,), (IMAGE,), (TAG,))


def test_what_is_written_is_read_by_the_next(path: Path) -> None:
    store = Store(path)
    store.write(Batch(images=ALL))
    store.close()
    store = Store(path)
    assert store.images() == ALL
    store.close()


def test_another_value_takes_the_place_of_the_first(path: Path) -> None:
    store = Store(path)
    store.write(Batch(images=ALL))
    later = ImageRecord(IMAGE.id, 1.0, 99.0, 50.0, "a layer is damaged")
    removed = GoodImageRecord(key(), GOOD.image, "nginx:1.27", "c0ffee", 12.0, 77.0)
    store.write(Batch(images=ImageMemory(images=(later,), good=(removed,))))
    assert store.images() == ImageMemory((LEASE,), (removed,), (later,), (TAG,))
    store.close()


def test_what_is_forgotten_is_gone_and_nothing_else(path: Path) -> None:
    store = Store(path)
    other = LeaseRecord("b2", LEASE.subject, "another", 10.0, 20.0)
    store.write(Batch(images=ImageMemory((LEASE, other), (GOOD,), (IMAGE,), (TAG,))))
    store.write(Batch(images_forgotten=ImageMemory((LEASE,), (GOOD,), (), (TAG,))))
    assert store.images() == ImageMemory((other,), (), (IMAGE,), ())
    store.close()


def test_a_row_that_nobody_can_read_is_left_out(path: Path) -> None:
    store = Store(path)
    store.write(Batch(images=ALL))
    store.close()
    with sqlite3.connect(path) as raw:
        raw.execute("INSERT INTO leases VALUES ('bad', 'x', 'y', 'no time', 3)")
    raw.close()
    store = Store(path)
    assert store.images() == ALL
    assert any("cannot be read" in note for note in store.notes)
    store.close()
