"""Volumes with options: mounted when a container comes to use one, unmounted when none does; what is mounted
there is nobody's to remove."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest

from runtime import mount_table, syscalls, volume_mounter, volume_mounts
from runtime.engine import NativeEngine
from runtime.errors import Conflict, Invalid, Temporary
from runtime.layout import Layout
from runtime.model import ContainerConfig, MountConfig, VolumeConfig
from runtime.volume_options import read_source
from tests.hung import HungFileSystem
from tests.native import another_engine, config_of, ended, id_of, native_engine, run, shell, until

DATA = MountConfig("volume", "/data", "data")
TMPFS = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=1000,mode=750"}


@pytest.fixture
async def engine(instance: Layout, busybox_archive: Path) -> AsyncIterator[NativeEngine]:
    async with native_engine(instance, busybox_archive) as made:
        yield made


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    made = tmp_path / "shared"
    made.mkdir()
    (made / "kept").write_text("kept")
    return made


def bound(place: Path, o: str = "bind") -> dict[str, str]:
    return {"type": "none", "device": str(place), "o": o}


async def make(engine: NativeEngine, options: Mapping[str, str], below: str = "") -> None:
    await engine.create_volume(VolumeConfig("data", options=options, below=below))


def is_mounted(engine: NativeEngine) -> bool:
    return str(engine.volumes.path("data")) in mount_table.points()


async def is_free(engine: NativeEngine) -> None:
    await until(lambda: not is_mounted(engine))


def sleeper(engine: NativeEngine, name: str, *mounts: MountConfig) -> ContainerConfig:
    return config_of(engine, name, "sleep", "600", mounts=mounts or (DATA,))


async def output(engine: NativeEngine, name: str, script: str) -> str:
    result = await engine.exec(id_of(name), ["sh", "-c", script], timeout_seconds=20)
    return result.output.decode().strip()


async def stop(engine: NativeEngine, *names: str) -> None:
    for name in names:
        await engine.stop(id_of(name), 0)


# --- what is mounted, and when ------------------------------------------------------------------


async def test_a_directory_is_there_while_somebody_uses_it(engine: NativeEngine, shared: Path) -> None:
    await make(engine, bound(shared))
    assert not is_mounted(engine)
    first, second = sleeper(engine, "first"), sleeper(engine, "second")
    await engine.create(first)
    await is_free(engine)
    await engine.start(first.id)
    assert await output(engine, "first", "cat /data/kept; echo new > /data/new") == "kept"
    assert (shared / "new").read_text() == "new\n"
    await run(engine, second)
    await stop(engine, "first")
    await engine.delete(first.id)
    assert await output(engine, "second", "cat /data/new") == "new" and is_mounted(engine)
    await stop(engine, "second")
    await is_free(engine)
    await engine.start(second.id)
    assert await output(engine, "second", "cat /data/new") == "new"


async def test_removal_takes_nothing_of_what_was_mounted(engine: NativeEngine, shared: Path) -> None:
    await make(engine, bound(shared))
    config = sleeper(engine, "one")
    await run(engine, config)
    with pytest.raises(Conflict):
        await engine.delete_volume("data")
    await stop(engine, "one")
    await engine.delete(config.id)
    await engine.delete_volume("data")
    assert engine.list_volumes() == () and (shared / "kept").read_text() == "kept"
    assert not list(engine.layout.volumes.iterdir())


async def test_what_somebody_else_mounted_over_it_stays_too(engine: NativeEngine, shared: Path) -> None:
    await make(engine, bound(shared))
    path = engine.volumes.path("data")
    for _ in range(3):
        syscalls.mount(str(shared), str(path), None, syscalls.MS_BIND)
    await engine.delete_volume("data")
    assert str(path) not in mount_table.points() and (shared / "kept").exists()


async def test_memory_with_its_options(engine: NativeEngine) -> None:
    await make(engine, TMPFS)
    await run(engine, sleeper(engine, "first"))
    assert await output(engine, "first", "stat -c '%u %a' /data; df -k /data | tail -1") == (
        await output(engine, "first", "echo 1000 750; df -k /data | tail -1")
    )
    assert "1024" in await output(engine, "first", "df -k /data")
    await output(engine, "first", "echo x > /data/x")
    await run(engine, sleeper(engine, "second"))
    assert await output(engine, "second", "cat /data/x") == "x"
    await stop(engine, "first", "second")
    await is_free(engine)
    await engine.start(id_of("first"))
    assert await output(engine, "first", "ls /data") == ""


@pytest.fixture(params=["ext4", "xfs", "btrfs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    kind, file = request.param, tmp_path / "disk"
    if not shutil.which(f"mkfs.{kind}") or f"\t{kind}\n" not in Path("/proc/filesystems").read_text():
        pytest.skip(f"no {kind} here")
    with file.open("wb") as made:
        made.truncate(320 << 20)
    subprocess.run([f"mkfs.{kind}", *(["-F"] if kind == "ext4" else ["-f"]), "-q", file], check=True)
    done = subprocess.run(["losetup", "--find", "--show", file], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no loop device: {done.stderr.strip()}")
    device = done.stdout.strip()
    yield {"type": kind, "device": device, "o": "noatime"}
    subprocess.run(["losetup", "--detach", device], check=True)


async def test_a_disk(engine: NativeEngine, disk: dict[str, str]) -> None:
    await make(engine, disk)
    config = sleeper(engine, "one")
    await run(engine, config)
    assert disk["device"] in await output(engine, "one", "grep ' /data ' /proc/mounts")
    seen = (await output(engine, "one", "grep ' /data ' /proc/mounts")).split()[3].split(",")
    assert {"noatime", "nodev", "nosuid", "rw"} <= set(seen), "whoever wrote the disk makes no devices here"
    await output(engine, "one", "echo x > /data/x")
    await stop(engine, "one")
    await is_free(engine)
    await engine.start(config.id)
    assert await output(engine, "one", "cat /data/x") == "x"
    await stop(engine, "one")
    await engine.delete(config.id)
    await engine.delete_volume("data")
    await make(engine, disk | {"o": "ro,dev,suid"})
    await run(engine, config)
    seen = (await output(engine, "one", "grep ' /data ' /proc/mounts")).split()[3].split(",")
    assert "ro" in seen and not {"nodev", "nosuid"} & set(seen)
    assert "Read-only" in await output(engine, "one", "echo y 2>&1 > /data/y")


@pytest.mark.parametrize("o", ["bind,ro", "rbind,ro"])
async def test_read_only_with_what_is_mounted_below(engine: NativeEngine, shared: Path, o: str) -> None:
    (shared / "below").mkdir()
    syscalls.mount("tmpfs", str(shared / "below"), "tmpfs", 0, None)
    try:
        await make(engine, bound(shared, o))
        await run(engine, sleeper(engine, "one"))
        assert "Read-only" in await output(engine, "one", "echo y 2>&1 > /data/y")
        assert "Read-only" in await output(engine, "one", "echo y 2>&1 > /data/below/y")
        seen = await output(engine, "one", "grep -c ' /data/below ' /proc/mounts")
        assert seen == ("1" if o.startswith("rbind") else "0")
        await stop(engine, "one")
    finally:
        syscalls.umount2(str(shared / "below"), syscalls.MNT_DETACH)


# --- what an image has there ----------------------------------------------------------------------


async def test_an_empty_directory_is_filled_from_the_image(engine: NativeEngine, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir(mode=0o700)
    await make(engine, bound(empty))
    config = config_of(engine, "one", "true", mounts=(MountConfig("volume", "/bin", "data"),))
    await run(engine, config)
    assert (await ended(engine, config.id)).exit_code == 0
    assert "sh" in os.listdir(empty) and not [name for name in os.listdir(empty) if name.startswith(".")]
    assert empty.stat().st_mode & 0o777 == 0o755


async def test_a_filling_that_was_cut_off_is_gone_on_with(engine: NativeEngine, tmp_path: Path) -> None:
    half = tmp_path / "half"
    (half / ".setpoint-filled").mkdir(parents=True)
    (half / ".setpoint-filled/second").write_text("2")
    (half / "first").write_text("1")
    await make(engine, bound(half))
    await engine.create(config_of(engine, "one", "true", mounts=(MountConfig("volume", "/bin", "data"),)))
    assert sorted(os.listdir(half)) == ["first", "second"]


async def test_what_is_in_a_directory_is_not_touched(engine: NativeEngine, shared: Path) -> None:
    await make(engine, bound(shared))
    await engine.create(config_of(engine, "one", "true", mounts=(MountConfig("volume", "/bin", "data"),)))
    assert os.listdir(shared) == ["kept"]


# --- copies -----------------------------------------------------------------------------------------


async def test_a_copy_out_of_one_that_does_not_run_sees_it(engine: NativeEngine, shared: Path) -> None:
    await make(engine, bound(shared))
    config = sleeper(engine, "one")
    await engine.create(config)
    assert (await engine.copies.stat(config.id, "/data/kept")).size == 4
    await is_free(engine)


# --- what goes wrong ----------------------------------------------------------------------------


async def test_a_directory_that_is_not_there_yet(engine: NativeEngine, tmp_path: Path) -> None:
    await make(engine, bound(tmp_path / "late"))
    config = sleeper(engine, "one")
    with pytest.raises(Temporary, match=r"failed to mount local volume: \S+/late: No such file"):
        await engine.create(config)
    (tmp_path / "late").mkdir()
    await run(engine, config)
    assert is_mounted(engine)


async def test_a_link_out_of_what_is_allowed_leads_nowhere(engine: NativeEngine, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "allowed").mkdir()
    (tmp_path / "allowed/x").symlink_to("../secret")
    await make(engine, bound(tmp_path / "allowed/x"), below=str(tmp_path / "allowed"))
    with pytest.raises(Temporary, match="no such file"):
        await engine.create(sleeper(engine, "one"))
    assert not is_mounted(engine)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"type": "ext4", "device": "/dev/null"}, "ext4|[Bb]lock"),
        ({"type": "tmpfs", "device": "x", "o": "nonsense=1"}, "nonsense|Invalid"),
    ],
)
async def test_what_the_kernel_refuses(engine: NativeEngine, options: dict[str, str], words: str) -> None:
    await make(engine, options)
    with pytest.raises(Invalid, match=f"failed to mount local volume.*({words})"):
        await engine.create(sleeper(engine, "one"))


async def test_one_that_hangs_holds_nobody_up(
    engine: NativeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volume_mounts, "DEADLINE_SECONDS", 0.5)
    hung = HungFileSystem(tmp_path / "hung")
    try:
        hung.hang()
        await make(engine, bound(hung.place / "never"))
        work = asyncio.ensure_future(engine.create(sleeper(engine, "one")))
        await run(engine, config_of(engine, "other", "true"))
        await ended(engine, id_of("other"))
        with pytest.raises(Temporary, match="did not answer"):
            await work
        with pytest.raises(Temporary, match="did not answer"):
            await engine.create(sleeper(engine, "one"))
        assert len(engine.volume_mounts._under_way) == 1, "another was sent where one waits"
        hung.abort()
        await until(lambda: not engine.volume_mounts._under_way)
    finally:
        hung.close()


# --- what others do, and crashes ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
async def test_one_that_was_unmounted_is_put_back(engine: NativeEngine, shared: Path, kind: str) -> None:
    await make(engine, bound(shared) if kind == "bind" else TMPFS)
    await run(engine, sleeper(engine, "first"))
    await output(engine, "first", "echo x > /data/x")
    heard: set[str] = set()

    async def listen() -> None:
        async for event in engine.events():
            heard.add(event.id)

    listening = asyncio.create_task(listen())
    syscalls.umount2(str(engine.volumes.path("data")), syscalls.MNT_DETACH)
    await until(lambda: id_of("first") in heard)
    listening.cancel()
    [found] = await engine.find_drift([id_of("first")])
    assert (found.kind, found.detail) == ("mount", "volume data is not mounted on the host")
    await engine.repair(found)
    assert is_mounted(engine) and await engine.find_drift([id_of("first")]) == ()
    await run(engine, sleeper(engine, "second"))
    assert await output(engine, "second", "cat /data/x") == "x", "it is the same as the first one has"


async def test_the_next_agent_unmounts_what_nobody_uses(
    instance: Layout, busybox_archive: Path, shared: Path
) -> None:
    async with native_engine(instance, busybox_archive) as engine:
        await make(engine, bound(shared))
        await run(engine, sleeper(engine, "one"))
        await engine.close()
        async with another_engine(instance) as second:
            assert is_mounted(second)
            assert second.list_volumes()[0].options == bound(shared)
            await stop(second, "one")
            await is_free(second)
            syscalls.mount(str(shared), str(second.volumes.path("data")), None, syscalls.MS_BIND)
        async with another_engine(instance) as third:
            await is_free(third)
            await third.delete(id_of("one"))


async def test_a_mount_that_is_there_is_not_made_twice(engine: NativeEngine, shared: Path) -> None:
    """Of a process whose agent did not live to see it end."""
    await make(engine, bound(shared))
    path = str(engine.volumes.path("data"))
    source = read_source(bound(shared))
    assert source is not None
    order = json.dumps({"op": "mount", "path": path, "mount": source.to_oci()})
    for _ in range(2):
        assert volume_mounter.main(order) == 0
    assert list(mount_table.points()).count(path) == 1
    assert volume_mounter.main(json.dumps({"op": "unmount", "path": path})) == 0
    assert path not in mount_table.points()


async def test_records_without_options_are_read(engine: NativeEngine) -> None:
    await engine.create_volume(VolumeConfig("old"))
    record = engine.layout.volumes / "old/volume.json"
    said = json.loads(record.read_text())
    assert said.pop("options") == {} and said.pop("below") == ""
    record.write_text(json.dumps(said))
    engine.volumes.open()
    assert engine.volumes.get("old") is not None


async def test_the_same_name_with_other_options(engine: NativeEngine, shared: Path) -> None:
    await make(engine, bound(shared))
    await make(engine, bound(shared))
    with pytest.raises(Conflict, match="other options"):
        await make(engine, TMPFS)


async def test_nothing_of_it_is_left_by_down(instance: Layout, busybox_archive: Path, shared: Path) -> None:
    async with native_engine(instance, busybox_archive) as engine:
        await make(engine, bound(shared))
        await run(engine, shell(engine, "one", "sleep 600", mounts=(DATA,)))
    assert not instance.data.exists() and (shared / "kept").read_text() == "kept"
