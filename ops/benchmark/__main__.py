"""Measure engines side by side and print one table. Started by ops/bench in fresh namespaces."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import clients
import image_rows
import many
from docker import Docker
from image_rows import Tool
from measure import Show, appended, idle_share, median, pss_bytes, run
from podman import Podman
from progress import FAILURES, Numbers, Progress
from pulls import measure_pulls
from setpoint import Setpoint
from sizes import QUICK, WHOLE, Sizes

ROOT = Path(__file__).resolve().parents[2]
MEASUREMENTS = (
    "up", "down", "memory", "idle", "heal", "exec", "status", "many", "clients", "build", "push", "load",
    "images", "pull",
)  # fmt: skip


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
    def images(self) -> Tool: ...
    def docker_socket(self) -> Path | None: ...


class Run:
    """What is asked for, and how far it is."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.runs: int = options.runs
        self.wanted = frozenset(options.only.split(","))
        self.sizes: Sizes = sizes_of(options)
        self.progress = Progress(options.minutes)


def main() -> int:
    options = parse()
    asked = Run(options)
    run("ip", "link", "set", "lo", "up")
    # Ours alone, in this mount namespace: sockets and run directories vanish with it.
    run("mount", "-t", "tmpfs", "-o", "mode=755", "bench", "/run")
    cgroups_before = peers_cgroups()
    results: dict[str, Numbers] = {}
    versions: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp", ignore_cleanup_errors=True) as folder:
        scratch = Path(folder)
        for peer in peers(options, scratch, asked.progress):
            asked.progress(f"{peer.name}: starting")
            try:
                peer.start()
                versions[peer.name] = peer.version()
                results[peer.name] = measure(peer, asked)
            except FAILURES as error:
                asked.progress.failed.append(peer.name)
                asked.progress(f"{peer.name}: {error}")
            finally:
                stop(peer, asked.progress)
        if "build" in asked.wanted and results and shutil.which("buildah"):
            results["buildah"] = measure_buildah(scratch / "buildah", asked)
        if "pull" in asked.wanted:
            measure_pull(scratch, results, asked)
    remove_cgroups(peers_cgroups() - cgroups_before)
    print(report(results, versions, asked))
    if options.json:
        Path(options.json).write_text(json.dumps({"versions": versions, "results": results}, indent=2) + "\n")
    return 1 if asked.progress.failed or "setpoint" not in results else 0


