"""Measure engines side by side and print one table. Started by ops/bench in fresh namespaces."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import clients
from docker import Docker
from many import COUNTS, measure_many
from measure import appended, idle_share, median, pss_bytes, run
from podman import Podman
from pulls import measure_pulls
from setpoint import Setpoint

ROOT = Path(__file__).resolve().parents[2]
MEASUREMENTS = ("up", "down", "memory", "idle", "heal", "exec", "status", "many", "clients", "pull")
Numbers = dict[str, float]


class Peer(Protocol):
    """One engine. Times are seconds of wall clock as a person at a prompt sees them."""

    name: str
    scratch: Path

    def version(self) -> str: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def up(self, count: int) -> float: ...
    def down(self) -> float: ...
    def engine_pids(self) -> list[int]: ...
    def start_healer(self) -> None: ...
    def mark(self) -> Path: ...
    def kill_healer(self) -> None: ...
    def exec_true(self) -> float: ...
    def exec_true_by_api(self) -> float | None: ...
    def status(self) -> float: ...
    def docker_socket(self) -> Path | None: ...


def main() -> int:
    options = parse()
    run("ip", "link", "set", "lo", "up")
    # Ours alone, in this mount namespace: sockets and run directories vanish with it.
    run("mount", "-t", "tmpfs", "-o", "mode=755", "bench", "/run")
    cgroups_before = peers_cgroups()
    results: dict[str, Numbers] = {}
    versions: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp", ignore_cleanup_errors=True) as folder:
        found = peers(options, Path(folder))
        for peer in found:
            note(f"{peer.name}: starting")
            try:
                peer.start()
                versions[peer.name] = peer.version()
                results[peer.name] = measure(peer, options)
            except (RuntimeError, OSError) as error:
                note(f"{peer.name}: {error}")
            finally:
                peer.stop()
        if "pull" in options.only.split(","):
            names = [peer.name for peer in found if peer.name in results]
            for name, seconds in measure_pulls(Path(folder), names, options.runs, note).items():
                results[name]["pull"] = seconds
    remove_cgroups(peers_cgroups() - cgroups_before)
    print(report(results, versions, options))
    if options.json:
        Path(options.json).write_text(json.dumps({"versions": versions, "results": results}, indent=2) + "\n")
    return 0 if "setpoint" in results else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ops/bench")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--containers", type=int, default=100)
    parser.add_argument("--peers", default="docker,podman")
    parser.add_argument("--only", default=",".join(MEASUREMENTS))
    parser.add_argument("--skip-setpoint", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", default="")
    return parser.parse_args()


def peers(options: argparse.Namespace, scratch: Path) -> list[Peer]:
    archive = ROOT / "build/busybox.tar"
    found: list[Peer] = [] if options.skip_setpoint else [Setpoint(scratch, archive)]
    wanted = options.peers.split(",")
    for name, programs, make in (
        ("docker", ("dockerd", "docker"), Docker),
        ("podman", ("podman",), Podman),
    ):
        missing = [program for program in programs if not shutil.which(program)]
        if name in wanted and missing:
            note(f"{name}: not installed here, left out (no {', '.join(missing)})")
        elif name in wanted:
            found.append(make(scratch, archive))
    return found


def measure(peer: Peer, options: argparse.Namespace) -> Numbers:
    """Every measurement asked for, of one engine that runs nothing yet."""
    wanted = options.only.split(",")
    numbers: Numbers = {}
    many = {"up", "down", "memory", "idle", "status"} & set(wanted)
    ups, downs = [], []
    for run_number in range(options.runs if {"up", "down"} & many else min(1, len(many))):
        ups.append(peer.up(options.containers))
        note(f"{peer.name}: run {run_number + 1}: up in {ups[-1]:.3f} s")
        if run_number == 0:
            numbers |= measure_full(peer, wanted)
        downs.append(peer.down())
        note(f"{peer.name}: run {run_number + 1}: down in {downs[-1]:.3f} s")
    if "up" in wanted:
        numbers["up"] = median(ups)
    if "down" in wanted:
        numbers["down"] = median(downs)
    numbers |= measure_one(peer, wanted, options.runs)
    if "many" in wanted and isinstance(peer, Setpoint):
        numbers |= measure_many(peer)
    if "clients" in wanted and (socket := peer.docker_socket()) is not None:
        numbers |= clients.measure_clients(socket, peer.scratch, options.runs, note)
    return numbers


def measure_full(peer: Peer, wanted: list[str]) -> Numbers:
    """What is asked of an engine while all its containers run."""
    numbers: Numbers = {}
    if "memory" in wanted:
        numbers["memory"] = pss_bytes(peer.engine_pids())
        numbers["processes"] = len(peer.engine_pids())
    if "idle" in wanted:
        time.sleep(2.0)  # what the start still had to do is not idleness
        numbers["idle"] = idle_share(peer.engine_pids())
    if "status" in wanted:
        numbers["status"] = median([peer.status() for _ in range(20)])
    return numbers


def measure_one(peer: Peer, wanted: list[str], runs: int) -> Numbers:
    """What is asked of an engine about one container, run alone."""
    numbers: Numbers = {}
    if not {"heal", "exec"} & set(wanted):
        return numbers
    peer.start_healer()
    if "exec" in wanted:
        numbers["exec"] = median([peer.exec_true() for _ in range(20)])
        by_api = [seconds for _ in range(20) if (seconds := peer.exec_true_by_api()) is not None]
        if by_api:
            numbers["exec_api"] = median(by_api)
    if "heal" in wanted:
        numbers["heal"] = median([heal(peer) for _ in range(max(runs, 3))])
    return numbers


def heal(peer: Peer) -> float:
    # Docker forgets its back-off only after ten seconds of running (restartmanager), so that a second
    # kill at once would measure the back-off.
    time.sleep(11.0)
    with appended(peer.mark()):
        began = time.perf_counter()
        peer.kill_healer()
    return time.perf_counter() - began


def peers_cgroups() -> set[Path]:
    """The directories that docker and podman make at a hierarchy's top (v1), or in the one tree (v2)."""
    names = ("docker", "libpod_parent", "machine.slice")
    tops = (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir())
    return {top / name for top in tops for name in names if (top / name).is_dir()}


