"""fdatasync(2) by the kernel: its end is told, its error, too, and what the kernel lacks is the caller's."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runtime import kernel_syncs, syscalls
from runtime.kernel_syncs import KernelSyncs


@pytest.fixture
async def syncs() -> AsyncIterator[KernelSyncs]:
    made = KernelSyncs()
    yield made
    made.close()


def contexts() -> int:
    """Each is a mapping in its process."""
    return Path("/proc/self/maps").read_text().count("/[aio]")


async def ended(told: list[OSError | None], count: int) -> None:
    async with asyncio.timeout(20):
        while len(told) < count:
            await asyncio.sleep(0.001)


async def test_the_end_of_each_is_told_once_and_nothing_is_left(tmp_path: Path) -> None:
    before, open_before, told = contexts(), len(os.listdir("/proc/self/fd")), list[OSError | None]()
    syncs = KernelSyncs()
    with (tmp_path / "file").open("wb", buffering=0) as file:
        for number in range(30):
            file.write(b"x" * 5000)
            assert syncs.begin(file.fileno(), told.append)
            if number % 3 == 2:
                await ended(told, number + 1)
    assert told == [None] * 30
    syncs.close()
    assert (contexts(), len(os.listdir("/proc/self/fd"))) == (before, open_before)


async def test_a_descriptor_may_be_closed_at_once_and_the_end_looked_for(
    syncs: KernelSyncs, tmp_path: Path
) -> None:
    told: list[OSError | None] = []
    (tmp_path / "file").write_bytes(b"x")
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    assert syncs.begin(descriptor, told.append)
    os.close(descriptor)
    while not told:  # without a turn of the event loop
        syncs.look()
    assert told == [None]


async def test_an_error_is_told(syncs: KernelSyncs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[OSError | None] = []
    events = syscalls.io_getevents
    monkeypatch.setattr(
        syscalls, "io_getevents", lambda *some: [(number, -errno.EIO) for number, _ in events(*some)]
    )
    with (tmp_path / "file").open("wb") as file:
        assert syncs.begin(file.fileno(), told.append)
        await ended(told, 1)
    assert isinstance(told[0], OSError) and told[0].errno == errno.EIO


async def test_what_the_kernel_refuses_is_the_callers(syncs: KernelSyncs, tmp_path: Path) -> None:
    told: list[OSError | None] = []
    reading, writing = os.pipe()  # of which nothing is on a disk
    assert not syncs.begin(writing, told.append)
    os.close(reading)
    os.close(writing)
    with (tmp_path / "file").open("wb") as file:
        assert syncs.begin(file.fileno(), told.append)
    await ended(told, 1)


async def test_no_more_are_begun_than_there_is_room_for(
    syncs: KernelSyncs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[OSError | None] = []
    monkeypatch.setattr(kernel_syncs, "AT_ONCE", 2)
    with (tmp_path / "file").open("wb") as file:
        assert [syncs.begin(file.fileno(), told.append) for _ in range(3)] == [True, True, False]
        await ended(told, 2)
        assert syncs.begin(file.fileno(), told.append)
        await ended(told, 3)


async def test_a_kernel_without_it_is_asked_once(
    syncs: KernelSyncs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def missing(count: int) -> int:
        asked.append(count)
        raise OSError(errno.ENOSYS, "no such call")

    monkeypatch.setattr(syscalls, "io_setup", missing)
    with (tmp_path / "file").open("wb") as file:
        assert [syncs.begin(file.fileno(), lambda _error: None) for _ in range(2)] == [False, False]
    assert len(asked) == 1


async def test_who_closes_hears_of_no_more(tmp_path: Path) -> None:
    syncs, told = KernelSyncs(), list[OSError | None]()
    with (tmp_path / "file").open("wb") as file:
        assert syncs.begin(file.fileno(), told.append)
        syncs.close()
        assert not syncs.begin(file.fileno(), told.append)
    syncs.look()
    await asyncio.sleep(0.02)
    assert told == []
    syncs.close()
