"""Limits of a container as `(controller, file, value)` writes: pure, from OCI `linux.resources`.

The same resources give writes for cgroup v1, v2 or both (hybrid), by which hierarchy holds the
controller. `cgroups` applies them; `differences` compares what the kernel shows with what was
written. Standard library only; touches nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

from runtime.devices import parse_rules
from runtime.errors import Invalid, Unsupported
from runtime.typed import Any, NamedTuple

PAGE_BYTES = 4096
_CPU_TIME = ("shares", "quota", "period", "burst", "idle", "realtimePeriod", "realtimeRuntime")
DEFAULT_WEIGHT = 100  # of block I/O, both in bfq and in v2
MAX_PROCESSORS = 8192  # the kernel's NR_CPUS at most
RT_RUNTIME = "cpu.rt_runtime_us"


class Write(NamedTuple):
    """One write. controller "" is the unified (v2) directory, else a v1 hierarchy's name.

    optional: a kernel without this file is not an error.
    """

    controller: str
    file: str
    value: str
    optional: bool = False


class Hierarchies(NamedTuple):
    """The cgroup file systems of this host.

    v1: controller -> mount point. unified: the v2 mount point, "" when there is none.
    v2: the controllers that the unified hierarchy has.
    """

    v1: Mapping[str, str]
    unified: str
    v2: frozenset[str]

    def directory(self, controller: str, path: str) -> str:
        """The directory of a cgroup path in one hierarchy ("" is the unified one)."""
        return f"{self.v1[controller] if controller else self.unified}{path}"


def controllers(resources: Mapping[str, Any], hierarchies: Hierarchies) -> tuple[str, ...]:
    """In which hierarchies a container with these resources gets a directory ("" first: unified).

    Each one costs a directory and an attach, so only those that limit, count or stop something:
    with a unified hierarchy it gives cpu time, freezing and killing even without controllers. But a Java
    runtime, which sizes itself by its limits, looks at none of v1's unless it finds four hierarchies.
    """
    wanted = {"memory", "pids", "devices"}
    if resources.get("cpu"):
        cpu = resources["cpu"]
        if any(cpu.get(key) is not None for key in _CPU_TIME):
            wanted.add("cpu")
        if cpu.get("cpus") or cpu.get("mems"):
            wanted.add("cpuset")
    if wanted & {"cpu", "cpuset"} or (resources.get("memory") or {}).get("limit", -1) > 0:
        wanted |= {"cpu", "cpuacct", "cpuset"}
    if resources.get("blockIO"):
        wanted.add("blkio")
    if resources.get("hugepageLimits"):
        wanted.add("hugetlb")
    if not hierarchies.unified:
        wanted |= {"freezer", "cpuacct"}
    chosen = tuple(name for name in sorted(wanted) if name in hierarchies.v1)
    return ("", *chosen) if hierarchies.unified else chosen


def check(resources: Mapping[str, Any], hierarchies: Hierarchies) -> None:
    """`Unsupported` for limits that this host's control groups have not at all: none is passed over."""
    memory, cpu = resources.get("memory") or {}, resources.get("cpu") or {}
    is_realtime = cpu.get("realtimeRuntime") is not None or cpu.get("realtimePeriod") is not None
    for is_asked, controller, what in (
        (memory.get("swappiness") is not None, "memory", "a swappiness of its own"),
        (is_realtime, "cpu", "real-time scheduling of groups"),
    ):
        if is_asked and controller not in hierarchies.v1:
            raise Unsupported("limit", what, "cgroup v2 has none", "leave it out")
    if resources.get("blockIO") and "blkio" not in hierarchies.v1 and "io" not in hierarchies.v2:
        raise Unsupported("limit", "block I/O", "this host has no control group for it", "leave it out")


def limit_writes(resources: Mapping[str, Any], hierarchies: Hierarchies) -> tuple[Write, ...]:
    """All writes but devices, in the order in which a new cgroup takes them."""
    writes: list[Write] = []
    for controller, make_v1, make_v2 in _MAKERS:
        found = resources.get(controller)
        if found:
            writes += _of(make_v1, make_v2, found, hierarchies)
    for file, value in (resources.get("unified") or {}).items():
        if not hierarchies.unified:
            raise Unsupported("limit", file, "this host has no cgroup v2", "use the other limits")
        if "/" in file or file.startswith("cgroup."):
            raise Invalid("limit", file, "not a limit's file", "memory.high, for example")
        writes.append(Write("", file, value))
    return tuple(writes)


def _of(make_v1: Any, make_v2: Any, found: Any, hierarchies: Hierarchies) -> list[Write]:
    chosen: list[Write] = []
    for write in make_v2(found):
        if write.controller in hierarchies.v2:
            chosen.append(write._replace(controller=""))
    for write in make_v1(found):
        if write.controller in hierarchies.v1:
            chosen.append(write)
    return chosen


