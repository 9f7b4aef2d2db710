"""The disk of the data turns read-only, as ext4 does on an error, or fails for good: an alarm, no lies, and
what runs goes on. A disk that can be written again ends the alarm by itself."""

from __future__ import annotations

import asyncio
import re
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.room import RoomWatch
from runtime.disk import BALLAST_FILES
from runtime.layout import Layout
from store.records import Key
from tests.e2e.story import PROGRAM, Story, eventually, is_alive
from tests.faults.disks import Disk, small_disk
from tests.faults.power import cut_power

COMPOSE = """\
services:
  web:
    image: busybox:latest
    command: [sh, -c, "while :; do echo on; sleep 0.05; done"]
    stop_signal: SIGKILL
"""


@pytest.fixture
def disk(instance: Layout, tmp_path: Path) -> Iterator[Disk]:
    with small_disk(instance.data, tmp_path / "disk.img") as disk:
        yield disk


@pytest.fixture
def story(disk: Disk, instance: Layout, tmp_path: Path, busybox_archive: Path) -> Iterator[Story]:
    story = Story(instance, tmp_path / "tree")
    story.tree.mkdir()
    story.git("init", "-q", "-b", "main")
    story.git("commit", "-q", "--allow-empty", "-m", "Begin")
    try:
        story.start_agent()
        story.setpoint("image", "load", busybox_archive)
        yield story
    finally:
        subprocess.run([PROGRAM, "down", "--yes"], env=story.environment, check=False, timeout=60)


def turn_read_only(disk: Disk) -> None:
    """As Debian mounts its disks (errors=remount-ro), and an error."""
    disk.remount("errors=remount-ro")
    device = subprocess.run(
        ["findmnt", "-no", "SOURCE", disk.point], capture_output=True, text=True, check=True
    ).stdout.strip()
    Path(f"/sys/fs/ext4/{Path(device).name}/trigger_fs_error").write_text("a test")


def die(disk: Disk) -> None:
    cut_power(disk.point)


@pytest.mark.parametrize(
    ("fail", "reason"), [(turn_read_only, "DiskReadOnly"), (die, "DiskFailing")], ids=["read-only", "dead"]
)
def test_what_runs_goes_on(story: Story, disk: Disk, fail: Callable[[Disk], None], reason: str) -> None:
    story.apply({"shop/compose.yaml": COMPOSE})
    pid, agent = story.pid("shop/container/web"), story.agent_pid()
    fail(disk)
    story.commit({"shop/compose.yaml": COMPOSE + COMPOSE.partition("\n")[2].replace("web", "new")})
    story.setpoint("sync")
    alarms = eventually(
        lambda: (a := {a["reason"]: a for a in story.status()["alarms"]}) and reason in a and a, "an alarm"
    )
    assert str(disk.point) in alarms[reason]["message"]
    assert alarms[reason]["hint"]
    # What was only seen is found not to reach the disk a moment after the wish was refused.
    text = eventually(
        lambda: "in memory alone" in (t := story.setpoint("status")) and t, "it says what is lost"
    )
    assert re.search(r"shop/container/web +1/1 +Running", text)
    new = eventually(lambda: (o := story.object("shop/container/new")) and o["message"] and o, "a sentence")
    assert not new["ready"]
    assert "hint" in new["message"]
    served = story.setpoint("version", "-o", "json")
    assert reason in metrics_of(served)
    story.setpoint("events")
    story.setpoint("logs", "shop/web", code=None)
    story.setpoint("why", "shop/web")
    assert is_alive(pid)
    assert is_alive(agent)
    # What runs can be ended, too.
    story.setpoint("suspend", "shop/web")
    story.setpoint("resume", "shop/web")
    story.commit({"shop/compose.yaml": None})
    story.setpoint("sync")
    eventually(lambda: not is_alive(pid), "it is stopped")


def metrics_of(version: str) -> str:
    import json

    with urllib.request.urlopen(
        f"http://{json.loads(version)['agent']['metrics']}/metrics", timeout=5
    ) as page:
        return str(page.read().decode())


class Works:
    def __init__(self) -> None:
        self.told: list[str] = []
        self.tries = 0

    def note(self, _key: Key, _type: str, reason: str, _message: str) -> None:
        self.told.append(reason)

    def try_failed_again(self) -> None:
        self.tries += 1


async def test_read_write_again(instance: Layout, disk: Disk) -> None:
    """By a look alone, in its turn: nobody has to ask."""
    works = Works()
    watch = RoomWatch(instance, works)
    task = asyncio.ensure_future(watch.run())
    try:
        ballast = disk.point / "ballast"
        await until(lambda: ballast.exists() and len(list(ballast.iterdir())) == BALLAST_FILES)
        await asyncio.to_thread(disk.turn_read_only)
        watch.look_soon()
        await until(lambda: watch.alarm is not None)
        disk.remount("rw")
        await until(lambda: watch.alarm is None)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert works.told == ["DiskReadOnly", "DiskWritable"]
    assert works.tries == 1
    assert len(list((disk.point / "ballast").iterdir())) == BALLAST_FILES


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0.01)
