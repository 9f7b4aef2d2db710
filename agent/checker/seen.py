"""One look at an instance: all that the judges judge by. `look` reads; the value is frozen.

Order: the database, then the disk, then the kernel, so that a thing which is on its way in is seen with its
record sooner than without. What is under way all the same differs in the next look.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from agent.checker.disk import Bundle, Disk, read_disk
from agent.checker.images import ImageLitter, read_image_litter
from agent.checker.kernel import Kernel, read_kernel
from agent.checker.processes import inner_pids, mount_targets
from agent.checker.rows import Rows, read_rows
from agent.checker.wires import Wires, read_wires
from agent.reconcile.convert import LABEL_KEY
from runtime import cgroups
from runtime.bundle import resources_to_oci
from runtime.layout import Layout
from store.records import Key


@dataclass(frozen=True, slots=True)
class Inside:
    """A running container by the kernel's word. targets: its mount points. limits: how its control
    groups differ from its record. inits: processes that are the first of a pid namespace of their own.
    homeless: control groups that its first process is to be in, and is not."""

    targets: frozenset[str] = frozenset()
    limits: tuple[str, ...] = ()
    inits: tuple[int, ...] = ()
    homeless: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    layout: Layout
    rows: Rows = field(default_factory=Rows)
    disk: Disk = field(default_factory=Disk)
    kernel: Kernel = field(default_factory=Kernel)
    wires: Wires = field(default_factory=Wires)
    images: ImageLitter = field(default_factory=ImageLitter)
    inside: Mapping[str, Inside] = field(default_factory=dict)
    has_agent: bool = False
    at: float = 0.0

    def replicas(self, key: Key) -> Iterator[Bundle]:
        """The containers that say they are of an object."""
        for bundle in self.disk.bundles.values():
            if bundle.config.labels.get(LABEL_KEY) == str(key):
                yield bundle


def look(layout: Layout) -> Seen:
    """Everything, now."""
    at = time.time()
    rows = read_rows(layout)
    disk = read_disk(layout)
    kernel = read_kernel(layout)
    return Seen(
        layout=layout,
        rows=rows,
        disk=disk,
        kernel=kernel,
        wires=read_wires(layout, disk, kernel),
        images=read_image_litter(layout, disk),
        inside=_inside(layout, disk, kernel),
        has_agent=_has_agent(layout),
        at=at,
    )


def _inside(layout: Layout, disk: Disk, kernel: Kernel) -> dict[str, Inside]:
    pids: dict[str, set[int]] = {}
    for group in kernel.groups:
        pids.setdefault(group.name, set()).update(group.pids)
    by_path = {group.path: frozenset(group.pids) for group in kernel.groups}
    found = {}
    for id, bundle in disk.bundles.items():
        if not bundle.is_live or bundle.life is None:
            continue
        path, resources = f"/{layout.cgroup_parent}/{id}", resources_to_oci(bundle.config.resources)
        limits = cgroups.find_drift(path, resources)
        inits = tuple(sorted(pid for pid in pids.get(id, ()) if inner_pids(pid) == (1,)))
        homeless = tuple(
            each
            for each in cgroups.directories(path, resources)
            if bundle.life.pid not in by_path.get(each, frozenset())
        )
        found[id] = Inside(mount_targets(bundle.life.pid), limits, inits, homeless)
    return found


def _has_agent(layout: Layout) -> bool:
    """Whether a process holds the agent's lock. By /proc/locks: to try it could refuse one that starts."""
    try:
        lock = (layout.data / "agent.lock").stat()
    except OSError:
        return False
    inode = str(lock.st_ino)
    with open("/proc/locks") as file:  # noqa: PTH123 - one look of many
        return any("FLOCK" in line and line.split()[5].rpartition(":")[2] == inode for line in file)
