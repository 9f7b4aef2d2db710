"""What GET /info says of the host and its kernel. Reads small files of /proc and /etc; decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import os
import platform
import threading
import time
from pathlib import Path
from typing import Any

from runtime import apparmor, cgroups
from runtime.cgroup_limits import Hierarchies
from runtime.checkpoints import criu

OS_RELEASE = (Path("/etc/os-release"), Path("/usr/lib/os-release"))
MACHINE_ID = Path("/etc/machine-id")
CRIU_SECONDS = 2.0  # every answer says whether it is here
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def host_view() -> dict[str, Any]:
    """Fields of the answer that are the host's."""
    release = _os_release()
    return {
        "KernelVersion": os.uname().release,
        "OperatingSystem": release.get("PRETTY_NAME") or release.get("NAME") or "Linux",
        "OSVersion": release.get("VERSION_ID", ""),
        "OSType": "linux",
        "Architecture": platform.machine(),
        "NCPU": len(os.sched_getaffinity(0)),
        "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "IPv4Forwarding": _read(FORWARDING).strip() == "1",
        "NFd": sum(1 for _ in Path("/proc/self/fd").iterdir()),
        "NGoroutines": threading.active_count() + len(asyncio.all_tasks()),
        "HttpProxy": _proxy("HTTP_PROXY"),
        "HttpsProxy": _proxy("HTTPS_PROXY"),
        "NoProxy": os.environ.get("NO_PROXY", os.environ.get("no_proxy", "")),
        "Name": platform.node(),
    }


def limits_view() -> tuple[dict[str, Any], list[str]]:
    """Which limits this kernel knows, and a warning for each that it does not."""
    found = cgroups.hierarchies()
    has = {name: name in found.v2 or name in found.v1 for name in ("memory", "cpu", "cpuset", "pids")}
    is_old = "memory" in found.v1
    view = {
        "MemoryLimit": has["memory"],
        "SwapLimit": _has_swap_limit(found),
        "CpuCfsPeriod": has["cpu"],
        "CpuCfsQuota": has["cpu"],
        "CPUShares": has["cpu"],
        "CPUSet": has["cpuset"],
        "PidsLimit": has["pids"],
        "OomKillDisable": is_old,
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": "1" if is_old else "2",
    }
    words = (
        ("MemoryLimit", "memory"), ("SwapLimit", "swap"), ("CpuCfsQuota", "cpu"), ("CPUSet", "cpuset"),
        ("PidsLimit", "pids"),
    )  # fmt: skip
    return view, [f"WARNING: No {word} limit support" for field, word in words if not view[field]]


def _has_swap_limit(found: Hierarchies) -> bool:
    if "memory" in found.v1:
        return Path(found.v1["memory"], "memory.memsw.limit_in_bytes").exists()
    own = _read(Path("/proc/self/cgroup")).rpartition("0::/")[2].strip()
    return Path(found.unified, own, "memory.swap.max").exists() or not own


def security_options() -> list[str]:
    return [
        "name=seccomp,profile=builtin",
        *(["name=apparmor"] if apparmor.is_on() else []),
        *(["name=cgroupns"] if Path("/proc/self/ns/cgroup").exists() else []),
    ]


def engine_id(instance: str) -> str:
    """The same for as long as the host and the instance are the same; not the host's own id."""
    digits = hashlib.sha256(f"{_read(MACHINE_ID).strip()}\0{instance}".encode()).hexdigest()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:32]))


def file_system(path: Path) -> str:
    """The kind of file system that a directory is on (proc(5), mountinfo)."""
    best, kind = "", ""
    for line in _read(Path("/proc/self/mountinfo")).splitlines():
        before, _, after = line.partition(" - ")
        point = before.split(" ")[4]
        if len(point) >= len(best) and Path(point) in (path, *path.parents):
            best, kind = point, after.split(" ")[0]
    return kind


def _os_release() -> dict[str, str]:
    text = next((text for path in OS_RELEASE if (text := _read(path))), "")
    pairs = (line.partition("=") for line in text.splitlines())
    return {name: value.strip().strip("\"'") for name, sign, value in pairs if sign}


def _proxy(name: str) -> str:
    """Without who is logged in to it."""
    value = os.environ.get(name) or os.environ.get(name.lower()) or ""
    scheme, sign, rest = value.partition("://")
    login, at, host = rest.rpartition("@")
    return f"{scheme}{sign}xxxxx:xxxxx@{host}" if at and login else value


def _read(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace")
    return ""


def can_checkpoint() -> bool:
    """Whether CRIU is here, as it was a moment ago. It is what this engine calls experimental: the docker CLI
    knows no other word by which a daemon could say that it takes checkpoints."""
    return _finds_criu(int(time.monotonic() / CRIU_SECONDS))


@functools.lru_cache(maxsize=1)
def _finds_criu(_moment: int) -> bool:
    return bool(criu.find_program())
