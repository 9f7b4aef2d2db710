"""Control groups on the real kernel: made, limited, frozen, changed, drifted, removed."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from runtime import cgroups
from runtime.cgroup_limits import controllers, limit_writes
from runtime.drift import limits
from runtime.errors import Conflict, Invalid, Temporary
from tests.kernel.runtime.conftest import Box
from tests.native import PATIENCE_SECONDS


def test_a_second_create_meets_the_first(box: Box) -> None:
    resources = box.config["linux"]["resources"]
    assert cgroups.create(box.cgroup, resources) == cgroups.create(box.cgroup, resources)


def test_a_busy_cgroup_is_a_conflict(box: Box) -> None:
    box.start("sleep", "1000")
    with pytest.raises(Conflict):
        cgroups.create(box.cgroup, box.config["linux"]["resources"])


def test_only_what_is_needed_is_made(box: Box) -> None:
    resources = box.config["linux"]["resources"]
    cgroups.create(box.cgroup, resources)
    found = cgroups.hierarchies()
    wanted = {found.directory(name, box.cgroup) for name in controllers(resources, found)}
    assert set(cgroups.existing(box.cgroup)) == wanted


def test_a_limit_that_the_kernel_refuses_is_named(box: Box) -> None:
    with pytest.raises(Invalid, match=r"cpuset\.cpus = 9999"):
        cgroups.create(box.cgroup, {"cpu": {"cpus": "9999"}})


def test_update_and_drift(box: Box) -> None:
    box.start("sleep", "1000")
    changed = {"memory": {"limit": 1 << 29, "swap": 1 << 30}, "pids": {"limit": 7}, "cpu": {"cpus": "0"}}
    cgroups.update(box.cgroup, changed)
    assert cgroups.find_drift(box.cgroup, changed) == ()
    lowered = {"memory": {"limit": 1 << 26, "swap": 1 << 27}}
    cgroups.update(box.cgroup, lowered)
    assert cgroups.find_drift(box.cgroup, lowered) == ()
    found = cgroups.hierarchies()
    write = limit_writes({"pids": {"limit": 7}}, found)[0]
    Path(found.directory(write.controller, box.cgroup), write.file).write_text("5")
    assert cgroups.find_drift(box.cgroup, changed)[-1] == "pids.max: expected 7, found 5"


def test_a_late_cpuset_holds_what_runs_already(box: Box) -> None:
    launched = box.start("sleep", "1000")
    cgroups.update(box.cgroup, {"cpu": {"cpus": "0"}})
    assert os.sched_getaffinity(launched.pid) == {0}


def test_freeze_and_thaw(box: Box) -> None:
    launched = box.start("sh", "-c", "while :; do :; done")
    cgroups.freeze(box.cgroup)
    assert cgroups.is_frozen(box.cgroup)
    stat = Path(f"/proc/{launched.pid}/stat")
    before = stat.read_text().split()[13:15]
    assert stat.read_text().split()[13:15] == before
    cgroups.thaw(box.cgroup)
    assert not cgroups.is_frozen(box.cgroup)
    while stat.read_text().split()[13:15] == before:
        pass


def test_pids_are_limited(box: Box) -> None:
    box.config["linux"]["resources"]["pids"] = {"limit": 5}
    found = box.run("sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 5 & done; kill $(jobs -p)")
    assert "can't fork" in found.output


def test_memory_is_limited(box: Box) -> None:
    box.config["linux"]["resources"]["memory"] = {"limit": 8 << 20, "swap": 8 << 20}
    found = box.run("sh", "-c", "x=$(head -c 40000000 /dev/zero | tr '\\0' x); echo survived")
    assert "survived" not in found.output


def test_kill_ends_all_of_it(box: Box) -> None:
    launched = box.start("sh", "-c", "sleep 1000 & sleep 1001 & wait")
    cgroups.kill(box.cgroup)
    os.waitid(os.P_PIDFD, launched.pidfd, os.WEXITED)
    box.forget(launched)
    cgroups.delete(box.cgroup)
    assert cgroups.existing(box.cgroup) == ()
    assert cgroups.list_pids(box.cgroup) == ()


def test_delete_of_nothing_is_nothing(box: Box) -> None:
    cgroups.delete(f"{box.cgroup}-never-made")


def test_r35_a_delete_waits_for_who_is_still_dying(box: Box) -> None:
    launched = box.start("sleep", "1000")
    with pytest.raises(Temporary, match="still dying"):
        cgroups.delete(box.cgroup, timeout_seconds=0.05)
    killing = threading.Timer(0.2, cgroups.kill, [box.cgroup])
    killing.start()
    try:
        cgroups.delete(box.cgroup, timeout_seconds=PATIENCE_SECONDS)
    finally:
        killing.join()
        os.waitid(os.P_PIDFD, launched.pidfd, os.WEXITED)
        box.forget(launched)
    assert cgroups.existing(box.cgroup) == ()


def test_r35_what_an_earlier_life_left_is_made_anew_with_its_limits(box: Box) -> None:
    resources = {**box.config["linux"]["resources"], "pids": {"limit": 100}}
    for directory in cgroups.create(box.cgroup, resources):
        Path(directory, "left").mkdir()
    cgroups.update(box.cgroup, {"pids": {"limit": 7}})
    cgroups.create(box.cgroup, resources)
    assert cgroups.find_drift(box.cgroup, resources) == ()
    assert not [path for path in cgroups.existing(box.cgroup) if Path(path, "left").exists()]


def test_two_may_delete_at_once(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    for directory in cgroups.create(box.cgroup, box.config["linux"]["resources"]):
        Path(directory, "nested").mkdir()
    look = os.scandir

    def look_late(directory: str) -> object:
        for path in (Path(directory, "nested"), Path(directory)):
            path.rmdir()
        return look(directory)

    monkeypatch.setattr(os, "scandir", look_late)
    cgroups.delete(box.cgroup)
    assert cgroups.existing(box.cgroup) == ()


def disk() -> dict[str, int]:
    """A whole disk of this machine."""
    for path in sorted(Path("/sys/block").iterdir()):
        if int((path / "size").read_text()):
            major, _, minor = (path / "dev").read_text().strip().partition(":")
            return {"major": int(major), "minor": int(minor)}
    pytest.skip("no disk here")


def test_block_io_is_limited_by_disk_and_put_back(box: Box) -> None:
    found, one = cgroups.hierarchies(), disk()
    if "blkio" not in found.v1 and "io" not in found.v2:
        pytest.skip("no control group for block I/O here")
    throttles = {
        "throttleReadBpsDevice": [{**one, "rate": 1 << 20}],
        "throttleWriteIOPSDevice": [{**one, "rate": 100}],
    }
    box.config["linux"]["resources"]["blockIO"] = throttles
    box.start("sleep", "1000")
    assert cgroups.find_drift(box.cgroup, {"blockIO": throttles}) == ()
    write = limit_writes({"blockIO": throttles}, found)[0]
    file = Path(found.directory(write.controller, box.cgroup), write.file)
    assert str(1 << 20) in file.read_text()
    file.write_text(write.value.replace(str(1 << 20), "4096"))
    [told] = cgroups.find_drift(box.cgroup, {"blockIO": throttles})
    assert f"expected {write.value}" in told
    cgroups.update(box.cgroup, {"blockIO": throttles})
    assert cgroups.find_drift(box.cgroup, {"blockIO": throttles}) == ()
    cgroups.update(box.cgroup, {"blockIO": {name: [{**one, "rate": 0}] for name in throttles}})
    assert str(1 << 20) not in file.read_text()


def test_real_time_is_passed_down_to_a_group(box: Box) -> None:
    cpu = cgroups.hierarchies().v1.get("cpu", "")
    if not Path(cpu, "cpu.rt_runtime_us").exists():
        pytest.skip("no real-time groups here")
    asked = {"cpu": {"realtimePeriod": 500_000, "realtimeRuntime": 2000}}
    cgroups.create(box.cgroup, asked)
    assert Path(f"{cpu}{box.cgroup}/cpu.rt_runtime_us").read_text() == "2000\n"
    beside = f"{box.cgroup}-beside"
    try:
        cgroups.create(beside, {"cpu": {"realtimeRuntime": 3000}})
        cgroups.update(box.cgroup, {"cpu": {"realtimeRuntime": 1000}})
        assert Path(f"{cpu}{beside}/cpu.rt_runtime_us").read_text() == "3000\n"
        with pytest.raises(Invalid, match=r"cpu\.rt_runtime_us"):
            cgroups.update(box.cgroup, {"cpu": {"realtimePeriod": 500_000, "realtimeRuntime": 500_000}})
    finally:
        cgroups.delete(beside)


def test_two_rules_for_one_device_are_one_to_the_kernel(box: Box) -> None:
    if "devices" not in cgroups.hierarchies().v1:
        pytest.skip("rules cannot be read on cgroup v2")
    rules = box.config["linux"]["resources"]["devices"]
    rules += [
        {"allow": True, "type": "c", "major": 10, "minor": 229, "access": access} for access in ("r", "mw")
    ]
    box.start("sleep", "1000")
    wanted = limits.device_rules(rules)
    assert wanted is not None and "c 10:229 rwm" in wanted
    assert limits.find_devices(box.cgroup, wanted) == ()
