"""The power fails at any write: what was acknowledged is there, and what is there is whole."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import SetpointError
from runtime.images import content, index, stage, writeback
from runtime.images.images import Images
from runtime.layout import Layout
from store.errors import StoreError
from store.records import Batch, EventRecord, Key, ObjectRecord
from store.store import Store
from tests.faults.disks import Disk, in_own_mounts, small_disk
from tests.faults.power import cut_power
from tests.kernel.images.trees import describe
from tests.unit.images import craft
from tests.unit.images.craft import directory, entry, tar

CUT = 3  # exit code
DATABASE_CUTS = int(os.environ.get("SETPOINT_POWER_CUTS", "60"))


def with_power(tmp_path: Path, body: Callable[[Disk], None]) -> None:
    """body with a disk of its own. commit=300: the journal's own five seconds must save nothing that
    nobody asked to be saved."""

    def alone() -> None:
        with small_disk(tmp_path / "disk", tmp_path / "disk.img", mebibytes=256) as disk:
            disk.remount("commit=300")
            body(disk)

    in_own_mounts(alone)


def power_comes_back(disk: Disk) -> None:
    disk.unmount()
    disk.mount(",commit=300")


# --- the database -----------------------------------------------------------------------------------


def batch_of(number: int, size: int) -> Batch:
    key = Key("shop", "container", "web")
    wanted = ObjectRecord(
        key, "git", {"image": "x" * size}, "h", number, number, "compose.yaml", 1, str(number)
    )
    return Batch(objects=(wanted,), events=(EventRecord(float(number), key, "Normal", "Made", "x" * size),))


def write(store: Store, batch: Batch, dice: random.Random) -> None:
    """As the journal does: often without waiting for the disk, which is asked for the log then."""
    if dice.random() < 0.2 or not store.write_at_once(batch):
        store.write(batch)
        return
    log = store.open_log()
    assert log is not None
    os.fdatasync(log)
    os.close(log)


def test_the_database(tmp_path: Path) -> None:
    """Every commit that returned is there, none is there by half, and it opens clean."""
    with_power(tmp_path, cut_the_database)


def cut_the_database(disk: Disk) -> None:
    path = disk.point / "data" / "setpoint.db"
    dice = random.Random(4)
    acknowledged = 0
    for _ in range(DATABASE_CUTS):
        store = Store(path)
        assert store.notes == ()
        assert store.last_event_id >= acknowledged
        objects, _ = store.load()
        assert [o.generation for o in objects.values()] == [store.last_event_id] * bool(objects)
        number = store.last_event_id
        for _ in range(dice.randrange(1, 12)):
            number += 1
            write(store, batch_of(number, dice.choice((10, 3000, 60_000))), dice)
            acknowledged = number
        cut_power(disk.point)
        with contextlib.suppress(StoreError):  # what is not acknowledged may be lost
            store.write(batch_of(number + 1, 100))
        store.close()
        power_comes_back(disk)


# --- an image ---------------------------------------------------------------------------------------

LOW = tar(directory("d"), *(entry(f"d/f{number}", os.urandom(9000)) for number in range(30)))
HIGH = tar(entry("d/.wh.f1"), *(entry(f"g{number}", b"%d" % number * 100) for number in range(30)))


def cut_before(monkeypatch: pytest.MonkeyPatch, point: Path, at: int) -> Callable[[], bool]:
    """Cut the power before the n-th step of a load that makes something last, or shows it. Returns what tells
    whether it was cut: another thread may see that the disk is gone before all has ended."""
    left = [at]

    def step(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                cut_power(point)
                os._exit(CUT)  # nothing of the program runs after a power cut
            return call(*arguments, **named)

        return counted

    monkeypatch.setattr(os, "rename", step(os.rename))
    monkeypatch.setattr(Path, "rename", step(Path.rename))
    monkeypatch.setattr(os, "fsync", step(os.fsync))
    monkeypatch.setattr(writeback, "syncfs", step(writeback.syncfs))
    for module in (content, index, stage):
        if hasattr(module, "sync_directory"):
            monkeypatch.setattr(module, "sync_directory", step(module.sync_directory))
    monkeypatch.setattr(content, "write_all", step(content.write_all))
    return lambda: left[0] <= 0


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return craft.write_tar(tmp_path_factory.mktemp("image") / "image.tar", craft.image(LOW, HIGH))


def trees_of(images: Images) -> list[object]:
    (info,) = images.list()
    return [describe(path, times=False) for path in images.layer_directories(info.id)]


def load_with_a_cut(
    point: Path, layout: Layout, archive: Path, at: int, monkeypatch: pytest.MonkeyPatch
) -> bool:
    """In a process of its own. Whether the load returned before there was no power."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            is_cut = cut_before(monkeypatch, point, at)
            try:
                Images(layout).load(archive)
                cut_power(point)
                code = 0
            except (OSError, SetpointError):
                code = CUT if is_cut() else 1
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, CUT)
    return code == 0


@pytest.mark.parametrize("every_bytes", [writeback.EVERY_BYTES, 1000], ids=["at-the-end", "on-the-way"])
def test_an_image_is_whole_or_absent(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every_bytes: int
) -> None:
    """Cut at every step of a load in its turn. A layer that is listed is never short. on-the-way: most of it
    is brought to the disk while more comes."""
    monkeypatch.setattr(writeback, "EVERY_BYTES", every_bytes)
    with_power(tmp_path, lambda disk: cut_a_load(disk, archive, tmp_path, monkeypatch))


def cut_a_load(disk: Disk, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = Images(Layout("reference", tmp_path / "reference", tmp_path))
    reference.load(archive)
    expected = trees_of(reference)
    whole = absent = 0
    for at in range(1, 1000):
        layout = Layout(f"i{at}", disk.point, tmp_path)
        is_acknowledged = load_with_a_cut(disk.point, layout, archive, at, monkeypatch)
        power_comes_back(disk)
        found = Images(layout).list()
        if found:
            whole += 1
            assert trees_of(Images(layout)) == expected
        else:
            absent += 1
            assert not is_acknowledged
            Images(layout).load(archive)
            assert trees_of(Images(layout)) == expected
        shutil.rmtree(layout.data)
        if is_acknowledged:
            break
    else:
        raise AssertionError("the load never ended")
    assert whole >= 1
    assert absent > 10
