"""No byte or no inode left on the disk of the data: what runs goes on, what is asked is answered, what is to
go goes, what is new fails with a sentence, and work goes on by itself when there is room."""

from __future__ import annotations

import os
import re
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtime.disk import BALLAST_FILES
from runtime.layout import Layout
from store.reader import read_status
from tests.e2e.story import Story, eventually, is_alive
from tests.faults.disks import Disk, small_disk

FILE_SYSTEMS = Path("/proc/filesystems").read_text()
SERVICE = """\
  {name}:
    image: busybox:latest
    command: [{command}]
    stop_signal: SIGKILL
"""
TALK = 'sh, -c, "n=0; while :; do n=$$((n+1)); echo line $$n; sleep 0.01; done"'
SLEEP = 'sleep, "1000"'
TALKER = "services:\n" + SERVICE.format(name="talker", command=TALK)
GOING = SERVICE.format(name="going", command=SLEEP)
NEW = SERVICE.format(name="new", command=SLEEP) + "    volumes: [data:/data]\nvolumes:\n  data: {}\n"


@pytest.fixture
def disk(request: pytest.FixtureRequest, instance: Layout, tmp_path: Path) -> Iterator[Disk]:
    kind = getattr(request, "param", "")
    needed = {"xfs": "xfs", "quota": "btrfs"}.get(kind)
    if needed and (f"\t{needed}\n" not in FILE_SYSTEMS or not shutil.which(f"mkfs.{needed}")):
        pytest.skip(f"this host has no {needed}")
    file, inodes = tmp_path / "disk.img", 1200 if kind == "inodes" else 0
    with small_disk(instance.data, file, 320 if needed else 256, inodes, kind) as disk:
        yield disk


@pytest.fixture
def story(disk: Disk, instance: Layout, tmp_path: Path, busybox_archive: Path) -> Iterator[Story]:
    """An agent whose data are on the small disk, and whose manifests are elsewhere."""
    story = Story(instance, tmp_path / "tree")
    story.tree.mkdir()
    story.git("init", "-q", "-b", "main")
    story.git("commit", "-q", "--allow-empty", "-m", "Begin")
    try:
        story.start_agent()
        story.setpoint("image", "load", busybox_archive)
        yield story
    finally:
        story.take_down(is_whole=False)


def extra_image(story: Story, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(100_000))
    with tarfile.open(tmp_path / "extra.tar", "w") as archive:
        archive.add(tmp_path / "file", "file")
    story.setpoint("image", "import", tmp_path / "extra.tar", "lab/extra:1")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def lines_of(story: Story) -> list[int]:
    found = re.findall(r"line (\d+)", story.setpoint("logs", "shop/talker"))
    return [int(number) for number in found]


def has_gap(lines: list[int]) -> bool:
    return lines != list(range(lines[0], lines[0] + len(lines)))


def fill_bytes(disk: Disk) -> None:
    disk.fill()


def fill_bytes_and_ballast(disk: Disk) -> None:
    shutil.rmtree(disk.point / "ballast")
    disk.fill()


def fill_inodes(disk: Disk) -> None:
    disk.fill_inodes()


