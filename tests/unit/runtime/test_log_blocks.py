"""A log read in blocks: from its end, over rotations, and no further than it is to be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime import log_blocks
from runtime.log_blocks import LogBlocks, small_log

STAMP = b"2026-07-24T10:00:00.123456789Z"


def _records(*texts: bytes, kind: bytes = b"stdout F") -> bytes:
    return b"".join(b"%b %b %b\n" % (STAMP, kind, text) for text in texts)


def _numbers(first: int, last: int) -> bytes:
    return _records(*(b"%d" % number for number in range(first, last + 1)))


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_blocks, "BLOCK_BYTES", 128)


def _all(log: LogBlocks) -> bytes:
    return b"".join(iter(log.read, b""))


def test_all_files_oldest_first(tmp_path: Path) -> None:
    (tmp_path / "log.2").write_bytes(_numbers(1, 9))
    (tmp_path / "log.1").write_bytes(_numbers(10, 19))
    (tmp_path / "log").write_bytes(_numbers(20, 29) + STAMP + b" stdout F unfin")
    log = LogBlocks(tmp_path)
    assert _all(log) == _numbers(1, 29)
    log.close()
    log.close()
    assert _all(LogBlocks(tmp_path / "nowhere")) == b""


@pytest.mark.parametrize("lines", range(25))
def test_the_last_lines(tmp_path: Path, lines: int) -> None:
    (tmp_path / "log.1").write_bytes(_numbers(1, 10))
    (tmp_path / "log").write_bytes(_numbers(11, 20))
    log = LogBlocks(tmp_path, lines)
    assert _all(log) == _numbers(max(1, 21 - lines), 20)
    log.close()


def test_pieces_of_a_line_are_one_line(tmp_path: Path) -> None:
    pieces = _records(b"a" * 50, b"b" * 50, kind=b"stdout P") + _records(b"end")
    (tmp_path / "log").write_bytes(_numbers(1, 3) + pieces + _records(b"last"))
    log = LogBlocks(tmp_path, 2)
    assert _all(log) == pieces + _records(b"last")
    log.close()


def test_a_rotation_repeats_and_skips_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(_numbers(1, 5))
    log = LogBlocks(tmp_path, is_followed=True)
    found = _all(log)
    for round in range(1, 6):
        with path.open("ab") as file:
            file.write(_numbers(round * 10, round * 10 + 1))  # before the rename, and not yet read
        os.rename(path, tmp_path / "log.1")
        path.write_bytes(_numbers(round * 10 + 2, round * 10 + 3))
        assert log.has_more
        while (block := log.read()) or log.advance():
            found += block
        assert not log.has_more
    assert found == _numbers(1, 5) + b"".join(_numbers(r * 10, r * 10 + 3) for r in range(1, 6))
    assert len(os.listdir(f"/proc/{os.getpid()}/fd")) < 100
    log.close()


def test_what_is_not_followed_ends_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(_numbers(1, 20))
    log = LogBlocks(tmp_path)
    found = log.read()
    with path.open("ab") as file:
        file.write(_numbers(21, 200))
    found += _all(log)
    assert found.startswith(_numbers(1, 20))
    assert len(found) < len(_numbers(1, 20)) + 256
    assert not log.advance()
    log.close()


# --- what is answered without a wait --------------------------------------------------------------


@pytest.mark.parametrize("is_rotated", [False, True])
@pytest.mark.parametrize("tail", [None, *range(25)])
@pytest.mark.parametrize("most_bytes", [60, 200, 1 << 14])
def test_what_is_found_without_a_wait_is_what_a_reader_finds(
    tmp_path: Path, tail: int | None, most_bytes: int, is_rotated: bool
) -> None:
    (tmp_path / "log").write_bytes(
        _numbers(1, 5)
        + _records(b"half", kind=b"stdout P")
        + _records(b"end")
        + _numbers(8, 20)
        + STAMP
        + b" stdout F unfin"
    )
    if is_rotated:
        (tmp_path / "log.1").write_bytes(_numbers(100, 110))
    log = LogBlocks(tmp_path, tail)
    expected = _all(log)
    log.close()
    found = small_log(tmp_path, tail, most_bytes)
    assert found in (None, expected)
    is_near = tail is not None and tail < 19 and most_bytes > 2000
    if is_near or (not is_rotated and most_bytes > 2000):
        assert found == expected


def test_pieces_of_a_line_stay_together_without_a_wait(tmp_path: Path) -> None:
    pieces = _records(b"a" * 50, b"b" * 50, kind=b"stdout P") + _records(b"end")
    (tmp_path / "log").write_bytes(_numbers(1, 3) + pieces + _records(b"last"))
    assert small_log(tmp_path, 2, 1 << 14) == pieces + _records(b"last")
    assert small_log(tmp_path, 2, 200) is None  # it begins before that


def test_what_lies_elsewhere_is_for_a_reader(tmp_path: Path) -> None:
    assert small_log(tmp_path, 5, 1 << 14) is None
    (tmp_path / "other").write_bytes(_numbers(1, 9))
    (tmp_path / "log").symlink_to("other")
    assert small_log(tmp_path, 5, 1 << 14) is None


def test_what_is_not_in_memory_is_for_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "log").write_bytes(_numbers(1, 9))

    def waits(*_arguments: object) -> int:
        raise BlockingIOError

    assert small_log(tmp_path, 5, 1 << 14) == _numbers(5, 9)
    monkeypatch.setattr(os, "preadv", waits)
    assert small_log(tmp_path, 5, 1 << 14) is None
    monkeypatch.setattr(os, "preadv", lambda *_arguments: 10)
    assert small_log(tmp_path, 5, 1 << 14) is None
