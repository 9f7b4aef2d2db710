"""Limits on cgroup v2, each by what it does to a process and not by its file alone, and changed while the
process runs. Skipped where the controllers are v1's, which have tests of their own beside these."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime import cgroups
from runtime.devices import DEFAULT_RULES, Rule, rules_to_oci
from tests.kernel.runtime.conftest import Box
from tests.native import PATIENCE_SECONDS

pytestmark = pytest.mark.skipif(
    bool(cgroups.hierarchies().v1) or not cgroups.hierarchies().unified,
    reason="the controllers of this host are not on cgroup v2",
)
MIB = 1 << 20
SPIN = ("sh", "-c", "while :; do :; done")


def read(box: Box, file: str) -> str:
    return Path(f"{cgroups.hierarchies().unified}{box.cgroup}/{file}").read_text()


def count(box: Box, file: str, name: str) -> int:
    """One counter of a file of "name number" lines."""
    return next(int(line.split()[1]) for line in read(box, file).splitlines() if line.split()[0] == name)


def until(condition: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)
    return found


def resources(box: Box, **changed: Any) -> dict[str, Any]:
    found: dict[str, Any] = box.config["linux"]["resources"]
    found.update(changed)
    return found


def share_of_cpu(box: Box, seconds: float) -> float:
    """How much of one processor it got."""
    used, began = count(box, "cpu.stat", "usage_usec"), time.monotonic()
    until(lambda: time.monotonic() - began >= seconds)
    return (count(box, "cpu.stat", "usage_usec") - used) / 1e6 / (time.monotonic() - began)


def test_memory_max_kills_is_counted_and_can_be_raised(box: Box) -> None:
    resources(box, memory={"limit": 16 * MIB, "swap": 16 * MIB})
    launched = box.start("sleep", "1000")
    fill = ("sh", "-c", "x=$(head -c 12000000 /dev/zero | tr '\\0' x); echo ${#x}")
    assert box.exec(launched, *fill).status == 137
    assert count(box, "memory.events", "oom_kill") >= 1
    assert read(box, "memory.swap.max") == "0\n"
    cgroups.update(box.cgroup, {"memory": {"limit": 256 * MIB, "swap": 256 * MIB}})
    assert box.exec(launched, *fill).output == "12000000\n"


def test_memory_high_slows_and_does_not_kill(box: Box) -> None:
    resources(box, unified={"memory.high": str(8 * MIB)})
    launched = box.start("sleep", "1000")
    fill = ("sh", "-c", "head -c 9437184 /dev/zero >/dev/shm/x && wc -c </dev/shm/x")
    assert box.exec(launched, *fill).output == "9437184\n"
    high = count(box, "memory.events", "high")
    assert high > 0
    assert count(box, "memory.events", "oom_kill") == 0
    cgroups.update(box.cgroup, {"unified": {"memory.high": "max"}})
    assert box.exec(launched, *fill).output == "9437184\n"
    assert count(box, "memory.events", "high") == high


def test_cpu_max_holds_back_and_can_be_lifted(box: Box) -> None:
    resources(box, cpu={"quota": 10_000, "period": 100_000})
    box.start(*SPIN)
    until(lambda: count(box, "cpu.stat", "nr_throttled") >= 3)
    assert share_of_cpu(box, 2) < 0.2
    cgroups.update(box.cgroup, {"cpu": {"quota": -1, "period": 100_000}})
    throttled = count(box, "cpu.stat", "nr_throttled")
    assert share_of_cpu(box, 2) > 0.3
    assert count(box, "cpu.stat", "nr_throttled") <= throttled + 1


def test_cpu_weight_shares_one_processor(box: Box, another: Box) -> None:
    """cpu.shares 1024 and 8192: weights 39 and 313, one to eight."""
    first, last = {"shares": 1024, "cpus": "0"}, {"shares": 8192, "cpus": "0"}
    resources(box, cpu=first)
    resources(another, cpu=last)
    box.start(*SPIN)
    another.start(*SPIN)
    assert read(box, "cpu.weight") == "39\n"
    assert ratio(another, box) > 3
    cgroups.update(box.cgroup, {"cpu": last})
    cgroups.update(another.cgroup, {"cpu": first})
    assert ratio(box, another) > 3


def ratio(more: Box, less: Box) -> float:
    """How many times as much processor time the one got, over three seconds."""
    before = [count(each, "cpu.stat", "usage_usec") for each in (more, less)]
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 3)
    after = [count(each, "cpu.stat", "usage_usec") for each in (more, less)]
    return (after[0] - before[0]) / max(after[1] - before[1], 1)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor only")
def test_cpuset_binds_and_moves_what_runs(box: Box) -> None:
    resources(box, cpu={"cpus": "0"})
    launched = box.start(*SPIN)
    assert os.sched_getaffinity(launched.pid) == {0}
    cgroups.update(box.cgroup, {"cpu": {"cpus": "1"}})
    assert os.sched_getaffinity(launched.pid) == {1}
    # The processor it ran on last (proc_pid_stat(5), field 39).
    stat = Path(f"/proc/{launched.pid}/stat")
    until(lambda: stat.read_text().rpartition(") ")[2].split()[36] == "1")


def test_pids_max_refuses_forks_is_counted_and_can_be_raised(box: Box) -> None:
    resources(box, pids={"limit": 4})
    launched = box.start("sleep", "1000")
    fork = ("sh", "-c", "for i in 1 2 3 4 5; do sleep 0.1 & done; wait; echo all")
    assert "can't fork" in box.exec(launched, *fork).output
    assert count(box, "pids.events", "max") >= 1
    cgroups.update(box.cgroup, {"pids": {"limit": 40}})
    assert box.exec(launched, *fork).output == "all\n"


def test_the_freezer_stops_all_that_runs_and_lets_it_go_on(box: Box) -> None:
    box.start("sh", "-c", "while :; do :; done & while :; do :; done")
    until(lambda: count(box, "cpu.stat", "usage_usec") > 0)
    cgroups.freeze(box.cgroup)
    assert count(box, "cgroup.events", "frozen") == 1
    assert share_of_cpu(box, 0.5) == 0
    cgroups.thaw(box.cgroup)
    assert count(box, "cgroup.events", "frozen") == 0
    used = count(box, "cpu.stat", "usage_usec")
    until(lambda: count(box, "cpu.stat", "usage_usec") > used)


def test_device_rules_stay_when_limits_change(box: Box) -> None:
    resources(box, devices=rules_to_oci([Rule(False), *DEFAULT_RULES]))
    launched = box.start("sleep", "1000")
    script = "rm -f /tmp/mem; mknod /tmp/mem c 1 1 && echo made; cat /tmp/mem; echo x >/dev/null && echo null"
    for _ in range(2):
        found = box.exec(launched, "sh", "-c", script).output.splitlines()
        assert found == ["made", "cat: can't open '/tmp/mem': Operation not permitted", "null"]
        cgroups.update(box.cgroup, {"pids": {"limit": 50}, "memory": {"limit": 64 * MIB}})


@pytest.fixture
def another(box: Box, tmp_path: Path) -> Iterator[Box]:
    """A second container beside `box`."""
    (tmp_path / "another").mkdir()
    made = Box(tmp_path / "another", box.layout, box.base)
    made.cgroup = f"{box.cgroup}-2"
    made.config["linux"]["cgroupsPath"] = made.cgroup
    yield made
    made.end()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[str]:
    """The path of a loop device of 16 MiB."""
    file = tmp_path / "disk"
    file.write_bytes(b"x" * (16 * MIB))
    command = ["losetup", "--find", "--show", str(file)]
    made = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    yield made
    subprocess.run(["losetup", "--detach", made], check=True)


@pytest.mark.parametrize(("key", "script"), [
    ("throttleReadBpsDevice", "dd if=/tmp/disk of=/dev/null bs=256k count=16 iflag=direct"),
    ("throttleWriteBpsDevice", "dd if=/dev/zero of=/tmp/disk bs=256k count=16 oflag=direct"),
])  # fmt: skip
def test_io_max_slows_a_disk_and_can_be_lifted(box: Box, disk: str, key: str, script: str) -> None:
    number = os.stat(disk).st_rdev
    device = {"major": os.major(number), "minor": os.minor(number)}
    allowed = Rule(True, "b", device["major"], device["minor"], "rw")
    resources(box, devices=rules_to_oci([Rule(False), *DEFAULT_RULES, allowed]))
    resources(box, blockIO={key: [{**device, "rate": MIB}]})
    launched = box.start("sleep", "1000")
    node = f"mknod /tmp/disk b {device['major']} {device['minor']}"
    assert box.exec(launched, "sh", "-c", node).status == 0

    def seconds() -> float:
        began = time.monotonic()
        done = box.exec(launched, "sh", "-c", f"{script} 2>&1")
        assert done.status == 0, done.output
        return time.monotonic() - began

    held = seconds()
    assert held > 3  # 4 MiB at 1 MiB a second
    cgroups.update(box.cgroup, {"blockIO": {key: [{**device, "rate": 1 << 40}]}})
    assert seconds() < held  # by all that it was held for, but for what the machine itself takes