def device_writes(resources: Mapping[str, Any], hierarchies: Hierarchies) -> tuple[Write, ...]:
    """The device list for cgroup v1; empty where devices are not a v1 hierarchy."""
    if "devices" not in hierarchies.v1:
        return ()
    return _device_writes(tuple(tuple(rule.items()) for rule in resources.get("devices") or ()))


@functools.lru_cache(maxsize=32)
def _device_writes(rules: tuple[tuple[tuple[str, Any], ...], ...]) -> tuple[Write, ...]:
    """Most containers have the same."""
    return tuple(
        Write("devices", "devices.allow" if rule.allow else "devices.deny", str(rule))
        for rule in parse_rules(map(dict, rules))
    )


def _memory_v1(memory: Mapping[str, Any]) -> list[Write]:
    writes = []
    if memory.get("limit") is not None:
        writes.append(Write("memory", "memory.limit_in_bytes", str(memory["limit"])))
    if memory.get("swap") is not None:
        # Not there when the kernel does not account swap.
        writes.append(Write("memory", "memory.memsw.limit_in_bytes", str(memory["swap"]), True))
    if memory.get("reservation") is not None:
        writes.append(Write("memory", "memory.soft_limit_in_bytes", str(memory["reservation"])))
    if memory.get("swappiness") is not None:
        writes.append(Write("memory", "memory.swappiness", str(memory["swappiness"])))
    if memory.get("disableOOMKiller"):
        writes.append(Write("memory", "memory.oom_control", "1"))
    return writes


def _memory_v2(memory: Mapping[str, Any]) -> list[Write]:
    writes = []
    limit, swap = memory.get("limit"), memory.get("swap")
    if limit is not None:
        writes.append(Write("memory", "memory.max", _maximum(limit)))
    if swap is not None:
        only_swap = -1 if swap < 0 else max(swap - (limit or 0), 0)
        writes.append(Write("memory", "memory.swap.max", _maximum(only_swap), True))
    if memory.get("reservation") is not None:
        writes.append(Write("memory", "memory.low", _maximum(memory["reservation"])))
    return writes


def _maximum(value: int) -> str:
    return "max" if value < 0 else str(value)


def _cpu_v1(cpu: Mapping[str, Any]) -> list[Write]:
    writes = []
    if cpu.get("shares"):
        writes.append(Write("cpu", "cpu.shares", str(cpu["shares"])))
    if cpu.get("period"):
        writes.append(Write("cpu", "cpu.cfs_period_us", str(cpu["period"])))
    if cpu.get("quota"):
        writes.append(Write("cpu", "cpu.cfs_quota_us", str(cpu["quota"])))
    if cpu.get("realtimePeriod"):
        writes.append(Write("cpu", "cpu.rt_period_us", str(cpu["realtimePeriod"])))
    if cpu.get("realtimeRuntime") is not None:
        writes.append(Write("cpu", RT_RUNTIME, str(cpu["realtimeRuntime"])))
    return writes + _cpuset(cpu)


def _cpu_v2(cpu: Mapping[str, Any]) -> list[Write]:
    writes = []
    if cpu.get("shares"):
        writes.append(Write("cpu", "cpu.weight", str(cpu_weight(cpu["shares"]))))
    if cpu.get("quota") or cpu.get("period"):
        quota = cpu.get("quota") or -1
        writes.append(Write("cpu", "cpu.max", f"{_maximum(quota)} {cpu.get('period') or 100_000}"))
    if cpu.get("idle") is not None:
        writes.append(Write("cpu", "cpu.idle", str(cpu["idle"])))
    return writes + _cpuset(cpu)


def _cpuset(cpu: Mapping[str, Any]) -> list[Write]:
    return [Write("cpuset", f"cpuset.{key}", cpu[key]) for key in ("cpus", "mems") if cpu.get(key)]


def cpu_weight(shares: int) -> int:
    """cpu.shares (2 to 262144) as cpu.weight (1 to 10000), linearly, as the other engines do."""
    shares = min(max(shares, 2), 262_144)
    return 1 + (shares - 2) * 9999 // 262_142


def _pids(pids: Mapping[str, Any]) -> list[Write]:
    limit = pids.get("limit")
    return [Write("pids", "pids.max", _maximum(limit))] if limit else []


def _io_v1(block: Mapping[str, Any]) -> list[Write]:
    writes = []
    if block.get("weight") is not None:
        writes.append(Write("blkio", "blkio.bfq.weight", str(block["weight"] or DEFAULT_WEIGHT), True))
    for each in block.get("weightDevice") or ():
        value = f"{each['major']}:{each['minor']} {each['weight'] or 'default'}"
        writes.append(Write("blkio", "blkio.bfq.weight_device", value))
    for key, file in _THROTTLES_V1.items():
        for each in block.get(key) or ():
            writes.append(Write("blkio", file, f"{each['major']}:{each['minor']} {each['rate']}"))
    return writes