def remove_cgroups(tops: set[Path]) -> None:
    """Empty ones only: the kernel refuses the others."""
    for top in tops:
        for folder in sorted((p for p in top.rglob("*") if p.is_dir()), key=lambda p: -len(p.parts)):
            with contextlib.suppress(OSError):
                folder.rmdir()
        with contextlib.suppress(OSError):
            top.rmdir()


ROWS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("up", "{n} containers on one network, commit to all running", lambda v: f"{v:.2f} s"),
    ("down", "remove them all", lambda v: f"{v:.2f} s"),
    ("memory", "engine memory while they run (PSS)", lambda v: f"{v / 1e6:.0f} MB"),
    ("processes", "engine processes while they run", lambda v: f"{v:.0f}"),
    ("idle", "engine CPU while nothing happens (of one core)", lambda v: f"{v * 100:.2f} %"),
    ("heal", "killed process to running again", lambda v: f"{v * 1000:.0f} ms"),
    ("exec", "exec of true, from the command line", lambda v: f"{v * 1000:.0f} ms"),
    ("exec_api", "exec of true, through the API", lambda v: f"{v * 1000:.1f} ms"),
    ("status", "status, as a whole process", lambda v: f"{v * 1000:.0f} ms"),
    *clients.ROWS,
    ("pull", "pull of three layers, 25,000 files, 495 MB unpacked", lambda v: f"{v:.2f} s"),
    *(
        (f"{key}_{count}", title.replace("COUNT", f"{count:,}"), show)
        for count in COUNTS
        for key, title, show in (
            ("first", "COUNT objects without a process, commit to all settled", lambda v: f"{v:.1f} s"),
            (
                "change",
                "one change among COUNT, commit to the new one running",
                lambda v: f"{v * 1000:.0f} ms",
            ),
            ("nothing", "a commit that changes none of COUNT, engine CPU", lambda v: f"{v * 1000:.0f} ms"),
            ("memory", "engine memory with COUNT (PSS)", lambda v: f"{v / 1e6:.0f} MB"),
            (
                "idle",
                "engine CPU while nothing happens, with COUNT (of one core)",
                lambda v: f"{v * 100:.2f} %",
            ),
        )
    ),
)


def report(results: dict[str, Numbers], versions: dict[str, str], options: argparse.Namespace) -> str:
    """A Markdown table: a column an engine, and how often Setpoint's number goes into the first peer's."""
    names = list(results)
    ours = results.get("setpoint", {})
    others = [name for name in names if name != "setpoint"]
    head = ["", *names, *(f"{name} / setpoint" for name in others if ours)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for key, title, show in ROWS:
        if not any(key in numbers for numbers in results.values()):
            continue
        cells = [title.format(n=options.containers)]
        cells += [show(results[name][key]) if key in results[name] else "-" for name in names]
        cells += [ratio(results[name].get(key), ours.get(key)) for name in others if ours]
        lines.append("| " + " | ".join(cells) + " |")
    about = "; ".join(f"{name} {version}" for name, version in versions.items())
    machine = f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"
    return "\n".join([*lines, "", f"Medians of {options.runs} runs. {machine}. {about}."])


def ratio(theirs: float | None, ours: float | None) -> str:
    return f"{theirs / ours:.1f}x" if theirs is not None and ours else "-"


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
