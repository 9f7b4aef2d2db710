"""Of a container that wrote next to nothing the removal is answered before its files are deleted; of any
other when the disk has its room back. What is left behind an answer is in nobody's way, and does not stay."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime import cgroups, life, roots, rubbish
from runtime.engine import NativeEngine
from runtime.errors import Temporary
from runtime.layout import Layout
from runtime.model import ContainerConfig
from tests.kernel.engine.test_roots import Held, is_mounted
from tests.native import (
    PATIENCE_SECONDS,
    another_engine,
    config_of,
    ended,
    id_of,
    native_engine,
    run,
    shell,
    until,
)

MUCH = {
    "many files": "for i in 0 1 2 3 4 5 6 7 8 9 a b c d e f g; do echo x > /$i; done",
    "many, a few in each directory": "for i in 0 1 2 3 4 5; do mkdir -p /x/$i/a/b; done",
    "a large file": "head -c 300000 /dev/urandom > /x",
    "a log": "yes 12345678 | head -c 600000",
}
LITTLE = {
    "nothing": "true",
    "some files": "mkdir -p /x/y && echo x > /x/y/z && ln -s /x /l && mkfifo /f && rm /bin/ls",
    "a hole": "dd if=/dev/zero of=/x bs=1 count=1 seek=1000000000",
    "a log": "echo hello",
}


class Gate:
    """A thread that deletes waits here, with the id of what it deletes."""

    def __init__(self) -> None:
        self.opens = threading.Event()
        self.asked: list[str] = []

    def wait(self, id: str) -> None:
        self.asked.append(id)
        self.opens.wait(PATIENCE_SECONDS)


@pytest.fixture
def gate(engine: NativeEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate, left = Gate(), engine._life._rubbish
    remove = left._remove

    def wait_and_remove(id: str) -> None:
        gate.wait(id)
        remove(id)

    monkeypatch.setattr(left, "_remove", wait_and_remove)
    yield gate
    gate.opens.set()


def places(engine: NativeEngine, config: ContainerConfig) -> list[Path]:
    """What is left of a container."""
    layout, id = engine.layout, config.id
    groups = cgroups.existing(f"/{layout.cgroup_parent}/{id}")
    found = [layout.containers / id, layout.containers / f".gone-{id}", layout.run_containers / id]
    return [each for each in (*found, *map(Path, groups)) if each.exists()]


async def test_a_removal_waits_for_no_unmount_where_nothing_was_written(
    engine: NativeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held()
    monkeypatch.setattr(roots, "os", held)
    config = config_of(engine, "one", "true")
    await run(engine, config)
    await ended(engine, config.id)
    await engine.delete(config.id)
    assert engine.state(config.id) is None and not (engine.layout.containers / config.id).exists()
    aside = engine.layout.containers / f".gone-{config.id}"
    await until(lambda: held.asked)
    for _ in range(50):
        assert (aside / "upper").is_dir()  # nothing is deleted below a mount
        await asyncio.sleep(0.01)
    held.goes_on.set()
    await until(lambda: not places(engine, config))


async def test_one_that_never_ran_goes_so_too(engine: NativeEngine, gate: Gate) -> None:
    config = config_of(engine, "one", "true")
    await engine.create(config)
    await engine.delete(config.id)
    assert places(engine, config) == [engine.layout.containers / f".gone-{config.id}"]
    gate.opens.set()
    await until(lambda: not places(engine, config))


@pytest.mark.parametrize("script", LITTLE.values(), ids=LITTLE)
async def test_who_wrote_little_is_answered_before_it_is_deleted(
    engine: NativeEngine, gate: Gate, script: str
) -> None:
    config = shell(engine, "one", script)
    await run(engine, config)
    assert (await ended(engine, config.id)).exit_code == 0
    before = len(os.listdir("/proc/self/fd"))
    await engine.delete(config.id)
    assert (engine.layout.containers / f".gone-{config.id}").exists()
    assert len(os.listdir("/proc/self/fd")) <= before
    gate.opens.set()
    await until(lambda: not places(engine, config))


@pytest.mark.parametrize("script", MUCH.values(), ids=MUCH)
async def test_the_room_of_what_was_written_is_back_with_the_answer(
    engine: NativeEngine, gate: Gate, script: str
) -> None:
    config = shell(engine, "one", script)
    await run(engine, config)
    await ended(engine, config.id)
    await until(lambda: not is_mounted(engine, config))
    await engine.delete(config.id)
    assert places(engine, config) == [] and gate.asked == []


async def test_a_directory_that_once_held_much_is_read_by_a_thread(
    engine: NativeEngine, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On ext4 it takes as long to read as ever."""
    monkeypatch.setattr(rubbish, "_MOST_DIRECTORY_BYTES", -1)
    config = config_of(engine, "one", "true")
    await engine.create(config)
    await engine.delete(config.id)
    assert places(engine, config) == [] and gate.asked == []


