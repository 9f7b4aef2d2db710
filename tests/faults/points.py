"""Which points a walk visits, of all that one run was seen to pass. Pure.

A kill right after a step and a kill right before the next one of the same process find the same world; so do
all kills between which a process did only what nobody else sees and what ends with it (mounts in a namespace
of its own, its own privileges). Such points are one state, visited once. And what loops or happens to every
container is visited at its first occurrence, unless all are asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tests.faults.control import Seen

# Steps in the supervisor and its children that no other process can see and that end with the process.
# What the supervisor mounts, it mounts in the namespaces of the container that it is building.
_PRIVATE = frozenset(
    ("capset", "fsconfig", "fsmount", "fsopen", "keyctl_join_session_keyring", "mknod", "mount",
     "mount_setattr", "move_mount", "open_tree", "pivot_root", "prctl", "seccomp_set_filter",
     "setdomainname", "sethostname", "setns", "symlink", "umount2", "unshare")
)  # fmt: skip


class Point(NamedTuple):
    """A point by its name, and the how-many-th time that it is reached."""

    name: str
    nth: int

    @property
    def role(self) -> str:
        return self.name.partition(" ")[0]

    def __str__(self) -> str:
        return f"{self.name} #{self.nth}"

    @classmethod
    def parse(cls, text: str) -> Point:
        name, _, nth = text.rpartition(" #")
        return cls(name, int(nth))


def is_private(name: str) -> bool:
    """Whether the step of a point's name leaves nothing that outlives its process."""
    role, _place, call, _ = name.split(" ")
    if role == "agent" or role == "images":
        return call in ("prctl",)
    return call in _PRIVATE


def states(seen: Sequence[Seen]) -> list[list[Point]]:
    """All points, those that find the same world together; in the order of time."""
    passed: Counter[str] = Counter()
    groups: list[list[Point]] = []
    last: dict[int, list[Point]] = {}
    for each in seen:
        passed[each.name] += 1
        point = Point(each.name, passed[each.name])
        group = last.get(each.slot)
        if group is None or not _is_same_state(group[-1].name, each.name):
            group = []
            groups.append(group)
            last[each.slot] = group
        group.append(point)
    return groups


def _is_same_state(before: str, after: str) -> bool:
    """Between two points that follow each other in one process: was nothing done that others see?"""
    is_a_step = before.endswith(" before") and after.endswith(" after")
    return not is_a_step or is_private(before)


def choose(seen: Sequence[Seen], known: Iterable[str] = (), *, everything: bool = False) -> list[Point]:
    """The points to visit. known: names that were visited already, of another run. everything: every
    occurrence of every point."""
    groups = states(seen)
    if everything:
        return [point for group in groups for point in group]
    covered = set(known)
    chosen = []
    for group in groups:
        new = [point for point in group if point.name not in covered]
        if new:
            chosen.append(new[-1])
            covered.update(point.name for point in group)
    return chosen
