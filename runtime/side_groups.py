"""Control groups beside the containers', for what works for the agent: their limits, their end.

On cgroup v1 one directory in each hierarchy that limits something, on v2 one in all, in a hybrid host both.
Called by `fence`, the agent's sandbox for git and `leftovers`. Does nothing to the containers' own.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from runtime import cgroups
from runtime.cgroup_limits import Hierarchies, Write, limit_writes

_lock = threading.Lock()
_held: dict[str, tuple[tuple[str, ...], int]] = {}  # of this process: the directories, and by how many
CPU_WEIGHT = 50  # v2: a container has 100
_SHARES_PER_CPU = 500  # v1: a process of a container that is not limited has 1024 on each processor


def hold(path: str, *, memory_bytes: int, processes: int, is_behind: bool = False) -> tuple[str, ...]:
    """The directories of groups that are there until everybody in this process who holds them has let go.
    Whatever an agent before us left in them ends. is_behind: containers come first where processors are
    short. Raises OSError and SetpointError: then there are none."""
    with _lock:
        directories, count = _held.get(path, ((), 0))
        if not (count and are_there(directories)):  # or somebody has removed them: then nobody holds them
            directories, count = _make(path, memory_bytes, processes, is_behind=is_behind), 0
        _held[path] = directories, count + 1
        return directories


def let_go(path: str) -> None:
    """The last one ends what lives in the groups, and takes them away. Temporary when that does not end."""
    with _lock:
        directories, count = _held.get(path, ((), 0))
        if count > 1:
            _held[path] = directories, count - 1
            return
        _held.pop(path, None)
        remove(path)


def _make(path: str, memory_bytes: int, processes: int, *, is_behind: bool) -> tuple[str, ...]:
    found = cgroups.hierarchies()
    names = ("memory", "pids", *(("cpu",) if is_behind else ()))
    directories = [found.directory(name, path) for name in names if name in found.v1]
    if found.v2.intersection(names):
        directories.append(found.directory("", path))
    remove(path)
    cgroups.delegate(path)
    for directory in directories:
        cgroups.make_anew(directory)
    limits: Mapping[str, Any] = {
        "memory": {"limit": memory_bytes, "swap": memory_bytes},
        "pids": {"limit": processes},
    }
    cgroups.apply(path, (*limit_writes(limits, found), *(weight_writes(found) if is_behind else ())))
    return tuple(directories)


def weight_writes(found: Hierarchies) -> Iterable[Write]:
    """v1 divides a group's shares among the processors that it runs on, v2's weights are of the whole."""
    if "cpu" in found.v1:
        yield Write("cpu", "cpu.shares", str(_SHARES_PER_CPU * (os.cpu_count() or 1)))
    elif "cpu" in found.v2:
        yield Write("", "cpu.weight", str(CPU_WEIGHT), optional=True)


def way_in(directory: str) -> str:
    """The file by which a process with one thread enters: on v1, where that is the thread's own move alone,
    it waits for no other process (kernel/cgroup/cgroup.c, since 5.5)."""
    tasks = f"{directory}/tasks"
    return tasks if os.path.exists(tasks) else f"{directory}/cgroup.procs"  # noqa: PTH110


def are_there(directories: Iterable[str]) -> bool:
    return all(map(os.path.isdir, directories))


def remove(path: str, timeout_seconds: float = 1.0) -> None:
    """End what lives in the groups, and take them away. Temporary when that does not end."""
    cgroups.kill(path)
    cgroups.delete(path, timeout_seconds)


def oom_kills(directories: Iterable[str]) -> int:
    """How often the kernel ended something in them for want of memory."""
    total = 0
    for directory in directories:
        for name in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError):
                words = Path(directory, name).read_text().split()
                total += int(words[words.index("oom_kill") + 1]) if "oom_kill" in words else 0
    return total