async def test_whose_processes_another_container_keeps_alive_is_waited_for(
    engine: NativeEngine, gate: Gate
) -> None:
    config = config_of(engine, "one", "true", pid_mode="host")
    await run(engine, config)
    await ended(engine, config.id)
    await engine.delete(config.id)
    assert places(engine, config) == [] and gate.asked == []


async def test_nobody_removes_faster_than_the_disk_does(
    engine: NativeEngine, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rubbish, "MOST", 1)
    one, two = config_of(engine, "one", "true"), config_of(engine, "two", "true")
    for config in (one, two):
        await engine.create(config)
        await engine.delete(config.id)
    assert places(engine, one) and not places(engine, two)


async def test_the_same_container_is_made_anew_when_nothing_is_left_of_it(
    engine: NativeEngine, gate: Gate
) -> None:
    config = shell(engine, "one", "echo again")
    await engine.create(config)
    await engine.delete(config.id)
    making = asyncio.create_task(engine.create(config))
    await until(lambda: gate.asked)
    await asyncio.sleep(0.05)
    assert not making.done() and not (engine.layout.containers / config.id).exists()
    gate.opens.set()
    await making
    await engine.start(config.id)
    await ended(engine, config.id)
    assert (engine.layout.containers / config.id / "container.json").exists()


async def test_who_waits_for_a_disk_that_stands_still_is_told(
    engine: NativeEngine, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(engine, "one", "true")
    await engine.create(config)
    await engine.delete(config.id)
    monkeypatch.setattr(roots, "GONE_SECONDS", 0.05)
    with pytest.raises(Temporary, match="still being written to the disk"):
        await engine.create(config)
    assert engine.state(config.id) is None
    gate.opens.set()
    await until(lambda: not places(engine, config))
    await engine.create(config)


async def test_half_of_an_earlier_removal_is_in_nobodys_way(engine: NativeEngine) -> None:
    config = config_of(engine, "one", "true")
    await engine.create(config)
    (engine.layout.containers / f".gone-{config.id}" / "upper").mkdir(parents=True)
    await engine.delete(config.id)
    assert places(engine, config) == []


async def test_what_cannot_be_removed_is_said_and_keeps_nothing_else(
    engine: NativeEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody put a process into the control group of one that has ended."""
    monkeypatch.setattr(life, "_CGROUP_SECONDS", 0.05)
    config = config_of(engine, "one", "true")
    await run(engine, config)
    await ended(engine, config.id)
    (group, *_) = cgroups.existing(f"/{engine.layout.cgroup_parent}/{config.id}")
    sleeping = await asyncio.create_subprocess_exec("sleep", "1000")
    try:
        Path(group, "cgroup.procs").write_text(str(sleeping.pid))
        await engine.delete(config.id)
        await until(lambda: not (engine.layout.containers / f".gone-{config.id}").exists())
        assert "control group of a container that is gone" in caplog.text
        left = places(engine, config)
        assert Path(group) in left and all(each.is_relative_to("/sys/fs/cgroup") for each in left)
    finally:
        sleeping.kill()
        await sleeping.wait()


async def test_an_engine_that_ends_finishes_it(engine: NativeEngine, gate: Gate) -> None:
    config = config_of(engine, "one", "true")
    await run(engine, config)
    await ended(engine, config.id)
    await engine.delete(config.id)
    ends = asyncio.ensure_future(engine.close())
    await asyncio.sleep(0.2)
    assert not ends.done() and places(engine, config)
    gate.opens.set()
    await ends
    assert places(engine, config) == []


async def test_the_next_engine_finds_what_a_kill_left_at_any_point(
    instance: Layout, busybox_archive: Path
) -> None:
    """Behind the answer: set aside and nothing else; without its control group; without its run directory."""
    async with native_engine(instance, busybox_archive) as engine:
        made = [config_of(engine, name, "true") for name in ("one", "two", "three")]
        for config in made:
            await run(engine, config)
            await ended(engine, config.id)
        await engine.close()
        for count, config in enumerate(made):
            os.rename(instance.containers / config.id, instance.containers / f".gone-{id_of(config.name)}")
            if count > 0:
                cgroups.delete(f"/{instance.cgroup_parent}/{config.id}")
            if count > 1:
                shutil.rmtree(instance.run_containers / config.id)
        async with another_engine(instance) as second:
            assert second.list() == ()
            for config in made:
                assert places(second, config) == []
                await second.create(config)
