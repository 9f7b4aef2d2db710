"""Limits as writes, for cgroup v1, v2 and hybrid, and the comparison with what a kernel shows."""

from __future__ import annotations

import pytest

from runtime.cgroup_limits import (
    Hierarchies,
    Write,
    check,
    controllers,
    cpu_weight,
    device_writes,
    differs,
    limit_writes,
)
from runtime.cgroups import check_path, parse_mountinfo
from runtime.errors import Invalid, Unsupported

NAMES = ("blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids")
V1 = Hierarchies({name: f"/cg/{name}" for name in NAMES}, "", frozenset())
V2 = Hierarchies({}, "/cg", frozenset(["cpu", "cpuset", "io", "memory", "pids"]))
HYBRID = Hierarchies(V1.v1, "/cg/unified", frozenset())

RESOURCES = {
    "memory": {"limit": 1 << 20, "swap": 2 << 20, "reservation": 4096},
    "cpu": {"quota": 150_000, "period": 100_000, "shares": 512, "cpus": "0-1"},
    "pids": {"limit": 10},
    "blockIO": {"weight": 500},
    "devices": [{"allow": False}, {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"}],
}


def as_text(writes: tuple[Write, ...]) -> list[str]:
    return [f"{write.controller}:{write.file}={write.value}" for write in writes]


def test_v1() -> None:
    assert as_text(limit_writes(RESOURCES, V1)) == [
        "memory:memory.limit_in_bytes=1048576",
        "memory:memory.memsw.limit_in_bytes=2097152",
        "memory:memory.soft_limit_in_bytes=4096",
        "cpu:cpu.shares=512",
        "cpu:cpu.cfs_period_us=100000",
        "cpu:cpu.cfs_quota_us=150000",
        "cpuset:cpuset.cpus=0-1",
        "pids:pids.max=10",
        "blkio:blkio.bfq.weight=500",
    ]
    assert as_text(device_writes(RESOURCES, V1)) == [
        "devices:devices.deny=a",
        "devices:devices.allow=c 1:3 rw",
    ]


def test_v2() -> None:
    assert as_text(limit_writes(RESOURCES, V2)) == [
        ":memory.max=1048576",
        ":memory.swap.max=1048576",
        ":memory.low=4096",
        ":cpu.weight=20",
        ":cpu.max=150000 100000",
        ":cpuset.cpus=0-1",
        ":pids.max=10",
        ":io.bfq.weight=default 500",
        ":io.weight=default 4950",
    ]
    assert device_writes(RESOURCES, V2) == ()


def test_no_limit_has_two_spellings() -> None:
    unlimited = {
        "memory": {"limit": -1, "swap": -1},
        "pids": {"limit": -1},
        "cpu": {"quota": -1, "period": 50_000},
    }
    assert as_text(limit_writes(unlimited, V2)) == [
        ":memory.max=max", ":memory.swap.max=max", ":cpu.max=max 50000", ":pids.max=max",
    ]  # fmt: skip
    assert as_text(limit_writes(unlimited, V1))[:2] == [
        "memory:memory.limit_in_bytes=-1", "memory:memory.memsw.limit_in_bytes=-1",
    ]  # fmt: skip


def test_only_directories_that_do_something_are_made() -> None:
    assert controllers({}, HYBRID) == ("", "devices", "memory", "pids")
    assert controllers({}, V1) == ("cpuacct", "devices", "freezer", "memory", "pids")
    assert controllers({"memory": {"limit": -1}}, HYBRID) == controllers({}, HYBRID)
    for_java = ("", "cpu", "cpuacct", "cpuset", "devices", "memory", "pids")
    assert controllers({"memory": {"limit": 1 << 28}}, HYBRID) == for_java
    assert (
        controllers({"cpu": {"cpus": "0"}}, HYBRID) == controllers({"cpu": {"quota": 1}}, HYBRID) == for_java
    )
    assert controllers(RESOURCES, HYBRID) == ("", "blkio", *for_java[1:])
    assert controllers(RESOURCES, V2) == ("",)


@pytest.mark.parametrize(
    ("shares", "weight"), [(2, 1), (1024, 39), (262_144, 10_000), (1, 1), (10**9, 10_000)]
)
def test_shares_as_weight(shares: int, weight: int) -> None:
    assert cpu_weight(shares) == weight


@pytest.mark.parametrize(
    ("file", "written", "shown", "drifted"),
    [
        ("memory.limit_in_bytes", "1048577", "1048576\n", False),  # whole pages
        ("memory.limit_in_bytes", "-1", "9223372036854771712\n", False),
        ("memory.limit_in_bytes", "1048576", "9223372036854771712\n", True),
        ("memory.max", "max", "max\n", False),
        ("pids.max", "10", "10\n", False),
        ("pids.max", "10", "max\n", True),
        ("cpu.max", "150000 100000", "150000 100000\n", False),
        ("cpu.max", "150000 100000", "max 100000\n", True),
        ("cpuset.cpus", "0,1,2,5", "0-2,5\n", False),
        ("cpuset.cpus", "0-1", "0\n", True),
        ("cpuset.cpus", "0", "\n", True),
        ("memory.oom_control", "1", "oom_kill_disable 1\nunder_oom 0\noom_kill 0\n", False),
        ("memory.oom_control", "1", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", True),
    ],
)
def test_drift(file: str, written: str, shown: str, drifted: bool) -> None:
    assert differs(Write("", file, written), shown) is drifted


def test_a_unified_limit_is_a_file_of_the_cgroup_and_nothing_else() -> None:
    assert as_text(limit_writes({"unified": {"memory.high": "1000"}}, V2)) == [":memory.high=1000"]
    for file in ("../memory.max", "cgroup.procs", "a/b"):
        with pytest.raises(Invalid):
            limit_writes({"unified": {file: "1"}}, V2)


@pytest.mark.parametrize(
    "path", ["", "/", "..", "/a/../b", "/../../victim", ".", "/a/.", "/cgroup.procs", "/a/" + "x" * 256]
)
def test_a_path_that_climbs_is_refused(path: str) -> None:
    with pytest.raises(Invalid):
        check_path(path)


def test_paths_are_made_absolute() -> None:
    assert check_path("setpoint//web") == "/setpoint/web"


def test_mountinfo() -> None:
    text = (
        "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
        "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "33 31 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
        "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n"
    )
    found = parse_mountinfo(text)
    assert found.v1 == {"cpu": "/sys/fs/cgroup/cpu,cpuacct", "cpuacct": "/sys/fs/cgroup/cpu,cpuacct"}
    assert found.unified == "/sys/fs/cgroup/unified"


DISK = {"major": 8, "minor": 0}
BLOCK = {
    "weightDevice": [{**DISK, "weight": 10}, {**DISK, "weight": 0}],
    "throttleReadBpsDevice": [{**DISK, "rate": 5}],
    "throttleWriteIOPSDevice": [{**DISK, "rate": 0}],
}


def test_block_io_by_disk() -> None:
    assert as_text(limit_writes({"blockIO": BLOCK}, V1)) == [
        "blkio:blkio.bfq.weight_device=8:0 10",
        "blkio:blkio.bfq.weight_device=8:0 default",
        "blkio:blkio.throttle.read_bps_device=8:0 5",
        "blkio:blkio.throttle.write_iops_device=8:0 0",
    ]
    assert as_text(limit_writes({"blockIO": BLOCK}, V2)) == [
        ":io.weight=8:0 1", ":io.weight=8:0 default", ":io.max=8:0 rbps=5", ":io.max=8:0 wiops=max",
    ]  # fmt: skip
    assert as_text(limit_writes({"blockIO": {"weight": 0}}, V1)) == ["blkio:blkio.bfq.weight=100"]
    assert as_text(limit_writes({"blockIO": {"weight": 0}}, V2))[-1] == ":io.weight=default 100"


@pytest.mark.parametrize(
    ("file", "value", "shown", "is_other"),
    [
        ("io.max", "8:0 rbps=5", "8:0 rbps=5 wbps=max riops=max wiops=max\n", False),
        ("io.max", "8:0 rbps=5", "8:1 rbps=5\n8:0 rbps=6 wbps=5\n", True),
        ("io.max", "8:0 rbps=5", "", True),
        ("io.max", "8:0 rbps=max", "", False),
        ("io.weight", "default 50", "default 50\n8:0 7\n", False),
        ("io.weight", "8:0 50", "default 50\n", True),
        ("blkio.throttle.read_bps_device", "8:0 5", "8:16 5\n8:0 5\n", False),
        ("blkio.throttle.read_bps_device", "8:0 0", "", False),
        ("blkio.throttle.read_bps_device", "8:0 5", "", True),
    ],
)
def test_a_line_for_each_disk(file: str, value: str, shown: str, is_other: bool) -> None:
    assert differs(Write("", file, value), shown) is is_other


def test_real_time_and_what_no_control_group_has() -> None:
    cpu = {"cpu": {"realtimePeriod": 1000, "realtimeRuntime": 0}}
    assert as_text(limit_writes(cpu, V1)) == ["cpu:cpu.rt_period_us=1000", "cpu:cpu.rt_runtime_us=0"]
    assert "cpu" in controllers(cpu, V1)
    swappiness = {"memory": {"swappiness": 5}}
    assert as_text(limit_writes(swappiness, V1)) == ["memory:memory.swappiness=5"]
    for resources in (cpu, swappiness, {"blockIO": BLOCK}):
        check(resources, V1)
    for resources in (cpu, swappiness):
        with pytest.raises(Unsupported, match="cgroup v2 has none"):
            check(resources, V2)
    with pytest.raises(Unsupported, match="block I/O"):
        check({"blockIO": BLOCK}, Hierarchies({}, "/cg", frozenset(["cpu"])))
