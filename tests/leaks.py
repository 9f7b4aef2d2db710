"""What an instance has left in the kernel and on disk, found by its name alone, and its removal.

Other instances, other tests and the host's own things live beside it and are never looked at.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from runtime import apparmor, id_ranges
from runtime.layout import Layout

CLAIMS = Path("/run/setpoint-tests")


def claim(layout: Layout) -> int:
    """Say that this run uses an instance. The kernel frees the lock with the process, however it ends."""
    CLAIMS.mkdir(exist_ok=True)
    descriptor = os.open(CLAIMS / layout.instance, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def release(layout: Layout, claimed: int) -> None:
    (CLAIMS / layout.instance).unlink(missing_ok=True)
    os.close(claimed)


def clean_abandoned() -> list[str]:
    """Remove what runs that were killed have left, and name their instances."""
    found = []
    for path in CLAIMS.iterdir() if CLAIMS.is_dir() else ():
        with contextlib.suppress(OSError), path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            clean(Layout(path.name))
            path.unlink(missing_ok=True)
            found.append(path.name)
    return found


def find_leaks(layout: Layout) -> list[str]:
    """One line a thing: mounts, network namespaces, links, control groups, processes, nft tables."""
    return [
        *(f"mount {point}" for point in mounts(layout)),
        *(f"link {name}" for name in link_names(layout)),
        *(f"cgroup {path}" for path in cgroups(layout)),
        *(f"process {pid} {command_of(pid)}" for pid in processes(layout)),
        *(f"nft table {table}" for table in tables(layout)),
        *(f"ids from {first} of {holder}" for first, holder in id_ranges.claims(layout.instance)),
        *(f"AppArmor profile {name}" for name in (layout.apparmor_profile,) if apparmor.find(name)),
    ]


def mounts(layout: Layout) -> list[str]:
    """Mount points below the instance's directories; a bind-mounted network namespace is one."""
    roots = (f"{layout.run}/", f"{layout.data}/")
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in reversed(points) if f"{point}/".startswith(roots)]


def link_names(layout: Layout) -> list[str]:
    """Bridges and veths say in their alias whose they are."""
    found = []
    for path in Path("/sys/class/net").iterdir():
        with contextlib.suppress(OSError):
            if (path / "ifalias").read_text().startswith(f"{layout.instance}/"):
                found.append(path.name)
    return found


def cgroups(layout: Layout) -> list[Path]:
    """The instance's directory in every hierarchy, and what is below, deepest first."""
    found: list[Path] = []
    for root in _cgroup_roots():
        names = (layout.cgroup_parent, f"{layout.cgroup_parent}.supervisor", *layout.side_cgroups)
        for parent in (root / name for name in names):
            found.extend(Path(directory) for directory, _, _ in os.walk(parent, topdown=False))
    return found


def _cgroup_roots() -> Iterator[Path]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] in ("cgroup", "cgroup2"):
            yield Path(before.split()[4])


def processes(layout: Layout) -> list[int]:
    """Processes in the instance's control groups, and its supervisors."""
    found = set()
    for path in Path("/proc").iterdir():
        if not path.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            groups = [line.split(":", 2)[2] for line in (path / "cgroup").read_text().splitlines()]
            if _is_zombie(path):  # its parent is init, which reaps in its own time
                continue
            arguments = (path / "cmdline").read_bytes().split(b"\0")
            is_ours = any(f"{group}/".startswith(f"/{layout.cgroup_parent}/") for group in groups)
            if is_ours or str(layout.supervisor_socket).encode() in arguments:
                found.add(int(path.name))
    return sorted(found)


def agents(layout: Layout) -> list[int]:
    """The instance's agents, first of all: they would start again what is killed."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (path / "cmdline").read_bytes().split(b"\0")
            if {b"agent.cli", layout.instance.encode(), b"agent"} <= set(words) and not _is_zombie(path):
                found.append(int(path.name))
    return found


def _is_zombie(path: Path) -> bool:
    stat = (path / "stat").read_bytes()
    return stat[stat.rindex(b")") + 2 :][:1] == b"Z"


def command_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:80]
    return "?"


def tables(layout: Layout) -> list[str]:
    """Of every family: `inet setpoint`."""
    listed = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=False).stdout
    found = (line.split()[1:] for line in listed.splitlines())
    return [f"{family} {name}" for family, name in found if name == layout.nft_table]


def descendants(of: int | None = None) -> set[int]:
    """Processes that this process (or that one), or one it started, has started and that are still there."""
    found: set[int] = set()
    todo = [of or os.getpid()]
    while todo:
        parent = todo.pop()
        for path in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                new = {int(word) for word in path.read_text().split()} - found
                found |= new
                todo.extend(new)
    return found


def end_containers(layout: Layout) -> None:
    """Kill what runs in the instance's containers, and nothing else of it."""
    for path in cgroups(layout):
        if layout.cgroup_parent in path.parent.parts:
            for pid in (path / "cgroup.procs").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)


def clean(layout: Layout) -> None:
    """Remove all of it, whatever state it is in."""
    deadline = time.monotonic() + 10
    while (pids := [*agents(layout), *processes(layout)]) and time.monotonic() < deadline:
        _thaw(layout)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    apparmor.unload(layout.apparmor_profile)
    for point in mounts(layout):
        subprocess.run(["umount", "-l", point], check=False, capture_output=True)
    for name in link_names(layout):
        subprocess.run(["ip", "link", "delete", name], check=False, capture_output=True)
    for table in tables(layout):
        subprocess.run(["nft", "delete", "table", *table.split()], check=False, capture_output=True)
    for first, _ in id_ranges.claims(layout.instance):
        id_ranges.remove(first)
    deadline = time.monotonic() + 10  # of its own: to end them all may have taken the first one
    for path in cgroups(layout):
        while time.monotonic() < deadline:
            try:
                path.rmdir()
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(0.005)
                continue
            break
    for directory in (layout.run, layout.data):
        shutil.rmtree(directory, ignore_errors=True)


def _thaw(layout: Layout) -> None:
    """A frozen process does not die of SIGKILL in a v1 freezer."""
    for path in cgroups(layout):
        for name, value in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            with contextlib.suppress(OSError):
                if (path / name).exists():
                    (path / name).write_text(value)
