"""Makes an instance's run directory: always in memory, as every part that writes there assumes.

Almost everywhere /run is a tmpfs already. Where it is not (some containers and minimal systems), what is
in it would outlive a reboot and name processes that are gone, and each start would wait for a disk; then
the instance gets a tmpfs of its own. Called by `engine` before anything else is put there.
"""

from __future__ import annotations

import os
from pathlib import Path

from runtime import syscalls
from runtime.errors import Temporary
from runtime.layout import Layout

_FLAGS = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
_MEMORY = ("tmpfs", "ramfs")


def prepare(layout: Layout) -> None:
    """Make it, mode 0711. May be repeated; what is in it stays. Temporary when it cannot be made."""
    run = layout.run
    try:
        run.mkdir(mode=0o711, parents=True, exist_ok=True)
        if file_system_of(run) not in _MEMORY and not any(run.iterdir()):
            syscalls.mount("tmpfs", os.fspath(run), "tmpfs", _FLAGS, "mode=0711,size=50%")
        run.chmod(0o711)
    except OSError as error:
        raise Temporary("make", str(run), str(error)) from error


def file_system_of(path: Path) -> str:
    """The type of the file system that a directory is on (mountinfo, proc(5))."""
    found, length = "", -1
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        point = before.split(" ")[4].rstrip("/")
        if f"{path}/".startswith(f"{point}/") and len(point) >= length:
            found, length = after.split(" ")[0], len(point)
    return found
