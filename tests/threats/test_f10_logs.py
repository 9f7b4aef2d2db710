"""F10: output that floods the disk, and links in place of a log (CVE-2026-53489)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.engine import NativeEngine
from runtime.model import ContainerConfig
from tests.native import PATIENCE_SECONDS, ended, output, records, run, shell, until

# In all; the bounds are 30 MiB unless a manifest says otherwise. A minute of 1 GB/s: 60000000000.
FLOOD_BYTES = int(os.environ.get("SETPOINT_FLOOD_BYTES", 40_000_000))
OTHERS_BYTES = 512 * 1024  # a chunk of each stream on its way, and the records of a container
SECRET = "not for a log's reader"


def disk_bytes(engine: NativeEngine, id: str) -> int:
    """What the directories of a container take, its spools and rotated logs included."""
    tops = (engine.layout.containers / id, engine.layout.run_containers / id)
    found = 0
    for directory, _, names in (entry for top in tops for entry in os.walk(top)):
        for name in names:
            try:
                found += os.lstat(os.path.join(directory, name)).st_blocks * 512
            except FileNotFoundError:  # rotated meanwhile
                continue
    return found


async def most_while_it_writes(engine: NativeEngine, config: ContainerConfig) -> int:
    """The most that it took of the disk, above what it took before it wrote, until it had written all."""
    done = engine.layout.containers / config.id / "upper/done"
    await engine.create(config)
    before, most = disk_bytes(engine, config.id), 0
    await engine.start(config.id)

    def is_done() -> bool:
        nonlocal most
        most = max(most, disk_bytes(engine, config.id) - before)
        return done.exists()

    # The bytes are what is waited for, however long this machine takes for them.
    await until(is_done, seconds=PATIENCE_SECONDS + FLOOD_BYTES / 1_000_000)
    return max(most, disk_bytes(engine, config.id) - before)


async def test_f10_a_flood_has_bounds_that_nobody_asked_for_and_holds_nobody_up(engine: NativeEngine) -> None:
    """That it writes to its end is the other half: who keeps the log may not keep the container waiting."""
    script = f"yes a line of a flood that nobody reads | head -c {FLOOD_BYTES}; touch /done; sleep 1000"
    config = shell(engine, "box", script)
    most = await most_while_it_writes(engine, config)
    bound = config.log_max_bytes * config.log_max_files
    assert bound < FLOOD_BYTES  # and each line has as much of a stamp before it
    assert bound / 4 < most < bound + OTHERS_BYTES


@pytest.mark.parametrize("line", ["''", '"$(head -c 50000 /dev/zero | tr "\\0" x)"'], ids=["empty", "long"])
async def test_f10_lines_that_cost_more_than_they_bring_have_the_same_bounds(
    engine: NativeEngine, line: str
) -> None:
    """A stamp and a stream's name before each: forty bytes for one."""
    script = f"yes {line} | head -c 2000000; touch /done; sleep 1000"
    config = shell(engine, "box", script, log_max_bytes=65536, log_max_files=2)
    assert await most_while_it_writes(engine, config) < 2 * 65536 + OTHERS_BYTES


async def test_f10_a_link_in_place_of_a_log_is_not_written_through(
    engine: NativeEngine, canary: Path
) -> None:
    config = shell(engine, "box", "echo harm; echo harm >&2; sleep 0.1; echo harm", log_max_bytes=4096)
    await engine.create(config)
    directory = engine.log_directory(config.id)
    directory.mkdir(mode=0o700, exist_ok=True)
    (directory / "log").symlink_to(canary / "marker")
    await engine.start(config.id)
    assert (await ended(engine, config.id)).exit_code == 0
    (directory / "log").unlink()
    await engine.start(config.id)  # and it is not held against whoever comes afterwards
    await ended(engine, config.id)
    assert b"harm" in output(engine, config.id)


async def test_f10_a_link_beside_a_log_is_not_read(engine: NativeEngine, tmp_path: Path) -> None:
    config = shell(engine, "box", "echo said")
    await run(engine, config)
    await ended(engine, config.id)
    secret = tmp_path / "secret"
    secret.write_text(f"2026-07-24T10:00:00.123456789Z stdout F {SECRET}\n")
    (engine.log_directory(config.id) / "log.1").symlink_to(secret)
    assert [record.text for record in records(engine, config.id)] == [b"said"]


async def test_f10_logs_are_for_root_alone(engine: NativeEngine) -> None:
    config = shell(engine, "box", "echo said")
    await run(engine, config)
    await ended(engine, config.id)
    directory = engine.log_directory(config.id)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "log").stat().st_mode & 0o777 == 0o600