def _io_v2(block: Mapping[str, Any]) -> list[Write]:
    """Both of the weights that kernels may have: bfq's own counts where a disk has that scheduler."""
    writes = []
    if (weight := block.get("weight")) is not None:
        writes.append(Write("io", "io.bfq.weight", f"default {weight or DEFAULT_WEIGHT}", True))
        writes.append(Write("io", "io.weight", f"default {_io_weight(weight)}", True))
    for each in block.get("weightDevice") or ():
        value = _io_weight(each["weight"]) if each["weight"] else "default"
        writes.append(Write("io", "io.weight", f"{each['major']}:{each['minor']} {value}"))
    for key, word in _THROTTLES_V2.items():
        for each in block.get(key) or ():
            rate = each["rate"] or "max"
            writes.append(Write("io", "io.max", f"{each['major']}:{each['minor']} {word}={rate}"))
    return writes


def _io_weight(weight: int) -> int:
    """10 to 1000 as 1 to 10000, linearly, as the other engines do; 0 is the default."""
    return 1 + (weight - 10) * 9999 // 990 if weight else DEFAULT_WEIGHT


def _hugetlb_v1(limits: Iterable[Mapping[str, Any]]) -> list[Write]:
    return [
        Write("hugetlb", f"hugetlb.{each['pageSize']}.limit_in_bytes", str(each["limit"])) for each in limits
    ]


def _hugetlb_v2(limits: Iterable[Mapping[str, Any]]) -> list[Write]:
    return [Write("hugetlb", f"hugetlb.{each['pageSize']}.max", str(each["limit"])) for each in limits]


_THROTTLES_V1 = {
    "throttleReadBpsDevice": "blkio.throttle.read_bps_device",
    "throttleWriteBpsDevice": "blkio.throttle.write_bps_device",
    "throttleReadIOPSDevice": "blkio.throttle.read_iops_device",
    "throttleWriteIOPSDevice": "blkio.throttle.write_iops_device",
}
_THROTTLES_V2 = {
    "throttleReadBpsDevice": "rbps",
    "throttleWriteBpsDevice": "wbps",
    "throttleReadIOPSDevice": "riops",
    "throttleWriteIOPSDevice": "wiops",
}
_BY_DEVICE = frozenset((
    *_THROTTLES_V1.values(), "blkio.bfq.weight_device", "io.max", "io.weight", "io.bfq.weight",
))  # fmt: skip
_MAKERS = (
    ("memory", _memory_v1, _memory_v2),
    ("cpu", _cpu_v1, _cpu_v2),
    ("pids", _pids, _pids),
    ("blockIO", _io_v1, _io_v2),
    ("hugepageLimits", _hugetlb_v1, _hugetlb_v2),
)


def differs(write: Write, shown: str) -> bool:
    """Whether a file's content is not what the write would have left there."""
    if write.file in _BY_DEVICE:
        return _differs_by_device(write, shown)
    return _normal(write.file, write.value) != _normal(write.file, shown)


def _differs_by_device(write: Write, shown: str) -> bool:
    """A file with a line for each disk that has a limit (and one for all others): `8:0 rbps=max wbps=100`."""
    name, *wanted = write.value.split()
    lines = (line.split() for line in shown.splitlines())
    seen = next((words for first, *words in filter(None, lines) if first == name), [])
    if not seen:  # what has no limit is not shown
        return wanted[0].rpartition("=")[2] not in ("0", "default", "max")
    return not set(wanted) <= set(seen)


def _normal(file: str, value: str) -> str:
    """Byte limits are kept in whole pages, "no limit" has two spellings, and lists of processors are
    shown in the kernel's own; the rest is text."""
    value = value.strip()
    if file.startswith("cpuset."):
        return ",".join(map(str, sorted(_numbers(value))))
    if file == "memory.oom_control":
        return value.split("\n")[0].replace("oom_kill_disable ", "")
    if not file.startswith(("memory.", "hugetlb.")) or file == "memory.swappiness":
        return " ".join(value.split())
    if value == "max" or value.startswith("-"):
        return "max"
    if not value.isdigit():
        return value
    pages = int(value) // PAGE_BYTES
    return "max" if pages >= (1 << 63) // PAGE_BYTES - 1 else str(pages * PAGE_BYTES)


def _numbers(listed: str) -> set[int]:
    """`0-2,5` -> {0, 1, 2, 5}; empty for what is no such list."""
    found: set[int] = set()
    for part in listed.split(","):
        first, _, last = part.partition("-")
        if not (first.isdigit() and (last or first).isdigit()):
            return set()
        found.update(range(int(first), min(int(last or first), MAX_PROCESSORS) + 1))
    return found
