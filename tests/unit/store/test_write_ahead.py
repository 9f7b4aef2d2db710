"""The write-ahead log has its room before it is written to, and reads as if it had not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from store import write_ahead
from store.records import Batch
from store.store import Store
from tests.unit.store.conftest import a_status, an_event, an_object, key


def log_of(path: Path) -> Path:
    return Path(f"{path}-wal")


def blocks(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_it_is_as_large_as_it_gets_and_does_not_grow(store: Store, path: Path) -> None:
    for number in range(60):
        store.write(Batch(events=tuple(an_event(float(number)) for _ in range(20))))
        assert log_of(path).stat().st_size == write_ahead.WAL_BYTES
    assert blocks(log_of(path)) >= write_ahead.WAL_BYTES


def test_a_kill_at_any_frame_loses_nothing_that_was_committed(
    store: Store, path: Path, tmp_path: Path
) -> None:
    """The files as they are at that moment, taken up by the next agent."""
    for number in range(5):
        store.write(Batch(objects=(an_object(f"web{number}"),), statuses=(a_status(f"web{number}"),)))
        copy = tmp_path / f"killed{number}" / path.name
        copy.parent.mkdir()
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
        again = Store(copy)
        objects, statuses = again.load()
        assert set(objects) == set(statuses) == {key(f"web{each}") for each in range(number + 1)}
        assert log_of(copy).stat().st_size == write_ahead.WAL_BYTES
        again.close()


def test_what_a_log_holds_is_kept_as_it_is_filled_up(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"frames")
    write_ahead.make_room(log)
    assert log.read_bytes() == b"frames".ljust(write_ahead.WAL_BYTES, b"\0")
    write_ahead.make_room(log)
    assert log.stat().st_size == write_ahead.WAL_BYTES


def test_a_disk_with_little_room_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = os.statvfs(tmp_path)
    monkeypatch.setattr(write_ahead, "SPARE_BYTES", space.f_bavail * space.f_frsize * 2)
    log = tmp_path / "log"
    log.write_bytes(b"")
    write_ahead.make_room(log)
    assert log.stat().st_size == 0


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.symlink_to("elsewhere")])
def test_what_is_no_log_is_left_alone(tmp_path: Path, make: object) -> None:
    log = tmp_path / "log"
    assert callable(make)
    make(log)
    (tmp_path / "elsewhere").write_bytes(b"")
    write_ahead.make_room(log)
    assert (tmp_path / "elsewhere").stat().st_size == 0
