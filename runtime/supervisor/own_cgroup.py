"""The supervisor's way out of its starter's control groups, so that who stops, limits or freezes the agent
does not hit it and what it will start.

In the hierarchies that every container has a cgroup in it gets one of its own, beside the containers'
parent (on v2 no cgroup that passes controllers on may hold processes). In the others, which a container
without limits stays in as it was forked, it goes to the root. Called by `main`, but not for a service: that
one's cgroup is its own. Does what it can.
"""

from __future__ import annotations

import contextlib
import os

from runtime import cgroups
from runtime.cgroup_limits import controllers
from runtime.errors import Conflict


def path_beside(parent: str) -> str:
    """Where it is: no instance's name has a dot."""
    return f"/{parent}.supervisor"


def enter(parent: str) -> None:
    """parent: the name of the containers' parent, below each hierarchy's mount point."""
    found = cgroups.hierarchies()
    own = {found.directory(name, "") for name in controllers({}, found)}
    for point in own:
        # EBUSY by a child of a dead supervisor is a Conflict.
        with contextlib.suppress(OSError, Conflict):
            directory = f"{point}{path_beside(parent)}"
            cgroups.make_anew(directory)
            cgroups.join([f"{directory}/cgroup.procs"], os.getpid())
    for point in _v1_mount_points() - own:
        with contextlib.suppress(OSError):
            cgroups.join([f"{point}/cgroup.procs"], os.getpid())


def _v1_mount_points() -> set[str]:
    """Named hierarchies too: systemd ends by its own what is in a service's."""
    with open("/proc/self/mountinfo") as file:
        return {line.split(" ")[4] for line in file if " - cgroup " in line}
