"""The end of a container waits for no unmount; what must wait for the unmount does."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime import roots, syscalls
from runtime.engine import NativeEngine
from runtime.errors import Invalid, Temporary
from runtime.layout import Layout
from runtime.model import ContainerConfig, MountConfig, Security
from tests.faults.disks import small_disk
from tests.native import (
    PATIENCE_SECONDS,
    another_engine,
    config_of,
    ended,
    native_engine,
    run,
    shell,
    supervisor_pid,
    until,
)


class Held:
    """Stands in for `os` in `runtime.roots`: a disk that takes its time."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()
        self.asked: list[int] = []

    def close(self, descriptor: int) -> None:
        self.asked.append(descriptor)
        self.goes_on.wait(PATIENCE_SECONDS)
        os.close(descriptor)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    held = Held()
    monkeypatch.setattr(roots, "os", held)
    yield held
    held.goes_on.set()


def is_mounted(engine: NativeEngine, config: ContainerConfig) -> bool:
    """Whether its layers are in use: with an index of hard links, overlayfs says so by EBUSY."""
    bundle = engine.layout.containers / config.id
    context = syscalls.fsopen("overlay")
    try:
        for name, value in (
            ("lowerdir", bundle.parent), ("upperdir", bundle / "upper"), ("workdir", bundle / "work"),
            ("index", "on"),
        ):  # fmt: skip
            syscalls.fsconfig(context, syscalls.FSCONFIG_SET_STRING, name, str(value))
        syscalls.fsconfig(context, syscalls.FSCONFIG_CMD_CREATE, None, None)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return True
    finally:
        os.close(context)
    return False


def held(engine: NativeEngine, config: ContainerConfig) -> bool:
    return config.id in engine._client.roots


OWN_IDS = Security(user_namespace="auto")


@pytest.mark.parametrize("security", [Security(), OWN_IDS], ids=["plain", "own-ids"])
async def test_an_end_is_heard_before_the_unmount(
    engine: NativeEngine, slow: Held, security: Security
) -> None:
    config = config_of(engine, "one", "sleep", "1000", security=security)
    await run(engine, config)
    assert held(engine, config)
    await engine.stop(config.id, 0)
    assert not held(engine, config)
    assert is_mounted(engine, config)
    slow.goes_on.set()
    await until(lambda: not is_mounted(engine, config))


async def test_whoever_needs_its_layers_again_waits(engine: NativeEngine, slow: Held) -> None:
    config = config_of(engine, "one", "sleep", "1000")
    await run(engine, config)
    await engine.stop(config.id, 0)
    starting = asyncio.create_task(engine.start(config.id))
    await _waits(starting)
    slow.goes_on.set()
    await starting
    state = engine.state(config.id)
    assert state is not None and state.phase == "running"


async def test_a_removal_waits_for_the_room_on_the_disk(engine: NativeEngine, slow: Held) -> None:
    config = shell(engine, "one", "head -c 300000 /dev/urandom > /x; touch /whole; exec sleep 1000")
    await run(engine, config)
    await until((engine.layout.containers / config.id / "upper/whole").exists)
    await engine.stop(config.id, 0)
    going = asyncio.create_task(engine.delete(config.id))
    await _waits(going)
    slow.goes_on.set()
    await going
    assert not (engine.layout.containers / config.id).exists()


async def test_a_copy_of_one_that_ended_waits(engine: NativeEngine, slow: Held) -> None:
    config = config_of(engine, "one", "sleep", "1000")
    await run(engine, config)
    other = config_of(engine, "two", "true")
    await engine.create(other)
    await engine.copies.stat(other.id, "/bin")  # from here on what forks workers is there
    await engine.stop(config.id, 0)
    looking = asyncio.create_task(engine.copies.stat(config.id, "/bin"))
    await _waits(looking)
    slow.goes_on.set()
    assert (await looking).name == "bin"


async def _waits(task: asyncio.Task[Any]) -> None:
    """It does not end by itself; two seconds are forty times what any of them takes."""
    done, _ = await asyncio.wait((task,), timeout=2)
    assert not done


async def test_a_disk_that_stands_still_is_told(
    engine: NativeEngine, slow: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roots, "GONE_SECONDS", 0.05)
    config = config_of(engine, "one", "sleep", "1000")
    await run(engine, config)
    await engine.stop(config.id, 0)
    with pytest.raises(Temporary, match="still being written to the disk"):
        await engine.start(config.id)
    slow.goes_on.set()
    await until(lambda: not is_mounted(engine, config))
    await engine.start(config.id)


