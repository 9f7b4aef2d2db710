"""Keeps the supervisor's socket where clients look for it: removed by somebody, it is made again.

Without it a later agent could neither connect nor start another supervisor, since the lock is held. Clients
that are connected stay so. One inotify descriptor (inotify(7)) on the run directory, in which little
happens. Called by `main` once; standard library only.
"""

from __future__ import annotations

import contextlib
import os

from runtime import syscalls
from runtime.supervisor.loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from runtime.supervisor.server import Supervisor

_REMOVED = syscalls.IN_DELETE | syscalls.IN_MOVED_FROM


def keep(server: Supervisor, path: str, bind: Callable[[str], socket.socket]) -> None:
    """Watch from now on. bind: makes the listening socket at a path. Does without where the host has no
    inotify descriptors left (fs.inotify.max_user_instances)."""
    try:
        descriptor = syscalls.inotify_init()
        syscalls.inotify_add_watch(descriptor, os.path.dirname(path), _REMOVED)
    except OSError:
        return

    def on_removal(_events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(descriptor, 65536)
        if os.path.exists(path) or not server.loop.is_running:
            return
        server.stop_listening()
        server.listen(bind(path))
        server.publish({"event": "listening"})

    server.loop.watch(descriptor, READ, on_removal)
