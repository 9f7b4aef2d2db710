"""Whether a container is prepared: all is made that its process needs, and there is none."""

from __future__ import annotations

from runtime import cgroups
from runtime.engine import NativeEngine


def is_prepared(engine: NativeEngine, id: str) -> bool:
    cgroup = engine._assembly.cgroup(id)
    return bool(cgroups.existing(cgroup)) and not cgroups.list_pids(cgroup)