def stop(peer: Peer, progress: Progress) -> None:
    try:
        peer.stop()
    except FAILURES as error:
        progress(f"{peer.name}: while it was stopped: {error}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ops/bench")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--containers", type=int, default=0)
    parser.add_argument("--peers", default="docker,podman")
    parser.add_argument("--only", default=",".join(MEASUREMENTS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--skip-setpoint", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", default="")
    options = parser.parse_args()
    if unknown := set(options.only.split(",")) - set(MEASUREMENTS):
        parser.error(
            f"no such measurement: {', '.join(sorted(unknown))} (there are {', '.join(MEASUREMENTS)})"
        )
    if unknown := set(options.peers.split(",")) - {"docker", "podman", "none"}:
        parser.error(f"no such peer: {', '.join(sorted(unknown))} (there are docker and podman, or none)")
    return options


def sizes_of(options: argparse.Namespace) -> Sizes:
    sizes = QUICK if options.quick else WHOLE
    return replace(sizes, containers=options.containers) if options.containers else sizes


def peers(options: argparse.Namespace, scratch: Path, progress: Progress) -> list[Peer]:
    archive = ROOT / "build/busybox.tar"
    found: list[Peer] = [] if options.skip_setpoint else [Setpoint(scratch, archive)]
    wanted = options.peers.split(",")
    for name, programs, make in (
        ("docker", ("dockerd", "docker"), Docker),
        ("podman", ("podman",), Podman),
    ):
        missing = [program for program in programs if not shutil.which(program)]
        if name in wanted and missing:
            progress(f"{name}: not installed here, left out (no {', '.join(missing)})")
        elif name in wanted:
            found.append(make(scratch, archive))
    return found


def measure(peer: Peer, asked: Run) -> Numbers:
    """Every measurement asked for, of one engine that runs nothing yet."""
    progress, sizes = asked.progress, asked.sizes
    numbers: Numbers = {}
    if {"up", "down", "memory", "idle", "status"} & asked.wanted:
        numbers |= progress.attempt(f"{peer.name}: up and down", lambda: measure_ups(peer, asked))
    if {"heal", "exec"} & asked.wanted:
        numbers |= progress.attempt(f"{peer.name}: heal and exec", lambda: measure_one(peer, asked))
    if "many" in asked.wanted and isinstance(peer, Setpoint):
        for count in sizes.objects:
            what = f"{peer.name}: {count:,} objects"
            numbers |= progress.attempt(what, lambda c=count: many.measure_many(peer, c, sizes.idle_seconds))  # type: ignore[misc]
    socket = peer.docker_socket()
    if "clients" in asked.wanted and socket is not None:
        numbers |= progress.attempt(
            f"{peer.name}: clients",
            lambda: clients.measure_clients(peer.name, socket, peer.scratch, asked.runs, sizes, progress),
        )
    return numbers | measure_images(peer, asked, socket)


def measure_images(peer: Peer, asked: Run, socket: Path | None) -> Numbers:
    tool, scratch, runs, sizes = peer.images(), peer.scratch, asked.runs, asked.sizes
    numbers: Numbers = {}
    works: dict[str, Callable[[], Numbers]] = {
        "build": lambda: image_rows.measure_build(tool.build, scratch, runs),
        "load": lambda: image_rows.measure_load(tool, scratch, runs, sizes),
        "push": lambda: image_rows.measure_push(tool, scratch, runs, sizes),
    }
    if socket is not None:
        ask = lambda: clients.Api(socket)("GET", "/images/json")  # noqa: E731
        works["images"] = lambda: image_rows.measure_list(tool, ask, scratch, sizes)
    for name, work in works.items():
        if name in asked.wanted:
            numbers |= asked.progress.attempt(f"{peer.name}: {name}", work)
    return numbers


def measure_buildah(scratch: Path, asked: Run) -> Numbers:
    def work() -> Numbers:
        build = image_rows.buildah(scratch, ROOT / "build/busybox.tar")
        return image_rows.measure_build(build, scratch, asked.runs)

    return asked.progress.attempt("buildah: build", work)


def measure_pull(scratch: Path, results: dict[str, Numbers], asked: Run) -> None:
    names = [name for name in results if name != "buildah"]
    found = asked.progress.attempt(
        "pull", lambda: measure_pulls(scratch, names, asked.runs, asked.sizes, asked.progress)
    )
    for name, seconds in found.items():
        results[name]["pull"] = seconds


def measure_ups(peer: Peer, asked: Run) -> Numbers:
    """`up` and `down` in turn; what is asked of an engine while all run, in the first of them."""
    numbers: Numbers = {}
    ups, downs = [], []
    for number in range(asked.runs if {"up", "down"} & asked.wanted else 1):
        ups.append(peer.up(asked.sizes.containers))
        asked.progress(f"{peer.name}: run {number + 1}: up in {ups[-1]:.3f} s")
        if number == 0:
            numbers |= measure_full(peer, asked.wanted)
        downs.append(peer.down())
        asked.progress(f"{peer.name}: run {number + 1}: down in {downs[-1]:.3f} s")
    medians = {"up": median(ups), "down": median(downs)}
    return numbers | {name: value for name, value in medians.items() if name in asked.wanted}


def measure_full(peer: Peer, wanted: frozenset[str]) -> Numbers:
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


def measure_one(peer: Peer, asked: Run) -> Numbers:
    """What is asked of an engine about one container, run alone."""
    numbers: Numbers = {}
    peer.start_healer()
    if "exec" in asked.wanted:
        numbers["exec"] = median([peer.exec_true() for _ in range(20)])
        by_api = [seconds for _ in range(20) if (seconds := peer.exec_true_by_api()) is not None]
        if by_api:
            numbers["exec_api"] = median(by_api)
    if "heal" in asked.wanted:
        numbers["heal"] = median([heal(peer) for _ in range(max(asked.runs, 3))])
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


ROWS: tuple[tuple[str, str, Show], ...] = (
    ("up", "{containers} containers on one network, commit to all running", lambda v: f"{v:.2f} s"),
    ("down", "remove them all", lambda v: f"{v:.2f} s"),
    ("memory", "engine memory while they run (PSS)", lambda v: f"{v / 1e6:.0f} MB"),
    ("processes", "engine processes while they run", lambda v: f"{v:.0f}"),
    ("idle", "engine CPU while nothing happens (of one core)", lambda v: f"{v * 100:.2f} %"),
    ("heal", "killed process to running again", lambda v: f"{v * 1000:.0f} ms"),
    ("exec", "exec of true, from the command line", lambda v: f"{v * 1000:.0f} ms"),
    ("exec_api", "exec of true, through the API", lambda v: f"{v * 1000:.1f} ms"),
    ("status", "status, as a whole process", lambda v: f"{v * 1000:.0f} ms"),
    *clients.ROWS,
    *image_rows.ROWS,
    ("pull", "pull of three layers, {pull_files} files, {pull_mb} MB unpacked", lambda v: f"{v:.2f} s"),
)


def rows(sizes: Sizes) -> list[tuple[str, str, Show]]:
    found = [(key, title.format(**sizes.words()), show) for key, title, show in ROWS]
    for count in sizes.objects:
        found += [
            (f"{key}_{count}", title.replace("COUNT", f"{count:,}"), show) for key, title, show in many.ROWS
        ]
    return found


def report(results: dict[str, Numbers], versions: dict[str, str], asked: Run) -> str:
    """A Markdown table: a column an engine, and how often Setpoint's number goes into each peer's."""
    names = list(results)
    ours = results.get("setpoint", {})
    others = [name for name in names if name != "setpoint"]
    head = ["", *names, *(f"{name} / setpoint" for name in others if ours)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for key, title, show in rows(asked.sizes):
        if not any(key in numbers for numbers in results.values()):
            continue
        cells = [title]
        cells += [show(results[name][key]) if key in results[name] else "-" for name in names]
        cells += [ratio(results[name].get(key), ours.get(key)) for name in others if ours]
        lines.append("| " + " | ".join(cells) + " |")
    about = "; ".join(f"{name} {version}" for name, version in versions.items())
    machine = f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"
    lines += ["", f"Medians of {asked.runs} runs. {machine}. {about}."]
    if asked.sizes == QUICK:
        lines.append("Quick: that all of it works. These sizes say nothing about an engine.")
    if asked.progress.failed:
        lines.append(f"Left out: {', '.join(asked.progress.failed)}.")
    return "\n".join(lines)


def ratio(theirs: float | None, ours: float | None) -> str:
    return f"{theirs / ours:.1f}x" if theirs is not None and ours else "-"


if __name__ == "__main__":
    raise SystemExit(main())
