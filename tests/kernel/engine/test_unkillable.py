"""Containers that SIGKILL does not end: said by the deadline, and in nobody's way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime import cgroups, life
from runtime.engine import NativeEngine
from runtime.errors import Conflict, Unkillable
from runtime.layout import Layout
from runtime.model import MountConfig
from runtime.unkillable import wait_channel
from tests.hung import HungFileSystem
from tests.native import config_of, ended, id_of, native_engine, run, shell, until

WAITS = frozenset(("request_wait_answer", "__folio_lock", "folio_wait_bit_common"))


@pytest.fixture
def hung(tmp_path: Path) -> Iterator[HungFileSystem]:
    made = HungFileSystem(tmp_path / "hung")
    yield made
    made.close()


def is_stuck(engine: NativeEngine, name: str) -> bool:
    """It waits for the file system's answer, or for the page that another one waits for."""
    return any(wait_channel(pid) in WAITS for pid in engine.top(id_of(name)))


async def run_stuck(engine: NativeEngine, hung: HungFileSystem) -> str:
    """A container whose process waits in the kernel already."""
    bind = MountConfig("bind", "/hung", str(hung.place))
    await run(engine, config_of(engine, "stuck", "cat", "/hung/never", mounts=(bind,)))
    await until(lambda: is_stuck(engine, "stuck"))
    return id_of("stuck")


async def others_go_on(engine: NativeEngine) -> None:
    for n in range(10):
        await run(engine, shell(engine, f"other{n}", "trap 'exit 0' TERM; while :; do sleep 0.05; done"))
        assert (await engine.exec(id_of(f"other{n}"), ["true"], timeout_seconds=20)).exit_code == 0
        await engine.stop(id_of(f"other{n}"), 20)
        await engine.delete(id_of(f"other{n}"))


async def test_a_process_in_the_kernel_is_named_by_the_deadline(
    instance: Layout, busybox_archive: Path, hung: HungFileSystem
) -> None:
    async with native_engine(instance, busybox_archive) as engine:
        id = await run_stuck(engine, hung)
        with pytest.raises(Unkillable) as caught:
            await engine.stop(id, 0.2)
        assert "state D" in str(caught.value) and "(cat)" in str(caught.value)
        assert f"pid {engine.top(id)[0]}" in str(caught.value)
        assert "request_wait_answer" in str(caught.value)
        state = engine.state(id)
        assert state is not None and state.phase == "running"
        await engine.start(id)  # no second one beside it
        assert len(engine.top(id)) == 1
        with pytest.raises(Conflict):
            await engine.delete(id)
        hung.abort()
        await ended(engine, id)
        await engine.delete(id)


async def test_many_that_cannot_be_killed_hold_up_nobody(
    instance: Layout, busybox_archive: Path, hung: HungFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(life, "KILL_SECONDS", 3600.0)
    async with native_engine(instance, busybox_archive) as engine:
        bind = MountConfig("bind", "/hung", str(hung.place))
        names = [f"stuck{n}" for n in range(12)]  # the agent has eight threads
        for name in names:
            await run(engine, config_of(engine, name, "cat", "/hung/never", mounts=(bind,)))
        await until(lambda: all(is_stuck(engine, name) for name in names))
        stops = [asyncio.ensure_future(engine.stop(id_of(name), 0)) for name in names]
        await others_go_on(engine)
        assert not any(stop.done() for stop in stops)
        hung.abort()
        await asyncio.gather(*stops)


HAS_V1_FREEZER = "freezer" in cgroups.hierarchies().v1
needs_v1_freezer = pytest.mark.skipif(not HAS_V1_FREEZER, reason="cgroup v2 kills what is frozen")


@contextlib.contextmanager
def frozen_in(name: str, pid: int) -> Iterator[Path]:
    """A process put into a cgroup of the v1 freezer by hand, and frozen there."""
    made = Path(cgroups.hierarchies().v1["freezer"], name)
    made.mkdir(parents=True)
    try:
        (made / "cgroup.procs").write_text(str(pid))
        (made / "freezer.state").write_text("FROZEN")
        yield made
    finally:
        with contextlib.suppress(FileNotFoundError):
            (made / "freezer.state").write_text("THAWED")
        cgroups.delete(f"/{name}")


@needs_v1_freezer
async def test_frozen_by_somebody_else_is_said_and_dies_when_thawed(
    instance: Layout, busybox_archive: Path
) -> None:
    async with native_engine(instance, busybox_archive) as engine:
        await run(engine, config_of(engine, "frozen", "sleep", "1000"))
        with frozen_in(f"{instance.instance}-hand", engine.top(id_of("frozen"))[0]) as hand:
            with pytest.raises(Unkillable, match=f"cgroup {hand} is frozen") as caught:
                await engine.stop(id_of("frozen"), 0.1)
            assert "(sleep)" in str(caught.value)
            (hand / "freezer.state").write_text("THAWED")
            await ended(engine, id_of("frozen"))


@needs_v1_freezer
async def test_frozen_below_its_own_cgroup_is_thawed_and_killed(
    instance: Layout, busybox_archive: Path
) -> None:
    async with native_engine(instance, busybox_archive) as engine:
        await run(engine, config_of(engine, "frozen", "sleep", "1000"))
        inner = f"{instance.cgroup_parent}/{id_of('frozen')}/inner"
        with frozen_in(inner, engine.top(id_of("frozen"))[0]):
            await engine.stop(id_of("frozen"), 0.1)
            await ended(engine, id_of("frozen"))
            await engine.delete(id_of("frozen"))


async def test_frozen_by_hand_is_killed(instance: Layout, busybox_archive: Path) -> None:
    async with native_engine(instance, busybox_archive) as engine:
        await run(engine, config_of(engine, "frozen", "sleep", "1000"))
        await asyncio.to_thread(cgroups.freeze, f"/{instance.cgroup_parent}/{id_of('frozen')}")
        await engine.stop(id_of("frozen"), 0.1)
        await ended(engine, id_of("frozen"))
