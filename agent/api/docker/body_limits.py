"""The limits of a create or update call, to the fields of a spec. Pure.

What is said with 0, "" or null is not said, as Docker has it. What cannot be had here is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from agent.api.docker.bodies import list_of, map_of, text_of, whole_of
from agent.manifest.parse_limits import LEAST_WEIGHT, MOST_WEIGHT
from agent.manifest.service import DEFAULT_CPU_PERIOD
from agent.manifest.spec import Restart, UlimitSpec
from runtime.errors import Conflict, Invalid, Unsupported

NANO = 1_000_000_000
LEAST_NANO_CPUS = NANO // 100
MIN_MEMORY_BYTES = 6 * 1024 * 1024  # Docker's
UNLIMITED_RESTARTS = 10**9
ALWAYS_SECONDS = 10.0**9
_LACKING = """
DeviceRequests KernelMemory KernelMemoryTCP CpuCount CpuPercent IOMaximumIOps IOMaximumBandwidth
"""
_RATES = {
    "device_read_bps": "BlkioDeviceReadBps", "device_write_bps": "BlkioDeviceWriteBps",
    "device_read_iops": "BlkioDeviceReadIOps", "device_write_iops": "BlkioDeviceWriteIOps",
}  # fmt: skip
DEFAULT_RT_PERIOD = 1_000_000  # microseconds, the kernel's


def limits_of(host: Mapping[str, Any], processors: int = 0) -> dict[str, Any]:
    """Fields of a spec. Invalid for what makes no sense, Unsupported for what there is not. processors: of
    this host, more than which nobody gets; 0 is any number."""
    for name in _LACKING.split():
        if host.get(name):
            hint = "GPUs are given as --device" if name == "DeviceRequests" else "leave it out"
            raise Unsupported("limit", name, "not to be had here yet", hint)
    found = {**_cpu(host, processors), **_realtime(host), **_memory(host)}
    if block := _block_io(host):
        found["blkio_config"] = block
    if (pids := host.get("PidsLimit")) is not None:
        found["pids_limit"] = -1 if whole_of(host, "PidsLimit") <= 0 else pids
    return found


def names_processors(host: Mapping[str, Any]) -> bool:
    """Whether the number of this host's processors counts: to ask for it is a file of sysfs."""
    return bool(host.get("NanoCpus") or host.get("CpusetCpus"))


def refuse_mixed_cpus(present: Mapping[str, Any], said: Mapping[str, Any]) -> None:
    """An update cannot say in the one way what was said in the other. present: as HostConfig has it."""
    for name, shown in (("CpuPeriod", "CPU Period"), ("CpuQuota", "CPU Quota")):
        if whole_of(said, "NanoCpus") > 0 and present.get(name, 0) > 0:
            raise _mixed("Nano CPUs", shown)
        if whole_of(said, name) > 0 and present.get("NanoCpus"):
            raise _mixed(shown, "NanoCPUs")


def _mixed(said: str, before: str) -> Conflict:
    return Conflict("", "", f"Conflicting options: {said} cannot be updated as {before} has already been set")


