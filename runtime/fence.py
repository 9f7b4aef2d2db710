"""The common fence of workers, the processes that read what strangers made: one for each kind of them.

    engine ─ Fence("NAME.images") ─> control groups: memory, processes, processor weight of all of them
                                  ─ environment() ─> a worker, which enters (`worker_bounds`)

A worker enters before it reads anything: it is our own program until then, and for the kernel one's own move
is the cheap one. The groups are made with the first worker, and stay for the next. Where a host lets us make
none (a nested one), all goes on without.
"""

from __future__ import annotations

import contextlib
import threading
import time

from runtime import side_groups
from runtime.errors import SetpointError, Temporary
from runtime.worker_caps import Caps

_AGAIN_SECONDS = 60.0  # a host that lets us make no groups is not asked for each worker


class Fence:
    """cgroup: its path below each hierarchy's mount point, "" for none. Any thread may call."""

    def __init__(self, cgroup: str = "", caps: Caps = Caps()) -> None:
        self.caps = caps
        self._path = f"/{cgroup}" if cgroup else ""
        self._lock = threading.Lock()
        self._directories: tuple[str, ...] = ()
        self._not_before = 0.0

    def environment(self) -> dict[str, str]:
        """For a worker that is to be started now."""
        return self.caps.environment(tuple(map(side_groups.way_in, self._made())))

    def _made(self) -> tuple[str, ...]:
        with self._lock:
            if not self._path or (self._directories and side_groups.are_there(self._directories)):
                return self._directories
            self._directories = ()
            if time.monotonic() >= self._not_before:
                self._not_before = time.monotonic() + _AGAIN_SECONDS
                with contextlib.suppress(OSError, SetpointError):
                    self._directories = side_groups.hold(
                        self._path,
                        memory_bytes=self.caps.memory_bytes,
                        processes=self.caps.processes,
                        is_behind=True,
                    )
                    self._not_before = 0.0
            return self._directories

    def oom_kills(self) -> int:
        """So far; see `explained`."""
        return side_groups.oom_kills(self._directories)

    def explained(self, error: Temporary, oom_kills: int) -> Temporary:
        """An error of a worker that ended, with the reason if that was memory. oom_kills: as many as there
        were when it began."""
        if self.oom_kills() <= oom_kills:
            return error
        size = f"{self.caps.memory_bytes / (1 << 30):.3g} GiB"
        reason = f"its process was ended: all work of this kind may take {size} of memory together"
        hint = "is it a bomb? `setpoint agent --worker-memory` allows more"
        return Temporary(error.op, error.subject, reason, hint, 60)

    def close(self) -> None:
        """Take the groups away; whoever still is in them ends."""
        with self._lock:
            if self._directories:
                self._directories = ()
                with contextlib.suppress(OSError, SetpointError):
                    side_groups.let_go(self._path)
