"""The disk's room ends at every step of making a network, a volume and a container, block by block and inode
by inode: it is made, or there is one sentence and nothing half-made; what runs goes on and can be ended; and
with room all of it is made."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime import disk as disks
from runtime.engine import NativeEngine
from runtime.errors import Temporary
from runtime.layout import Layout
from runtime.model import EndpointConfig, MountConfig, NetworkConfig, SandboxConfig, VolumeConfig
from tests.faults.disks import Disk, small_disk
from tests.faults.disks import run as commands
from tests.native import ended, id_of, native_engine, run, shell

BLOCK = 4096


@pytest.fixture
def disk(request: pytest.FixtureRequest, instance: Layout, tmp_path: Path) -> Iterator[Disk]:
    if request.param == "run directory":
        instance.run.mkdir(mode=0o711)
        with small_memory(instance.run) as disk:
            yield disk
        return
    with small_disk(instance.data, tmp_path / "disk.img", inodes=request.param) as disk:
        yield disk


@contextlib.contextmanager
def small_memory(point: Path) -> Iterator[Disk]:
    """A tmpfs of 4 MiB."""
    commands("mount", "-t", "tmpfs", "-o", "size=4m,mode=0711", "tmpfs", point)
    disk = Disk(point, point)
    try:
        yield disk
    finally:
        disk.unmount()
        if point.exists():
            point.rmdir()


def leave_blocks(disk: Disk, count: int) -> None:
    disk.fill(count * BLOCK)


def leave_inodes(disk: Disk, count: int) -> None:
    disk.fill_inodes(count)


@pytest.mark.parametrize(
    ("disk", "leave", "most", "expected"),
    [
        # Where blocks end depends on how many a directory has left: not always at the volume.
        (0, leave_blocks, 26, {"create", "made"}),
        (800, leave_inodes, 18, {"network", "volume", "create", "start", "made"}),
        ("run directory", leave_blocks, 26, {"start", "made"}),
    ],
    indirect=["disk"],
    ids=["blocks", "inodes", "run directory"],
)
async def test_room_ends_at_any_step(
    disk: Disk,
    leave: Callable[[Disk, int], None],
    most: int,
    expected: set[str],
    instance: Layout,
    busybox_archive: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What the engine would refuse beforehand is what is tried here.
    monkeypatch.setattr(disks, "check_room", lambda *_: None)
    async with native_engine(instance, busybox_archive) as engine:
        watcher = shell(engine, "watcher", "while :; do echo on; sleep 0.02; done", stop_signal="KILL")
        await run(engine, watcher)
        pid = engine.state(watcher.id).pid  # type: ignore[union-attr]
        outcomes = set()
        for left in range(most):
            before = names_in(instance)
            leave(disk, left)
            outcomes.add(await make(engine, left))
            state = engine.state(watcher.id)
            assert state is not None
            assert state.pid == pid
            await unmake(engine, left)
            assert names_in(instance) == before, f"{left} left"
            disk.free()
            disk.free_inodes()
        assert outcomes >= expected, outcomes
        await engine.stop(watcher.id, 0)


def names_in(layout: Layout) -> list[str]:
    """All that there is of containers, volumes, networks and sandboxes."""
    places = (
        layout.containers,
        layout.volumes,
        layout.networks,
        layout.run_containers,
        layout.run / "sandboxes",
    )
    return sorted(
        str(path.relative_to(place.parent)) for place in places if place.exists() for path in place.iterdir()
    )


async def make(engine: NativeEngine, number: int) -> str:
    """A network, a volume, a container that writes a line: the first verb that failed, or "made"."""
    sandbox = SandboxConfig("own", f"s{number}", (EndpointConfig(f"n{number}"),))
    verb = "network"
    try:
        await engine.create_network(NetworkConfig(f"n{number}"))
        verb = "volume"
        await engine.create_volume(VolumeConfig(f"v{number}"))
        verb = "create"
        mounts = (MountConfig("volume", "/data", f"v{number}"),)
        config = shell(engine, f"c{number}", "echo hello", sandbox=sandbox, mounts=mounts)
        await engine.create(config)
        verb = "start"
        await engine.start(config.id)
        assert (await ended(engine, config.id)).exit_code == 0
    except (Temporary, OSError) as error:
        found = error if isinstance(error, Temporary) else disks.explained("", "", error)
        assert found is not None, error
        assert "no space left" in str(found).lower(), found
        return verb
    return "made"


async def unmake(engine: NativeEngine, number: int) -> None:
    """Removals go well on the fullest disk."""
    await engine.delete(id_of(f"c{number}"))
    with contextlib.suppress(FileNotFoundError):
        await engine.delete_sandbox(f"s{number}")
    await engine.delete_volume(f"v{number}")
    await engine.delete_network(f"n{number}")
