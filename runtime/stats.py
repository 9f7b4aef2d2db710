"""A container's numbers from its control groups, v1 or v2. Reads only; called by the engine.

Files are read by name in each call: a container has a dozen, a few microseconds each. What a kernel or
a hierarchy does not count is 0.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping

from runtime.cgroup_limits import Hierarchies
from runtime.cgroups import hierarchies, list_pids
from runtime.model import InterfaceStats, Stats, StatsDetails

_NO_LIMIT = 1 << 62  # v1 says "no limit" with the largest multiple of a page
_TICKS = os.sysconf("SC_CLK_TCK")


def read_stats(
    id: str, path: str, network: tuple[int, int, int, int], least_io: tuple[int, int] = (0, 0)
) -> Stats:
    """path: the container's cgroup, with a leading slash. network: bytes received and sent, packets
    received and sent. least_io: bytes read and written as they were seen before, below which no counter
    falls."""
    found = hierarchies()
    is_v2 = "memory" in found.v2
    cpu = _cpu_v2(found, path) if "cpu" in found.v2 else _cpu_v1(found, path)
    memory = _memory_v2(found, path) if is_v2 else _memory_v1(found, path)
    pids, pids_limit = _pids(found, path)
    io_read, io_written = _io_v2(found, path) if "io" in found.v2 else _io_of_processes(path)
    return Stats(
        id=id,
        at=time.time(),
        cpu_seconds=cpu[0],
        cpu_user_seconds=cpu[1],
        cpu_system_seconds=cpu[2],
        throttled_seconds=cpu[3],
        memory_bytes=memory[0],
        memory_limit_bytes=memory[1],
        memory_cache_bytes=memory[2],
        oom_kills=memory[3],
        pids=pids,
        pids_limit=pids_limit,
        io_read_bytes=max(io_read, least_io[0]),
        io_write_bytes=max(io_written, least_io[1]),
        network_received_bytes=network[0],
        network_sent_bytes=network[1],
        network_received_packets=network[2],
        network_sent_packets=network[3],
    )


def read_details(path: str, interfaces: Mapping[str, InterfaceStats]) -> StatsDetails:
    """What `read_stats` leaves out. path: as there."""
    found = hierarchies()
    is_v2 = "memory" in found.v2
    memory = f"{found.unified}{path}" if is_v2 else _directory(found, "memory", path)
    cpu = f"{found.unified}{path}" if "cpu" in found.v2 else _directory(found, "cpu", path)
    periods = _keyed(f"{cpu}/cpu.stat") if cpu else {}
    each = _text(f"{_directory(found, 'cpuacct', path)}/cpuacct.usage_percpu").split()
    return StatsDetails(
        memory=_keyed(f"{memory}/memory.stat") if memory else {},
        memory_peak_bytes=None if is_v2 or not memory else _number(f"{memory}/memory.max_usage_in_bytes"),
        memory_failures=None if is_v2 or not memory else _number(f"{memory}/memory.failcnt"),
        cpu_periods=periods.get("nr_periods", 0),
        cpu_periods_throttled=periods.get("nr_throttled", 0),
        cpu_each_ns=tuple(int(word) for word in each if word.isdecimal()),
        devices=tuple(_devices(f"{found.unified}{path}/io.stat")) if "io" in found.v2 else (),
        interfaces=interfaces,
    )


def oom_kills(path: str) -> int:
    """Processes of a cgroup that were killed for want of memory."""
    found = hierarchies()
    if "memory" in found.v2:
        return _keyed(f"{found.unified}{path}/memory.events").get("oom_kill", 0)
    return _keyed(f"{_directory(found, 'memory', path)}/memory.oom_control").get("oom_kill", 0)


def _cpu_v2(found: Hierarchies, path: str) -> tuple[float, float, float, float]:
    values = _keyed(f"{found.unified}{path}/cpu.stat")
    names = ("usage_usec", "user_usec", "system_usec", "throttled_usec")
    total, user, system, throttled = (values.get(name, 0) / 1_000_000 for name in names)
    return total, user, system, throttled


def _cpu_v1(found: Hierarchies, path: str) -> tuple[float, float, float, float]:
    """cpuacct where the container has it; else the unified hierarchy, which counts cpu time even when
    it controls nothing."""
    directory = _directory(found, "cpuacct", path)
    total = _number(f"{directory}/cpuacct.usage") if directory else None
    if total is None:
        if found.unified:
            return _cpu_v2(found, path)
        return 0.0, 0.0, 0.0, 0.0
    values = _keyed(f"{directory}/cpuacct.stat")
    throttled = _keyed(f"{_directory(found, 'cpu', path)}/cpu.stat").get("throttled_time", 0)
    return (
        total / 1e9,
        values.get("user", 0) / _TICKS,
        values.get("system", 0) / _TICKS,
        throttled / 1e9,
    )


def _memory_v2(found: Hierarchies, path: str) -> tuple[int, int | None, int, int]:
    directory = f"{found.unified}{path}"
    return (
        _number(f"{directory}/memory.current") or 0,
        _number(f"{directory}/memory.max"),
        _keyed(f"{directory}/memory.stat").get("file", 0),
        oom_kills(path),
    )


def _memory_v1(found: Hierarchies, path: str) -> tuple[int, int | None, int, int]:
    directory = _directory(found, "memory", path)
    limit = _number(f"{directory}/memory.limit_in_bytes")
    return (
        _number(f"{directory}/memory.usage_in_bytes") or 0,
        None if limit is None or limit >= _NO_LIMIT else limit,
        _keyed(f"{directory}/memory.stat").get("total_cache", 0),
        oom_kills(path),
    )


def _pids(found: Hierarchies, path: str) -> tuple[int, int | None]:
    directory = f"{found.unified}{path}" if "pids" in found.v2 else _directory(found, "pids", path)
    return _number(f"{directory}/pids.current") or 0, _number(f"{directory}/pids.max")


def _io_v2(found: Hierarchies, path: str) -> tuple[int, int]:
    devices = list(_devices(f"{found.unified}{path}/io.stat"))
    return sum(each[2] for each in devices), sum(each[3] for each in devices)


def _devices(path: str) -> Iterator[tuple[int, int, int, int]]:
    """Lines of "major:minor rbytes=… wbytes=… …"."""
    for line in _text(path).splitlines():
        number, *pairs = line.split()
        values = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        major, _, minor = number.partition(":")
        if major.isdecimal() and minor.isdecimal():
            yield int(major), int(minor), int(values.get("rbytes", 0)), int(values.get("wbytes", 0))


def _io_of_processes(path: str) -> tuple[int, int]:
    """The sum of proc_pid_io(5), with what each process's reaped children did in its own.

    Rather than v1's blkio: that would be one more directory to make, join and remove for every container,
    and it counts what is written through the page cache, which is nearly all, for the host. What an exec
    did is lost with it; the caller keeps the counters from falling.
    """
    read = written = 0
    for pid in list_pids(path):
        values = _keyed(f"/proc/{pid}/io")
        read += values.get("read_bytes:", 0)
        written += values.get("write_bytes:", 0)
    return read, written


def _directory(found: Hierarchies, controller: str, path: str) -> str:
    return found.directory(controller, path) if controller in found.v1 else ""


def _number(path: str) -> int | None:
    """None for "max" and for a file that is not there."""
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _keyed(path: str) -> Mapping[str, int]:
    """Lines of "name number"."""
    words = _text(path).split()
    return {
        name: int(value) for name, value in zip(words[::2], words[1::2], strict=False) if value.isdecimal()
    }


def _text(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, 65536).decode("ascii", "replace")
    except OSError:
        return ""
    finally:
        os.close(fd)