async def test_a_program_that_is_not_there_holds_nothing_and_nobody(engine: NativeEngine, slow: Held) -> None:
    config = config_of(engine, "one", "/not/there")
    await engine.create(config)
    with pytest.raises(Invalid):
        await engine.start(config.id)
    await until(lambda: slow.asked)  # the unmount is ours, and not the supervisor's
    assert not held(engine, config)
    slow.goes_on.set()
    await until(lambda: not is_mounted(engine, config))


async def test_an_answer_that_is_taken_after_the_end(engine: NativeEngine) -> None:
    """Nobody would let go of what is kept then."""
    config = config_of(engine, "one", "true")
    await run(engine, config)
    await ended(engine, config.id)
    assert not held(engine, config)
    entry = engine._index.get("test", config.id)
    pid, start_time = entry.process
    engine._client.roots.keep(config.id, os.open("/", os.O_PATH))
    engine._supervised.started(entry, {"pid": pid, "start_time": start_time, "started_at": 1.0})
    assert not held(engine, config)


async def test_the_next_agent_holds_them_too(instance: Layout, busybox_archive: Path, slow: Held) -> None:
    async with native_engine(instance, busybox_archive) as first:
        config = config_of(first, "one", "sleep", "1000")
        await run(first, config)
        slow.goes_on.set()
        await first.close()
        slow.goes_on.clear()
        async with another_engine(instance) as second:
            await until(lambda: held(second, config))
            await second.stop(config.id, 0)
            assert is_mounted(second, config)
            slow.goes_on.set()
            await second.delete(config.id)


async def test_an_agent_that_goes_holds_none(instance: Layout, busybox_archive: Path) -> None:
    """Its process may be a long time in going; and what it lets go of is not the last."""
    async with native_engine(instance, busybox_archive) as first:
        config = config_of(first, "one", "sleep", "1000")
        await run(first, config)
        root = os.stat(f"/proc/{first._index.pid_of(config.id)}/root/")
        assert _holders(os.getpid(), root)
        await first.close()
        await until(lambda: not _holders(os.getpid(), root))
        async with another_engine(instance) as second:
            assert second.list()[0].phase == "running"


async def test_a_supervisor_that_is_killed_takes_none_along(engine: NativeEngine, slow: Held) -> None:
    config = config_of(engine, "one", "sleep", "1000")
    await run(engine, config)
    before = await supervisor_pid(engine)
    os.kill(before, signal.SIGKILL)
    await until(lambda: not engine._supervised.is_up)
    await until(lambda: engine._supervised.is_up)
    assert held(engine, config)
    await engine.stop(config.id, 0)
    assert is_mounted(engine, config) and len(slow.asked) == 1


async def test_nothing_but_its_own_layers_is_held(engine: NativeEngine, slow: Held, tmp_path: Path) -> None:
    """A disk of the host that was bound can be unmounted as soon as the container has ended."""
    with small_disk(tmp_path / "disk", tmp_path / "disk.img", 16) as disk:
        bound = (MountConfig("bind", "/x", str(disk.point)),)
        config = config_of(engine, "one", "sleep", "1000", mounts=bound)
        await run(engine, config)
        await engine.stop(config.id, 0)
        assert is_mounted(engine, config)
        syscalls.umount2(str(disk.point), 0)  # and not lazily


async def test_none_is_held_by_who_did_not_ask(engine: NativeEngine) -> None:
    """What the supervisor gave away it does not keep."""
    config = config_of(engine, "one", "sleep", "1000")
    await run(engine, config)
    root = os.stat(f"/proc/{engine._index.pid_of(config.id)}/root/")
    assert not _holders(await supervisor_pid(engine), root)
    assert _holders(os.getpid(), root)


def _holders(pid: int, root: os.stat_result) -> list[Path]:
    """A process's descriptors of a container's root."""
    return [each for each in Path(f"/proc/{pid}/fd").iterdir() if _is_same(each, root)]


def _is_same(path: Path, root: os.stat_result) -> bool:
    try:
        other = path.stat()
    except OSError:
        return False
    return (other.st_dev, other.st_ino) == (root.st_dev, root.st_ino)
