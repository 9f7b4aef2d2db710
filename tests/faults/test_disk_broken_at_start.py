"""The disk of the data is read-only or full before the agent starts: it starts, takes over what runs, says
what is wrong, stops what is to stop, and goes on storing by itself when the disk can be written again."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.layout import Layout
from tests.e2e.story import PROGRAM, Story, eventually, is_alive
from tests.faults.disks import Disk, small_disk

COMPOSE = """\
services:
  web:
    image: busybox:latest
    command: [sh, -c, "while :; do echo on; sleep 0.05; done"]
    stop_signal: SIGKILL
"""
WEB = "shop/container/web"


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
        done = subprocess.run(
            [PROGRAM, "down", "--yes"],
            env=story.environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert not done.returncode, done.stdout + done.stderr


def turn_read_only(disk: Disk) -> None:
    """As Debian mounts its disks (errors=remount-ro), and an error."""
    disk.remount("errors=remount-ro")
    device = subprocess.run(
        ["findmnt", "-no", "SOURCE", disk.point], capture_output=True, text=True, check=True
    ).stdout.strip()
    Path(f"/sys/fs/ext4/{Path(device).name}/trigger_fs_error").write_text("a test")


def fill_to_the_last_byte(disk: Disk) -> None:
    shutil.rmtree(disk.point / "ballast")
    disk.fill()


def agent_pid(story: Story) -> int:
    """By the socket: what is in the lock's file may be the one's before."""
    import json

    return int(json.loads(story.setpoint("version", "-o", "json"))["agent"]["pid"])


@pytest.mark.parametrize("how", ["stopped", "killed"])
@pytest.mark.parametrize(
    ("break_it", "reason"),
    [(turn_read_only, "DiskReadOnly"), (fill_to_the_last_byte, "DiskFull")],
    ids=["read-only", "full"],
)
def test_what_runs_is_taken_over(
    story: Story, disk: Disk, break_it: Callable[[Disk], None], reason: str, how: str
) -> None:
    story.apply({"shop/compose.yaml": COMPOSE})
    pid = story.pid(WEB)
    if how == "killed":
        story.kill(story.agent_pid())
        break_it(disk)
    else:
        story.setpoint("agent", "stop")
        break_it(disk)
    story.start_agent()
    assert story.pid(WEB) == pid
    alarm = eventually(lambda: [a for a in story.status()["alarms"] if a["reason"] == reason], "an alarm")
    assert str(disk.point) in alarm[0]["message"] and alarm[0]["hint"]
    assert "Running" in story.setpoint("status")
    assert "on" in story.setpoint("logs", "shop/web", "--tail", "5")
    assert WEB in story.setpoint("why", "shop/web")
    story.commit({"shop/compose.yaml": None})
    story.setpoint("sync")
    eventually(lambda: not is_alive(pid), "it is stopped")


def test_a_full_disk_that_has_room_again_is_stored_on(story: Story, disk: Disk) -> None:
    story.apply({"shop/compose.yaml": COMPOSE})
    story.setpoint("agent", "stop")
    fill_to_the_last_byte(disk)
    story.start_agent()
    eventually(lambda: story.status()["alarms"], "an alarm")
    disk.free()
    eventually(lambda: not story.status()["alarms"], "all is well")
    story.apply({"shop/compose.yaml": COMPOSE.replace("echo on", "echo more")})
    story.setpoint("agent", "stop")
    story.start_agent()
    assert "DiskWritable" in story.setpoint("events")
