"""A supervisor that is killed between any two system calls loses no byte and writes none twice."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.logs import LogQuery, read_logs
from runtime.supervisor.log_file import LogFile
from runtime.supervisor.output import CHUNK_BYTES, Output

CALLS = ("splice", "pread", "pwrite", "write", "ftruncate", "open", "rename")


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours runs after it."""


class Stream:
    """A FIFO with a writer that lives on, and an Output that may be replaced."""

    def __init__(self, directory: Path, max_bytes: int = 1 << 20, max_files: int = 3) -> None:
        self.directory = directory
        self.bounds = (max_bytes, max_files)
        os.mkfifo(directory / "stdout")
        self.writer = os.open(directory / "stdout", os.O_RDWR | os.O_NONBLOCK)
        self.output = self.open()

    def open(self) -> Output:
        fd = os.open(self.directory / "stdout", os.O_RDONLY | os.O_NONBLOCK)
        log = LogFile(str(self.directory / "log"), *self.bounds)
        return Output(fd, b"stdout", str(self.directory / "stdout.spool"), log)

    def pump(self) -> None:
        while self.output.pump():
            pass

    def text(self) -> bytes:
        """What the log holds, as it was written."""
        records = read_logs(self.directory / "log", LogQuery())
        return b"".join(record.text + (b"" if record.is_partial else b"\n") for record in records)


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[Stream]:
    stream = Stream(tmp_path)
    yield stream
    os.close(stream.writer)


def test_lines_get_stamp_and_stream(stream: Stream) -> None:
    os.write(stream.writer, b"one\n\ntwo\n")
    stream.pump()
    records = list(read_logs(stream.directory / "log", LogQuery()))
    assert [(record.stream, record.text, record.is_partial) for record in records] == [
        ("stdout", b"one", False), ("stdout", b"", False), ("stdout", b"two", False),
    ]  # fmt: skip
    assert all(len(record.stamp) == 30 and record.stamp.endswith("Z") for record in records)


def test_a_line_without_its_end_waits_and_is_written_at_the_end(stream: Stream) -> None:
    os.write(stream.writer, b"whole\npart")
    stream.pump()
    assert stream.text() == b"whole\n"
    os.write(stream.writer, b" and rest\nlast")
    stream.pump()
    assert stream.text() == b"whole\npart and rest\n"
    stream.output.finish()
    assert stream.text() == b"whole\npart and rest\nlast\n"
    assert not (stream.directory / "stdout.spool").exists()


def test_any_byte_passes(stream: Stream) -> None:
    data = bytes(range(256)) * 40 + b"\n"
    os.write(stream.writer, data)
    stream.pump()
    assert stream.text() == data


def test_a_very_long_line_is_split_and_comes_back_whole(stream: Stream) -> None:
    line = b"x" * 300_000
    written = 0
    while written < len(line):
        written += os.write(stream.writer, line[written : written + 50_000])
        stream.pump()
    os.write(stream.writer, b"\n")
    stream.pump()
    records = list(read_logs(stream.directory / "log", LogQuery()))
    assert max(len(record.text) for record in records) <= CHUNK_BYTES + 16384
    assert stream.text() == line + b"\n"


def test_rotation_keeps_within_its_bounds(tmp_path: Path) -> None:
    stream = Stream(tmp_path, max_bytes=20_000, max_files=3)
    for number in range(3000):
        os.write(stream.writer, b"line %06d\n" % number)
        if number % 50 == 0:
            stream.pump()
    stream.pump()
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "log").iterdir()}
    assert sizes.keys() == {"log", "log.1", "log.2"}
    assert max(sizes.values()) <= 20_000
    lines = stream.text().splitlines()
    assert lines[-1] == b"line 002999"
    assert lines == [b"line %06d" % number for number in range(3000 - len(lines), 3000)]
    os.close(stream.writer)


def test_newlines_alone_do_not_eat_memory_or_bounds(tmp_path: Path) -> None:
    stream = Stream(tmp_path, max_bytes=50_000, max_files=2)
    os.write(stream.writer, b"\n" * 60_000)
    stream.pump()
    assert all(path.stat().st_size <= 50_000 for path in (tmp_path / "log").iterdir())
    os.close(stream.writer)


def test_a_link_in_place_of_the_log_is_not_followed(stream: Stream) -> None:
    (stream.directory / "log").mkdir()
    (stream.directory / "log" / "log").symlink_to(stream.directory / "elsewhere")
    os.write(stream.writer, b"secret\n")
    stream.pump()
    assert not (stream.directory / "elsewhere").exists()
    assert stream.output.dropped_bytes == 7


def test_a_full_disk_drops_output_and_says_so(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    os.write(stream.writer, b"before\n")
    stream.pump()
    real = LogFile.append

    def full(log: LogFile, records: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LogFile, "append", full)
    os.write(stream.writer, b"lost\n")
    stream.pump()
    monkeypatch.setattr(LogFile, "append", real)
    os.write(stream.writer, b"after\n")
    stream.pump()
    assert stream.text() == b"before\n[setpoint: 5 bytes of output lost: the disk was full]\nafter\n"


def _kill_at(step: int, monkeypatch: pytest.MonkeyPatch, *, after: bool) -> Callable[[], int]:
    """The step-th system call raises Killed, before or after it is done. Returns a counter."""
    count = 0

    def wrap(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            nonlocal count
            count += 1
            if count == step and not after:
                raise Killed
            result = real(*arguments, **options)
            if count == step and after:
                raise Killed
            return result

        return call

    for name in CALLS:
        monkeypatch.setattr(os, name, wrap(getattr(os, name)))
    return lambda: count


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([b"one\n", b"two\nthr", b"ee\nfour\n"], id="lines"),
        pytest.param([b"a" * 17_000, b"b" * 9_000 + b"\nc", b"\n"], id="long line"),
        pytest.param([b"line %d\n" % number * 90 for number in range(3)], id="rotation"),
    ],
)
def test_a_kill_between_any_two_calls_loses_and_repeats_nothing(
    tmp_path: Path, pieces: list[bytes], after: bool
) -> None:
    step = 0
    while True:
        step += 1
        directory = tmp_path / str(step)
        directory.mkdir()
        stream = Stream(directory, max_bytes=6000, max_files=60)
        expected = b"".join(pieces)
        was_killed = False
        with pytest.MonkeyPatch.context() as monkeypatch:
            count = _kill_at(step, monkeypatch, after=after)
            for number, piece in enumerate(pieces):
                _write_plainly(stream.writer, piece)
                try:
                    stream.pump()
                except Killed:
                    was_killed = True
                    rest = pieces[number + 1 :]
                    break
        if not was_killed:
            _close_all_in(directory)
            if count() < step:
                break
            continue
        stream.output = stream.open()
        stream.output.recover()
        stream.pump()
        for piece in rest:
            _write_plainly(stream.writer, piece)
            stream.pump()
        assert stream.text() == expected, f"killed at call {step}"
        _close_all_in(directory)
    assert step > 20


def _close_all_in(directory: Path) -> None:
    """What the killed ones had open too."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}").startswith(f"{directory}/"):
                os.close(int(name))


def _write_plainly(fd: int, data: bytes) -> None:
    """Not counted as a call of the supervisor."""
    import posix

    assert posix.writev(fd, [data]) == len(data)
