"""A container's processes as ps(1) lists them, read from /proc. No program is run, and none of its
names is trusted: what cannot be printed is shown as `?`, and what is long is cut off.

Called in a thread: to read a command line is to wait for the process's memory.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from agent.api.docker.ps_arguments import DEFAULT, Column, columns_of

__all__ = ["DEFAULT", "Column", "columns_of", "rows"]

MAX_PROCESSES = 10_000
MAX_COMMAND_BYTES = 32 * 1024
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_DAY = 86400


@dataclass(frozen=True)
class Seen:
    """One process. fields: of proc(5) stat, from the state on. now: seconds since the host's start."""

    pid: int
    comm: str
    fields: Sequence[str]
    status: Mapping[str, str]
    command: bytes
    now: float
    clock: float

    def number(self, at: int) -> int:
        """A field by its number in proc(5)."""
        return int(self.fields[at - 3])

    def id(self, key: str, which: int) -> int:
        return int(self.status.get(key, "0 0 0 0").split()[which])

    @cached_property
    def cpu_seconds(self) -> float:
        return (self.number(14) + self.number(15)) / _TICKS

    @cached_property
    def age_seconds(self) -> float:
        return max(0.0, self.now - self.number(22) / _TICKS)

    @property
    def started_at(self) -> float:
        return self.clock - self.age_seconds

    @property
    def cpu_percent(self) -> float:
        return 100 * self.cpu_seconds / self.age_seconds if self.age_seconds else 0.0

    @property
    def rss_bytes(self) -> int:
        return self.number(24) * _PAGE_BYTES


def rows(columns: Sequence[Column], pids: Sequence[int]) -> list[list[str]]:
    """A row for each that is still there."""
    now, clock = time.clock_gettime(time.CLOCK_BOOTTIME), time.time()
    found = (look(pid, now, clock) for pid in pids[:MAX_PROCESSES])
    return [[FIELDS[column.name](seen) for column in columns] for seen in found if seen is not None]


def look(pid: int, now: float, clock: float) -> Seen | None:
    """None when it has ended."""
    folder = Path("/proc", str(pid))
    try:
        stat = (folder / "stat").read_bytes().decode("utf-8", "replace")
        status = (folder / "status").read_text(errors="replace")
        with (folder / "cmdline").open("rb", buffering=0) as file:
            command = file.read(MAX_COMMAND_BYTES) or b""
    except (FileNotFoundError, ProcessLookupError):
        return None
    begin, end = stat.index("("), stat.rindex(")")
    known = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return Seen(pid, stat[begin + 1 : end], stat[end + 2 :].split(), known, command, now, clock)


# --- columns --------------------------------------------------------------------------------------


def printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def _command(seen: Seen) -> str:
    words = seen.command.rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "replace")
    if words:
        return printable(words)
    return printable(f"[{seen.comm}]{' <defunct>' if seen.fields[0] == 'Z' else ''}")


def _comm(seen: Seen) -> str:
    return printable(seen.comm) + (" <defunct>" if seen.fields[0] == "Z" else "")


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _terminal(seen: Seen) -> str:
    number = seen.number(7) & 0xFFFFFFFF
    major, minor = number >> 8 & 0xFFF, number & 0xFF | number >> 12 & 0xFFF00
    if 136 <= major <= 143:  # linux/major.h, UNIX98_PTY_SLAVE_MAJOR and seven more
        return f"pts/{(major - 136 << 8) + minor}"
    return f"tty{minor}" if major == 4 and minor < 64 else "?"


def _state(seen: Seen) -> str:
    nice, is_leader = seen.number(19), seen.number(6) == seen.pid
    return "".join((
        seen.fields[0],
        "<" if nice < 0 else "N" if nice > 0 else "",
        "s" if is_leader else "",
        "l" if seen.number(20) > 1 else "",
        "+" if seen.number(8) == seen.number(5) else "",
    ))  # fmt: skip


