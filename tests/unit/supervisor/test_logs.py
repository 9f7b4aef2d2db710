"""Reading logs: tails, spans of time, following over rotations."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from runtime.logs import LogQuery, LogRecord, follow_logs, parse, read_logs, to_stamp
from runtime.supervisor.log_file import LogFile, format_lines, format_piece


def _stamp(second: int) -> bytes:
    return to_stamp(second).encode()


def _fill(directory: Path, count: int, max_bytes: int = 10_000, max_files: int = 100) -> LogFile:
    log = LogFile(str(directory), max_bytes, max_files)
    for number in range(count):
        _append(log, number)
    return log


def _append(log: LogFile, number: int) -> None:
    stream = b"stderr" if number % 2 else b"stdout"
    record = format_lines(b"line %d\n" % number, stream, _stamp(number))
    log.make_room(len(record))
    log.append(record)


def _numbers(records: list[LogRecord]) -> list[int]:
    return [int(record.text.split()[1]) for record in records]


@pytest.mark.parametrize("count", [0, 1, 5, 1000])
@pytest.mark.parametrize("tail", [0, 1, 7, 400, 5000])
def test_tail_is_the_end_of_all(tmp_path: Path, count: int, tail: int) -> None:
    _fill(tmp_path, count).close()
    whole = list(read_logs(tmp_path, LogQuery()))
    assert _numbers(whole) == list(range(count))
    assert list(read_logs(tmp_path, LogQuery(tail=tail))) == (whole[-tail:] if tail else [])


def test_a_tail_counts_only_what_the_query_accepts(tmp_path: Path) -> None:
    _fill(tmp_path, 100).close()
    query = LogQuery(tail=3, streams=frozenset(("stderr",)), until=90)
    assert _numbers(list(read_logs(tmp_path, query))) == [85, 87, 89]


def test_a_span_of_time_includes_its_ends(tmp_path: Path) -> None:
    _fill(tmp_path, 100).close()
    assert _numbers(list(read_logs(tmp_path, LogQuery(since=10, until=12)))) == [10, 11, 12]


def test_damaged_lines_are_passed_over(tmp_path: Path) -> None:
    log = _fill(tmp_path, 2)
    log.append(b"\0\0\0\n" + b"no such record\n" + b"x stdout Q y\n")
    _append(log, 2)
    log.append(b"2026-01-01T00:00:00.000000000Z stdout F half")
    log.close()
    for query in (LogQuery(), LogQuery(tail=10)):
        assert _numbers(list(read_logs(tmp_path, query))) == [0, 1, 2]


def test_parse_keeps_bytes_and_spaces() -> None:
    line = format_piece(b" \xff two  spaces ", b"stderr", _stamp(1), is_last=False)[:-1]
    assert parse(line) == LogRecord("1970-01-01T00:00:01.000000000Z", "stderr", b" \xff two  spaces ", True)


def test_a_log_that_is_not_there(tmp_path: Path) -> None:
    assert list(read_logs(tmp_path / "none", LogQuery(tail=5))) == []


async def test_follow_sees_every_record_over_rotations(tmp_path: Path) -> None:
    log = _fill(tmp_path, 50, max_bytes=4096)
    is_running = True
    got: list[LogRecord] = []

    async def follow() -> None:
        async for batch in follow_logs(tmp_path, LogQuery(), lambda: is_running):
            assert batch
            got.extend(batch)

    following = asyncio.create_task(follow())
    for number in range(50, 3000):
        _append(log, number)
        if number % 97 == 0:
            await asyncio.sleep(0)
        if number % 1000 == 0:
            async with asyncio.timeout(10):
                while not got or _numbers(got[-1:])[0] < number:
                    await asyncio.sleep(0.01)
    is_running = False
    async with asyncio.timeout(10):
        await following
    assert _numbers(got) == list(range(3000))
    log.close()


async def test_follow_from_the_tail_and_until_a_time(tmp_path: Path) -> None:
    log = _fill(tmp_path, 100)
    got = [r async for batch in follow_logs(tmp_path, LogQuery(tail=2), lambda: False) for r in batch]
    assert _numbers(got) == [98, 99]
    async with asyncio.timeout(5):
        query = LogQuery(until=time.time() - 1)
        got = [r async for batch in follow_logs(tmp_path, query, lambda: True) for r in batch]
    assert len(got) == 100
    log.close()