@pytest.mark.parametrize(
    ("disk", "fill"),
    [("", fill_bytes), ("", fill_bytes_and_ballast), ("inodes", fill_inodes), ("xfs", fill_bytes)],
    indirect=["disk"],
    ids=["bytes", "bytes and ballast", "inodes", "xfs"],
)  # fmt: skip
def test_nothing_left(story: Story, disk: Disk, fill: Callable[[Disk], None], tmp_path: Path) -> None:
    story.apply({"shop/compose.yaml": TALKER + GOING})
    extra_image(story, tmp_path)
    talker, going = story.pid("shop/container/talker"), story.pid("shop/container/going")
    before = {path.name for path in (disk.point / "containers").iterdir()}
    eventually(lambda: len(list((disk.point / "ballast").iterdir())) == BALLAST_FILES, "a ballast")
    fill(disk)

    # What is new waits, with a sentence, and leaves nothing half-made.
    story.commit({"shop/compose.yaml": TALKER + GOING + NEW})
    story.setpoint("sync")
    alarm = eventually(
        lambda: [a for a in story.status()["alarms"] if a["reason"] == "DiskFull"], "an alarm"
    )[0]
    assert " full (" in alarm["message"] and alarm["hint"]
    volume = eventually(
        lambda: (o := story.object("shop/volume/data")) and o["message"] and o, "the volume's message"
    )
    full = r"no space left on the disk of \S+ \(.* free.*\) \(hint: make room"
    assert re.search(full, volume["message"]), volume["message"]
    assert [c["status"] for c in volume["conditions"] if c["type"] == "Ready"] == ["False"]
    assert {path.name for path in (disk.point / "containers").iterdir()} == before
    assert list((disk.point / "volumes").iterdir()) == []

    # What is asked is answered.
    assert "is full (" in story.setpoint("status") and "hint: delete" in story.setpoint("status")
    assert "DiskFull" in story.setpoint("events")
    assert "shop/compose.yaml" in story.setpoint("why", "shop/talker")
    assert story.setpoint("exec", "shop/talker", "echo", "hello") == "hello\n"
    assert "is full" in story.setpoint("doctor", code=None)
    story.setpoint("image", "rm", "lab/extra:1")
    assert "lab/extra" not in story.setpoint("image", "ls")

    # What is to go goes.
    fill_bytes(disk)
    story.commit({"shop/compose.yaml": TALKER + NEW})
    story.setpoint("sync")
    eventually(lambda: story.object("shop/container/going") is None, "what is to go is gone")
    assert not is_alive(going)
    assert len({path.name for path in (disk.point / "containers").iterdir()} & before) == 1

    # Nobody spins, and nobody waits for the disk.
    agent = story.agent_pid()
    supervisor = int(Path(f"/proc/{talker}/stat").read_text().rpartition(")")[2].split()[1])
    spent, at = cpu_seconds(agent) + cpu_seconds(supervisor), time.monotonic()
    lines = lines_of(story)
    eventually(lambda: time.monotonic() > at + 2, "two seconds")
    spent = cpu_seconds(agent) + cpu_seconds(supervisor) - spent
    assert spent < 0.5 * (time.monotonic() - at)  # who spins takes all that there is
    assert is_alive(talker)

    # Work goes on by itself.
    disk.free()
    disk.free_inodes()
    eventually(lambda: (o := story.object("shop/container/new")) and o["ready"], "it runs at last")
    eventually(lambda: not [a for a in story.status()["alarms"] if a["reason"] == "DiskFull"], "no alarm")
    assert len(list((disk.point / "ballast").iterdir())) == BALLAST_FILES
    assert story.pid("shop/container/talker") == talker
    eventually(lambda: lines_of(story)[-1] > lines[-1], "its output is kept again")
    # Without inodes a file that is there takes more bytes; XFS allocates ahead for one that grows.
    if fill is not fill_inodes and not disk.is_xfs() and has_gap(lines_of(story)):
        assert "bytes of output lost: the disk was full" in story.setpoint("logs", "shop/talker") + story.said
    stored = read_status(story.layout.database)
    assert stored is not None
    assert {str(key): status.ready for key, status in stored.statuses.items()} == {
        o["key"]: True for o in story.status()["objects"]
    }
    reasons = [line.split()[3] for line in story.setpoint("events").splitlines()[1:]]
    assert 1 <= reasons.count("CreateVolumeFailed") <= 5  # once for each sync, and no flood
    assert reasons.index("DiskFull") < reasons.index("DiskWritable")


@pytest.mark.parametrize("disk", ["quota"], indirect=True)
def test_a_quota_that_is_used_up(story: Story, disk: Disk, tmp_path: Path) -> None:
    """The file system tells that there is room, and gives none (EDQUOT). How much it gives to names and small
    files is its own business: what needs bytes is refused."""
    story.apply({"shop/compose.yaml": TALKER + GOING})
    talker, going = story.pid("shop/container/talker"), story.pid("shop/container/going")
    eventually(lambda: len(list((disk.point / "ballast").iterdir())) == BALLAST_FILES, "a ballast")
    fill_bytes(disk)
    assert disk.free_bytes() > 64 << 20
    (tmp_path / "file").write_bytes(os.urandom(1_000_000))
    with tarfile.open(tmp_path / "extra.tar", "w") as archive:
        archive.add(tmp_path / "file", "file")
    story.setpoint("image", "import", tmp_path / "extra.tar", "lab/extra:1", code=1)
    assert "quota" in story.said and "hint: " in story.said

    # The store has to be written, and is refused: that is said, and what is to go goes.
    story.commit({"shop/compose.yaml": TALKER})
    story.setpoint("sync")
    eventually(lambda: story.object("shop/container/going") is None, "what is to go is gone")
    assert not is_alive(going)
    alarms = eventually(
        lambda: [a for a in story.status()["alarms"] if a["reason"] == "DiskFull"], "an alarm"
    )
    assert "quota" in alarms[0]["message"]
    assert story.pid("shop/container/talker") == talker
    assert story.setpoint("exec", "shop/talker", "echo", "hello") == "hello\n"

    # Work goes on by itself.
    disk.free()
    story.commit({"shop/compose.yaml": TALKER + NEW})
    eventually(lambda: (o := story.object("shop/container/new")) and o["ready"], "it runs")
    eventually(lambda: not [a for a in story.status()["alarms"] if a["reason"] == "DiskFull"], "no alarm")
    story.setpoint("image", "import", tmp_path / "extra.tar", "lab/extra:1")
    assert story.pid("shop/container/talker") == talker
