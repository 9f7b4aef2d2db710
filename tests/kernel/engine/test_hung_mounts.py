"""Mounts from a file system that does not answer: that one container waits, the agent and the supervisor
do not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Iterator
from pathlib import Path

import pytest

from runtime import answering, syscalls
from runtime.engine import NativeEngine
from runtime.errors import Temporary
from runtime.layout import Layout
from runtime.model import MountConfig
from tests.hung import HungFileSystem
from tests.native import config_of, ended, id_of, native_engine, run, until


@pytest.fixture
def hung(tmp_path: Path) -> Iterator[HungFileSystem]:
    made = HungFileSystem(tmp_path / "hung")
    yield made
    made.close()


async def refused(work: Awaitable[object]) -> None:
    with pytest.raises(Temporary, match=r"does not answer: fuse on /\S+ hangs \(hint: .*umount -f"):
        await work


async def let_go(engine: NativeEngine, hung: HungFileSystem) -> None:
    """The file system is unmounted by force: the child that waited there ends, and is forgotten."""
    hung.abort()
    await until(lambda: not engine._life._answering._stuck)


def refuse(*_arguments: object, **_fields: object) -> int:
    raise AssertionError("a child was started")


@pytest.mark.parametrize("below", ["", "/never"])
async def test_a_bind_that_hangs_at_create(
    instance: Layout,
    busybox_archive: Path,
    hung: HungFileSystem,
    monkeypatch: pytest.MonkeyPatch,
    below: str,
) -> None:
    async with native_engine(instance, busybox_archive) as engine:
        hung.hang()
        bind = MountConfig("bind", "/x", f"{hung.place}{below}", create_host_path=True)
        config = config_of(engine, "bound", "true", mounts=(bind,))
        await refused(engine.create(config))
        with monkeypatch.context() as patched:
            patched.setattr(answering.os, "posix_spawn", refuse)
            with pytest.raises(Temporary):
                await engine.create(config)
        await let_go(engine, hung)


async def test_others_start_meanwhile(
    instance: Layout, busybox_archive: Path, hung: HungFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as the file system is silent: there is no deadline here that could set them free."""
    monkeypatch.setattr(answering, "DEADLINE_SECONDS", 3600.0)
    async with native_engine(instance, busybox_archive) as engine:
        hung.hang()
        config = config_of(engine, "bound", "true", mounts=(MountConfig("bind", "/x", str(hung.place)),))
        waiting = asyncio.ensure_future(engine.create(config))
        for n in range(5):
            await run(engine, config_of(engine, f"other{n}", "true"))
            await ended(engine, id_of(f"other{n}"))
            await engine.delete(id_of(f"other{n}"))
        assert not waiting.done()
        hung.abort()
        await asyncio.wait({waiting})
        assert not isinstance(waiting.exception(), Temporary)


async def test_a_link_to_a_bind_that_hangs_at_start_and_goes_on_when_it_is_gone(
    instance: Layout, busybox_archive: Path, hung: HungFileSystem, tmp_path: Path
) -> None:
    async with native_engine(instance, busybox_archive) as engine:
        link = tmp_path / "link"
        link.symlink_to(hung.place)
        config = config_of(engine, "bound", "true", mounts=(MountConfig("bind", "/x", str(link)),))
        await engine.create(config)
        hung.hang()
        starting = asyncio.ensure_future(engine.start(config.id))
        with pytest.raises(Temporary, match="does not answer: a file system hangs"):
            await starting
        await let_go(engine, hung)
        link.unlink()
        link.symlink_to(tmp_path)
        await engine.start(config.id)
        assert (await ended(engine, config.id)).exit_code == 0


async def test_a_volume_that_hangs(instance: Layout, busybox_archive: Path, tmp_path: Path) -> None:
    """Somebody has mounted a network file system where a volume's data is."""
    async with native_engine(instance, busybox_archive) as engine:
        engine.volumes.ensure("data")
        hung = HungFileSystem(engine.volumes.path("data"))
        try:
            hung.hang()
            config = config_of(engine, "bound", "true", mounts=(MountConfig("volume", "/x", "data"),))
            await refused(engine.create(config))
            await let_go(engine, hung)
        finally:
            hung.close()


async def test_a_plain_bind_sends_nobody(
    instance: Layout,
    busybox_archive: Path,
    hung: HungFileSystem,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    async with native_engine(instance, busybox_archive) as engine:
        monkeypatch.setattr(answering.os, "posix_spawn", refuse)
        plain.stat()  # in the kernel's cache, as what is used is
        config = config_of(engine, "bound", "true", mounts=(MountConfig("bind", "/x", str(plain)),))
        await run(engine, config)
        await ended(engine, config.id)


async def test_a_volume_that_is_yet_to_be_made_sends_nobody(
    instance: Layout, busybox_archive: Path, hung: HungFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with native_engine(instance, busybox_archive) as engine:
        hung.hang()
        with monkeypatch.context() as patched:
            patched.setattr(answering.os, "posix_spawn", refuse)
            await engine.create(config_of(engine, "new", "true", mounts=(MountConfig("volume", "/x", "v"),)))
            assert engine.volume("v") is not None
        await let_go(engine, hung)


def test_the_name_of_the_place_is_the_innermost_mount(tmp_path: Path, hung: HungFileSystem) -> None:
    assert answering.served_place(f"{hung.place}/a/b") == f"fuse on {hung.place}"
    assert answering.served_place("/") == answering.SOMEWHERE


def test_a_mount_has_an_id_that_lasts(tmp_path: Path, hung: HungFileSystem) -> None:
    descriptor = os.open(hung.place, os.O_PATH)
    try:
        first = syscalls.lasting_mount_id(descriptor)
        hung.hang()
        assert syscalls.lasting_mount_id(descriptor) == first  # and asks no server
        assert syscalls.mount_id(descriptor) > 0
    finally:
        os.close(descriptor)
