"""R27: mounts that are busy. Containers hold nothing of the host, so that a disk can be unmounted beside
them; and who holds something of a container does not keep it from going."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from runtime.engine import NativeEngine
from runtime.model import EndpointConfig, MountConfig, NetworkConfig, SandboxConfig, Security
from tests.faults.disks import Disk, small_disk
from tests.native import PATIENCE_SECONDS, config_of, ended, run, until


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Of the host, and none of the engine's business."""
    with small_disk(tmp_path / "disk", tmp_path / "disk.img", 16) as disk:
        (disk.point / "file").write_text("x")
        yield disk


def loop_devices(file: Path) -> str:
    return subprocess.run(["losetup", "-j", file], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("security", [Security(), Security(privileged=True)], ids=["plain", "privileged"])
async def test_r27_a_disk_of_the_host_is_not_held(
    engine: NativeEngine, disk: Disk, tmp_path: Path, security: Security
) -> None:
    config = config_of(engine, "one", "sleep", "1000", security=security)
    await run(engine, config)
    assert (await engine.exec(config.id, ["true"], timeout_seconds=PATIENCE_SECONDS)).exit_code == 0
    mounts = Path(f"/proc/{engine._index.pid_of(config.id)}/mountinfo").read_text()
    assert str(disk.point) not in mounts
    subprocess.run(["umount", disk.point], check=True)  # and not lazily
    await until(lambda: not loop_devices(tmp_path / "disk.img"))


async def test_r27_a_disk_that_was_bound_is_free_once_the_container_ended(
    engine: NativeEngine, disk: Disk, tmp_path: Path
) -> None:
    config = config_of(engine, "one", "cat", "/x/file", mounts=(MountConfig("bind", "/x", str(disk.point)),))
    await run(engine, config)
    assert (await ended(engine, config.id)).exit_code == 0
    subprocess.run(["umount", disk.point], check=True)
    await until(lambda: not loop_devices(tmp_path / "disk.img"))


async def test_r27_who_holds_its_namespaces_and_files_does_not_keep_it(engine: NativeEngine) -> None:
    """A shell that somebody has in there: in its mounts, its network, its root for a working directory."""
    await engine.create_network(NetworkConfig("net"))
    sandbox = SandboxConfig("own", "s-one", (EndpointConfig("net"),))
    config = config_of(engine, "one", "sleep", "1000", sandbox=sandbox)
    await run(engine, config)
    pid = engine._index.pid_of(config.id)
    bundle, netns = engine.layout.containers / config.id, engine.layout.netns / "s-one"
    inside = subprocess.Popen(
        ["nsenter", f"--target={pid}", "--mount", "--net", "--root", "--wd", "sleep", "1000"]
    )
    held = [os.open(f"/proc/{pid}/root", os.O_RDONLY | os.O_DIRECTORY), os.open(netns, os.O_RDONLY)]
    try:
        await until(lambda: os.readlink(f"/proc/{inside.pid}/ns/mnt") == os.readlink(f"/proc/{pid}/ns/mnt"))
        began = time.monotonic()
        await engine.stop(config.id, 0)
        await engine.delete(config.id)
        await engine.delete_sandbox("s-one")
        await engine.delete_network("net")
        assert time.monotonic() - began < PATIENCE_SECONDS
        assert inside.poll() is None
        assert not bundle.exists() and not netns.exists()
        assert engine.list() == () and engine.list_sandboxes() == ()
    finally:
        inside.kill()
        inside.wait()
        for descriptor in held:
            with suppress(OSError):
                os.close(descriptor)
