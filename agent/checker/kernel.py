"""What of an instance is in the kernel, found by its names alone: mounts, links, control groups, processes,
loop devices, the nftables table. Reads only; other instances and the host's own things are never looked at.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.checker.processes import Process, all_processes, mount_points
from runtime.layout import Layout
from runtime.network import bridges, links, table
from runtime.network.libnftables import Nftables
from runtime.network.links import Link
from runtime.network.netlink import Netlink
from runtime.supervisor.own_cgroup import path_beside


@dataclass(frozen=True, slots=True)
class Group:
    """A control group of the instance in one hierarchy. name: below the instance's parent, "" for the parent
    itself and for those beside it. pids: of it and of all below. is_of_agent: what works for the agent is in
    it, and ends with the agent."""

    path: str
    name: str
    pids: tuple[int, ...]
    is_of_agent: bool = False


@dataclass(frozen=True, slots=True)
class Kernel:
    """mounts: points below the instance's directories, in the order of mounting. links: ours by alias, and
    those on a bridge of ours. listing: the tables as libnftables lists them, None when there is none."""

    mounts: tuple[str, ...] = ()
    links: Mapping[str, Link] = field(default_factory=dict)
    groups: tuple[Group, ...] = ()
    supervisors: tuple[Process, ...] = ()
    workers: tuple[Process, ...] = ()
    loops: Mapping[str, str] = field(default_factory=dict)
    listing: list[dict[str, Any]] | None = None


def read_kernel(layout: Layout) -> Kernel:
    """All of it."""
    mountinfo = Path("/proc/self/mountinfo").read_bytes()
    supervisors, workers = _own_processes(layout)
    return Kernel(
        mounts=tuple(mounts_below(layout, mountinfo)),
        links={link.name: link for link in _links(layout)},
        groups=tuple(read_groups(layout, mountinfo)),
        supervisors=supervisors,
        workers=workers,
        loops=dict(_loops(layout)),
        listing=list_table(layout),
    )


# --- mounts, loop devices ---------------------------------------------------------------------------


def mounts_below(layout: Layout, mountinfo: bytes) -> list[str]:
    """Mount points in the instance's directories, and those directories themselves."""
    roots = (f"{layout.run}/", f"{layout.data}/")
    return [point for point in mount_points(mountinfo) if f"{point}/".startswith(roots)]


def _loops(layout: Layout) -> Iterator[tuple[str, str]]:
    """Loop devices on a file of ours: device -> file."""
    roots = (f"{layout.run}/", f"{layout.data}/")
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            file = path.read_text().rstrip("\n")
            if file.startswith(roots):
                yield f"/dev/{path.parts[3]}", file


# --- links, the firewall ------------------------------------------------------------------------------


def _links(layout: Layout) -> Iterator[Link]:
    with Netlink() as netlink:
        found = list(map(links.read_link, netlink.dump(links.get_links())))
    ours = {link.index for link in found if bridges.is_ours(layout, link)}
    for link in found:
        if link.index in ours or link.master in ours or link.alias.startswith(f"{layout.instance}/"):
            yield link


def list_table(layout: Layout) -> list[dict[str, Any]] | None:
    """The instance's tables, None when there is none."""
    library = Nftables()
    try:
        return table.read(library, layout.nft_table)
    finally:
        library.close()


# --- control groups -------------------------------------------------------------------------------------


def read_groups(layout: Layout, mountinfo: bytes) -> Iterator[Group]:
    """The instance's parents in every hierarchy, named ones too, and each container's group below."""
    for root in _hierarchies(mountinfo):
        parent = f"{root}/{layout.cgroup_parent}"
        for path in (parent, f"{root}{path_beside(layout.cgroup_parent)}"):
            if os.path.isdir(path):  # noqa: PTH112
                yield Group(path, "", tuple(_pids(path)))
        for path in (f"{root}/{name}" for name in layout.side_cgroups):
            if os.path.isdir(path):  # noqa: PTH112
                yield Group(path, "", tuple(_all_pids(path)), is_of_agent=True)
        for name in _directories(parent):
            path = f"{parent}/{name}"
            yield Group(path, name, tuple(_all_pids(path)))


def _hierarchies(mountinfo: bytes) -> Iterator[str]:
    for line in mountinfo.splitlines():
        before, _, after = line.partition(b" - ")
        if after.split(b" ", 1)[0] in (b"cgroup", b"cgroup2"):
            yield os.fsdecode(before.split(b" ")[4])


def _directories(path: str) -> list[str]:
    with contextlib.suppress(OSError), os.scandir(path) as entries:
        return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    return []


def _pids(path: str) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(word) for word in Path(path, "cgroup.procs").read_text().split()]
    return []


def _all_pids(path: str) -> list[int]:
    found = _pids(path)
    for name in _directories(path):
        found += _all_pids(f"{path}/{name}")
    return found


# --- processes ------------------------------------------------------------------------------------------


def _own_processes(layout: Layout) -> tuple[tuple[Process, ...], tuple[Process, ...]]:
    """(supervisors, image workers) of the instance. A supervisor's children that have not executed anything
    yet look like it, and are not counted."""
    supervisors, workers = [], []
    for process in all_processes():
        if process.state in ("Z", "X"):
            continue
        arguments = process.arguments
        if str(layout.supervisor_socket) in arguments and "--run" in arguments:
            supervisors.append(process)
        elif "runtime.images.worker" in arguments and layout.instance in arguments:
            workers.append(process)
    pids = {process.pid for process in supervisors}
    return tuple(each for each in supervisors if each.parent not in pids), tuple(workers)
