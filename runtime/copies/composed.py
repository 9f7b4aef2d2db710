"""The root of a container that does not run, made for one process that looks at it: its layers, and over them
its volumes and binds. A tmpfs has nothing in it as long as nobody runs.

Called by the worker, which has a mount namespace of its own then: with the process all of it is gone. By
descriptors, as everywhere (`mounts`). Standard library only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from runtime import mounts, syscalls
from runtime.errors import NotFound

_OWN = ("/proc", "/sys", "/dev")  # made for each start; what is below is nobody's


def compose(overlay: mounts.Overlay, wanted: Sequence[Mapping[str, Any]], *, read_only: bool) -> int:
    """A descriptor of the root. wanted: OCI mounts, of which binds count. `NotFound` where a source is gone:
    without it, what it hides would pass for what the container has."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount(None, "/", None, syscalls.MS_PRIVATE | syscalls.MS_REC)
    target = os.open(overlay.work, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        root = mounts.mount_overlay(overlay, target)
    finally:
        os.close(target)
    for mount in mounts.parse_mounts(wanted, ""):
        if mount.kind == "bind" and not mount.target.startswith(_OWN):
            _bind(mount._replace(mapped=False), root)
    if read_only:
        syscalls.mount_setattr(root, "", syscalls.AT_EMPTY_PATH, syscalls.MOUNT_ATTR_RDONLY)
    return root


def _bind(mount: mounts.Mount, root: int) -> None:
    try:
        mounts.apply_bind(mount, root, all_private=True)
    except FileNotFoundError as error:
        raise NotFound("mount", mount.target, f"its source {mount.source} is gone") from error