def clock_of(seconds: float) -> str:
    """[DD-]HH:MM:SS."""
    days, rest = divmod(int(seconds), _DAY)
    text = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days}-{text}" if days else text


def elapsed(seconds: float) -> str:
    """[[DD-]HH:]MM:SS."""
    return clock_of(seconds).removeprefix("00:") if seconds < 3600 else clock_of(seconds)


def _bsd_time(seen: Seen) -> str:
    whole = int(seen.cpu_seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def _start(seen: Seen) -> str:
    """The time of today, else the day, else the year."""
    then = time.localtime(seen.started_at)
    if seen.age_seconds < _DAY:
        return time.strftime("%H:%M", then)
    is_this_year = then.tm_year == time.localtime(seen.clock).tm_year
    return time.strftime("%b%d" if is_this_year else "%Y", then)


def _started(seen: Seen) -> str:
    return time.strftime("%H:%M:%S" if seen.age_seconds < _DAY else "%b %d", time.localtime(seen.started_at))


def _memory_percent(seen: Seen) -> str:
    return f"{100 * seen.rss_bytes / (os.sysconf('SC_PHYS_PAGES') * _PAGE_BYTES):.1f}"


Field = Callable[[Seen], str]


def _whole(at: int) -> Field:
    return lambda seen: str(seen.number(at))


def _id(key: str, which: int) -> Field:
    return lambda seen: str(seen.id(key, which))


def _name(which: int) -> Field:
    return lambda seen: _user(seen.id("Uid", which))


def _kibibytes(count: Callable[[Seen], int]) -> Field:
    return lambda seen: str(count(seen) // 1024)


_VSZ, _RSS = _kibibytes(lambda seen: seen.number(23)), _kibibytes(lambda seen: seen.rss_bytes)
FIELDS: dict[str, Field] = {
    "pid": lambda seen: str(seen.pid), "ppid": _whole(4), "pgid": _whole(5), "pgrp": _whole(5),
    "sid": _whole(6), "sess": _whole(6), "uid": _id("Uid", 1), "euid": _id("Uid", 1), "ruid": _id("Uid", 0),
    "user": _name(1), "euser": _name(1), "ruser": _name(0), "uname": _name(1), "gid": _id("Gid", 1),
    "egid": _id("Gid", 1), "rgid": _id("Gid", 0), "comm": _comm, "ucmd": _comm, "ucomm": _comm,
    "cmd": _command, "args": _command, "command": _command,
    "etime": lambda seen: elapsed(seen.age_seconds), "etimes": lambda seen: str(int(seen.age_seconds)),
    "time": lambda seen: clock_of(seen.cpu_seconds), "cputime": lambda seen: clock_of(seen.cpu_seconds),
    "bsdtime": _bsd_time, "stime": _start, "start_time": _start, "start": _started,
    "lstart": lambda seen: time.ctime(seen.started_at), "tty": _terminal, "tt": _terminal, "tname": _terminal,
    "stat": _state, "state": lambda seen: seen.fields[0], "s": lambda seen: seen.fields[0],
    "ni": _whole(19), "nice": _whole(19), "pri": lambda seen: str(39 - seen.number(18)),
    "opri": lambda seen: str(60 + seen.number(18)), "vsz": _VSZ, "vsize": _VSZ, "rss": _RSS, "rssize": _RSS,
    "rsz": _RSS, "sz": lambda seen: str(seen.number(23) // _PAGE_BYTES),
    "pcpu": lambda seen: f"{seen.cpu_percent:.1f}", "%cpu": lambda seen: f"{seen.cpu_percent:.1f}",
    "pmem": _memory_percent, "%mem": _memory_percent, "c": lambda seen: str(min(99, int(seen.cpu_percent))),
    "nlwp": _whole(20), "thcount": _whole(20), "psr": _whole(39),
    "f": lambda seen: str(seen.number(9) >> 6 & 7),
}  # fmt: skip
