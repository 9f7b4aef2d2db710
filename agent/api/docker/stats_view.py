"""What containers use, as the Docker Engine API tells it: definition ContainerStatsResponse. Pure.

    Sample now, Sample before ─> stats_view ─> what `docker stats` computes its columns from

Processor time is in nanoseconds. What a kernel or a hierarchy does not count is left out, as dockerd does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from agent.api.docker.stamps import NEVER, rfc3339
from runtime.model import InterfaceStats, Stats, StatsDetails

_NO_BLKIO = (
    "io_serviced_recursive", "io_queue_recursive", "io_service_time_recursive", "io_wait_time_recursive",
    "io_merged_recursive", "io_time_recursive", "sectors_recursive",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a container that runs. system_ns: processor time of the whole host, idle too.
    processors, memory_bytes: the host's."""

    stats: Stats
    system_ns: int
    processors: int
    memory_bytes: int


def stats_view(id: str, name: str, now: Sample | None, before: Sample | None = None) -> dict[str, Any]:
    """now is None of a container that does not run: all is nothing then."""
    view: dict[str, Any] = {
        "id": id,
        "name": f"/{name}",
        "os_type": "linux",
        "read": rfc3339(now.stats.at) if now else NEVER,
        "preread": rfc3339(before.stats.at) if now and before else NEVER,
        "num_procs": 0,
        "storage_stats": {},
        "cpu_stats": _cpu(now),
        "precpu_stats": _cpu(before if now else None),
        "memory_stats": _memory(now) if now else {},
        "pids_stats": _pids(now.stats) if now else {},
        "blkio_stats": {
            "io_service_bytes_recursive": list(_io(now.stats)) if now else [],
            **dict.fromkeys(_NO_BLKIO),
        },
    }
    if now and (interfaces := _details(now).interfaces):
        view["networks"] = {each: _interface(found) for each, found in interfaces.items()}
    return view


def _details(sample: Sample) -> StatsDetails:
    return sample.stats.details or StatsDetails()


def _cpu(sample: Sample | None) -> dict[str, Any]:
    if sample is None:
        usage: dict[str, Any] = {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0}
        throttling = {"periods": 0, "throttled_periods": 0, "throttled_time": 0}
        return {"cpu_usage": usage, "throttling_data": throttling}
    stats, details = sample.stats, _details(sample)
    usage = {
        "total_usage": _nanoseconds(stats.cpu_seconds),
        "usage_in_kernelmode": _nanoseconds(stats.cpu_system_seconds),
        "usage_in_usermode": _nanoseconds(stats.cpu_user_seconds),
    }
    if details.cpu_each_ns:
        usage["percpu_usage"] = list(details.cpu_each_ns)
    return {
        "cpu_usage": usage,
        "system_cpu_usage": sample.system_ns,
        "online_cpus": sample.processors,
        "throttling_data": {
            "periods": details.cpu_periods,
            "throttled_periods": details.cpu_periods_throttled,
            "throttled_time": _nanoseconds(stats.throttled_seconds),
        },
    }


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def _memory(sample: Sample) -> dict[str, Any]:
    """Without a limit of its own it may have all of the host's."""
    stats, details = sample.stats, _details(sample)
    view: dict[str, Any] = {
        "usage": stats.memory_bytes,
        "stats": dict(details.memory),
        "limit": min(stats.memory_limit_bytes or sample.memory_bytes, sample.memory_bytes),
    }
    if details.memory_peak_bytes is not None:
        view["max_usage"] = details.memory_peak_bytes
    if details.memory_failures is not None:
        view["failcnt"] = details.memory_failures
    return view


def _pids(stats: Stats) -> dict[str, Any]:
    limit = {} if stats.pids_limit is None else {"limit": stats.pids_limit}
    return {"current": stats.pids, **limit}


def _io(stats: Stats) -> Iterator[dict[str, Any]]:
    """Of each device; 0:0 stands for all where they are not told apart."""
    devices = stats.details.devices if stats.details else ()
    for major, minor, read, written in devices or ((0, 0, stats.io_read_bytes, stats.io_write_bytes),):
        yield {"major": major, "minor": minor, "op": "read", "value": read}
        yield {"major": major, "minor": minor, "op": "write", "value": written}


def _interface(found: InterfaceStats) -> dict[str, int]:
    return {
        "rx_bytes": found.received_bytes,
        "rx_packets": found.received_packets,
        "rx_errors": found.received_errors,
        "rx_dropped": found.received_dropped,
        "tx_bytes": found.sent_bytes,
        "tx_packets": found.sent_packets,
        "tx_errors": found.sent_errors,
        "tx_dropped": found.sent_dropped,
    }
