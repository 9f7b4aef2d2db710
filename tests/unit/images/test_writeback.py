"""What is staged reaches the disk while more comes, and a failed write is told however early it failed."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from runtime.images import writeback
from runtime.images.writeback import EVERY_BYTES, Writeback

PATIENCE_SECONDS = 30


def test_it_begins_with_the_first_large_amount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = threading.Semaphore(0)
    monkeypatch.setattr(writeback, "syncfs", lambda descriptor: synced.release())
    before = threading.active_count()
    under_way = Writeback(tmp_path)
    under_way.add(EVERY_BYTES - 1)
    assert threading.active_count() == before
    for _ in range(2):
        under_way.add(EVERY_BYTES)
        assert synced.acquire(timeout=PATIENCE_SECONDS)
    under_way.finish()
    assert synced.acquire(timeout=PATIENCE_SECONDS), "the last one is the caller's own"
    assert threading.active_count() == before


def test_what_failed_early_is_told_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel tells of a failed write once: the last sync would know nothing of it."""
    failed = threading.Event()

    def fail_once(descriptor: int) -> None:
        if not failed.is_set():
            failed.set()
            raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(writeback, "syncfs", fail_once)
    under_way = Writeback(tmp_path)
    under_way.add(EVERY_BYTES)
    assert failed.wait(PATIENCE_SECONDS)
    with pytest.raises(OSError, match="input/output error"):
        under_way.finish()
    under_way.finish()
    under_way.add(EVERY_BYTES)
    under_way.finish()
