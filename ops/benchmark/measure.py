"""Clocks, processes and /proc: what every measured engine needs. Decides nothing about engines."""

from __future__ import annotations

import http.client
import json
import os
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

RUN_SECONDS = 300.0  # of one program; what takes longer is broken, and must not keep the rest from ending
ANSWER_SECONDS = 120.0  # that an API may be silent
Show = Callable[[float], str]


def run(
    *argv: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None, check: bool = True
) -> str:
    """Run to the end and give stdout; with its stderr in the error when it fails."""
    try:
        done = subprocess.run(
            [str(a) for a in argv], capture_output=True, text=True, cwd=cwd, env=env, check=False,
            stdin=subprocess.DEVNULL, timeout=RUN_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{' '.join(map(str, argv))}: not done after {RUN_SECONDS:.0f} s") from None
    if check and done.returncode:
        raise RuntimeError(
            f"{' '.join(map(str, argv))}: exit {done.returncode}: {done.stderr.strip()[-800:]}"
        )
    return done.stdout


def timed(action: Callable[[], object]) -> float:
    """Seconds of wall clock."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


class UnixConnection(http.client.HTTPConnection):
    """HTTP to a UNIX socket: how a client library speaks to an engine."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ANSWER_SECONDS)
        self.sock.connect(self._path)


def post(path: Path, url: str, body: dict[str, object]) -> bytes:
    """POST JSON over a connection of its own; the answer to its end. RuntimeError from 400 on."""
    connection = UnixConnection(path)
    try:
        connection.request("POST", url, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    if answer.status >= 400:
        raise RuntimeError(f"POST {url}: {answer.status} {content.decode(errors='replace')[:200]}")
    return content


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def until(is_so: Callable[[], object], seconds: float, what: str, pause: float = 0.001) -> None:
    """Ask every millisecond until it is so; RuntimeError after `seconds`."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not after {seconds:.0f} s: {what}")
        time.sleep(pause)


def processes() -> Iterator[tuple[int, list[str]]]:
    """(pid, command line) of every process in this namespace."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        yield int(entry.name), [w.decode(errors="replace") for w in words if w]


def pids_of(programs: set[str]) -> list[int]:
    """Processes whose program's file name is one of these."""
    return [pid for pid, words in processes() if words and os.path.basename(words[0]) in programs]  # noqa: PTH119


def pss_bytes(pids: Sequence[int]) -> int:
    """Proportional set size, summed (proc(5), smaps_rollup): shared pages are counted once in all."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time so far, of all threads, summed (proc(5), stat fields 14 and 15)."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def idle_share(pids: Sequence[int], seconds: float = 10.0) -> float:
    """Share of one core used while nothing happens."""
    before = cpu_seconds(pids)
    time.sleep(seconds)
    return (cpu_seconds(pids) - before) / seconds


@contextmanager
def appended(path: Path, seconds: float = 30.0) -> Iterator[None]:
    """Leave when a container has written to `path` once more: it runs, by its own word."""
    before = path.stat().st_size
    yield
    until(lambda: path.stat().st_size > before, seconds, f"{path} grew", pause=0.0005)
