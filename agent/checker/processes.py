"""Processes by the kernel's word (proc(5)): which there are, and which of them are ours. Reads only."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

from runtime.supervisor.records import boot_id


@dataclass(frozen=True, slots=True)
class Process:
    """start_time: clock ticks since boot, which with the pid is an identity."""

    pid: int
    parent: int
    start_time: int
    state: str
    command: str
    arguments: tuple[str, ...] = ()

    def __str__(self) -> str:
        shown = " ".join(self.arguments) or f"[{self.command}]"
        return f"{self.pid} ({shown[:60]})"


def read_process(pid: int, *, with_arguments: bool = True) -> Process | None:
    """None when it is gone."""
    try:
        stat = _read(f"/proc/{pid}/stat").decode(errors="replace")
        data = _read(f"/proc/{pid}/cmdline") if with_arguments else b""
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat[stat.rindex(")") + 2 :].split()
    arguments = tuple(data.decode(errors="replace").rstrip("\0").split("\0")) if data else ()
    command = stat[stat.index("(") + 1 : stat.rindex(")")]
    return Process(pid, int(fields[1]), int(fields[19]), fields[0], command, arguments)


def all_processes() -> Iterator[Process]:
    for name in os.listdir("/proc"):  # noqa: PTH208 - a thousand times in a walk over fail points
        if name.isdecimal() and (found := read_process(int(name))) is not None:
            yield found


def lives(pid: int, start_time: int, boot: str) -> bool:
    """Whether that very process is there, and no zombie: pids are given out again."""
    if boot != boot_id():
        return False
    found = read_process(pid, with_arguments=False)
    return found is not None and found.start_time == start_time and found.state not in ("Z", "X")


def inner_pids(pid: int) -> tuple[int, ...]:
    """Its numbers in the pid namespaces below ours, outermost first (NSpid, kernel 4.1)."""
    with contextlib.suppress(OSError):
        for line in _read(f"/proc/{pid}/status").splitlines():
            if line.startswith(b"NSpid:"):
                return tuple(map(int, line.split()[2:]))
    return ()


def mount_targets(pid: int) -> frozenset[str]:
    """What is mounted in the mount namespace of a process; nothing when it is gone."""
    with contextlib.suppress(OSError):
        return frozenset(mount_points(_read(f"/proc/{pid}/mountinfo")))
    return frozenset()


def mount_points(mountinfo: bytes) -> list[str]:
    """In the order in which they were mounted. Octal escapes of single bytes (proc(5))."""
    found = []
    for line in mountinfo.splitlines():
        point = line.split(b" ", 5)[4]
        if b"\\" in point:
            point = point.decode("unicode_escape").encode("latin-1")
        found.append(os.fsdecode(point))
    return found


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = []
        while piece := os.read(descriptor, 1 << 16):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        os.close(descriptor)