def _block_io(host: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if weight := whole_of(host, "BlkioWeight"):
        found["weight"] = _weight(weight)
    if weights := list_of(host, "BlkioWeightDevice"):
        found["weight_device"] = tuple(
            {"path": path, "weight": _weight(value)} for path, value in _by_disk(weights, "Weight")
        )
    for field, name in _RATES.items():
        if rates := list_of(host, name):
            found[field] = tuple({"path": path, "rate": value} for path, value in _by_disk(rates, "Rate"))
    return found


def _by_disk(items: list[Any], what: str) -> list[tuple[str, int]]:
    found = []
    for item in items:
        if not isinstance(item, dict):
            raise Invalid("read request", what, "not in a list of objects")
        path, value = text_of(item, "Path"), whole_of(item, what)
        if not path.startswith("/") or value < 0:
            raise Invalid("", "", f"invalid device limit: {path[:100]}:{value}")
        found.append((path, value))
    return found


def _weight(weight: int) -> int:
    if not LEAST_WEIGHT <= weight <= MOST_WEIGHT:
        raise Invalid("", "", f"Range of blkio weight is from {LEAST_WEIGHT} to {MOST_WEIGHT}")
    return weight


def _realtime(host: Mapping[str, Any]) -> dict[str, Any]:
    period, runtime = whole_of(host, "CpuRealtimePeriod"), whole_of(host, "CpuRealtimeRuntime")
    if period < 0 or runtime < 0:
        raise Invalid("", "", "cpu real-time period and runtime cannot be negative")
    if runtime > (period or DEFAULT_RT_PERIOD):
        raise Invalid("", "", "cpu real-time runtime cannot be higher than cpu real-time period")
    found = {"cpu_rt_period": period} if period else {}
    return found | ({"cpu_rt_runtime": runtime} if runtime else {})


def _cpu(host: Mapping[str, Any], processors: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    nano, quota = whole_of(host, "NanoCpus"), whole_of(host, "CpuQuota")
    period = whole_of(host, "CpuPeriod")
    if nano and (quota or period):
        raise Invalid("", "", "Conflicting options: Nano CPUs and CPU Period cannot both be set")
    if nano < 0:
        raise Invalid("", "", "CPUs below 0")
    if period and not 1000 <= period <= 1_000_000:
        reason = "can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        raise Invalid("", "", f"CPU cfs period {reason}")
    if 0 < quota < 1000:
        raise Invalid("", "", "CPU cfs quota can not be less than 1ms (i.e. 1000)")
    if nano and processors and not LEAST_NANO_CPUS <= nano <= processors * NANO:
        there = f"as there are only {processors} CPUs available"
        raise Invalid("", "", f"Range of CPUs is from 0.01 to {processors:.2f}, {there}")
    if nano:
        found["cpus"] = nano / 1e9
    elif quota or period:  # with a period, so that it is shown as it was said
        period = period or DEFAULT_CPU_PERIOD
        is_default = not quota and period == DEFAULT_CPU_PERIOD
        found |= {
            "cpus": quota / period if quota > 0 else None, "cpu_period": None if is_default else period
        }  # fmt: skip
    if shares := whole_of(host, "CpuShares"):
        if not 2 <= shares <= 262144:
            raise Invalid("", "", "CpuShares must be from 2 to 262144")
        found["cpu_shares"] = shares
    if cpus := text_of(host, "CpusetCpus"):
        found["cpuset"] = _cpuset(cpus, "cpus", processors)
    if mems := text_of(host, "CpusetMems"):
        found["cpuset_mems"] = _cpuset(mems, "mems")
    return found


def _cpuset(text: str, what: str, there: int = 0) -> str:
    """ "0-3,5". Numbers are bounded: a range is never counted out (CVE-2018-20699). there: how many of them
    this host has, 0 for any number."""
    for part in text.split(","):
        bounds = part.split("-")
        is_whole = all(bound.isascii() and bound.isdigit() and len(bound) <= 4 for bound in bounds)
        if len(bounds) > 2 or not is_whole or int(bounds[0]) > int(bounds[-1]):
            raise Invalid("", "", f"Invalid value {text[:40]} for cpuset {what}")
        if there and int(bounds[-1]) >= there:
            available = f"0-{there - 1}" if there > 1 else "0"
            raise Invalid(
                "", "", f"Requested CPUs are not available - requested {text[:40]}, available: {available}"
            )
    return text


def _memory(host: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    memory, swap = whole_of(host, "Memory"), whole_of(host, "MemorySwap")
    reservation = whole_of(host, "MemoryReservation")
    if memory and memory < MIN_MEMORY_BYTES:
        raise Invalid("", "", "Minimum memory limit allowed is 6MB")
    if reservation and reservation < MIN_MEMORY_BYTES:
        raise Invalid("", "", "Minimum memory reservation allowed is 6MB")
    if memory and swap > 0 and swap < memory:
        raise Invalid("", "", "Minimum memoryswap limit should be larger than memory limit, see usage")
    if swap > 0 and not memory:
        raise Invalid("", "", "You should always set the Memory limit when using Memoryswap limit, see usage")
    if memory and reservation > memory:
        raise Invalid("", "", "Minimum memory limit can not be less than memory reservation limit, see usage")
    if memory:
        found["mem_limit"] = memory
    if swap:
        found["memswap_limit"] = swap
    if reservation:
        found["mem_reservation"] = reservation
    if (swappiness := whole_of(host, "MemorySwappiness", -1)) != -1:
        if not 0 <= swappiness <= 100:
            raise Invalid("", "", f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")
        found["mem_swappiness"] = swappiness
    return found


def ulimits_of(host: Mapping[str, Any]) -> dict[str, UlimitSpec]:
    found = {}
    for item in list_of(host, "Ulimits"):
        if not isinstance(item, dict) or not text_of(item, "Name"):
            raise Invalid("read request", "Ulimits", "not a list of objects with a Name")
        soft, hard = whole_of(item, "Soft"), whole_of(item, "Hard")
        if -1 < hard < soft:
            raise Invalid(
                "", "", f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
            )
        found[text_of(item, "Name")] = UlimitSpec(soft=soft, hard=hard)
    return found


def restart_of(host: Mapping[str, Any]) -> Restart:
    """Docker restarts for ever, but for on-failure:N."""
    policy = map_of(host, "RestartPolicy")
    name, count = text_of(policy, "Name") or "no", whole_of(policy, "MaximumRetryCount")
    if name not in ("no", "always", "unless-stopped", "on-failure"):
        raise Invalid(
            "",
            "",
            f"invalid restart policy: unknown policy '{name[:40]}'; use one of "
            "'no', 'always', 'on-failure', or 'unless-stopped'",
        )
    if count < 0 or (count and name != "on-failure"):
        reason = (
            "maximum retry count cannot be negative"
            if count < 0
            else ("maximum retry count can only be used with 'on-failure'")
        )
        raise Invalid("", "", f"invalid restart policy: {reason}")
    attempts = count + 1 if 0 < count < UNLIMITED_RESTARTS else UNLIMITED_RESTARTS  # the first run counts
    return Restart(policy=name, max_attempts=attempts, window_seconds=ALWAYS_SECONDS)


def seconds_of(nanoseconds: int, name: str) -> float:
    """Durations come as nanoseconds: 0 is not said, and below 1 ms is a mistake."""
    if nanoseconds and nanoseconds < 1_000_000:
        raise Invalid("", "", f"{name} in Healthcheck cannot be less than 1ms")
    return min(nanoseconds / 1e9, math.inf)
