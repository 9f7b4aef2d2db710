"""Control groups on the real kernel: made, limited, frozen, changed, drifted, removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime import cgroups
from runtime.cgroup_limits import controllers, limit_writes
from runtime.errors import Conflict, Invalid
from tests.kernel.runtime.conftest import Box


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
