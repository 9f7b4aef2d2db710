"""The program that mounts and unmounts a volume's file system: a process of its own, since a disk that
hangs, or a directory whose server is gone, holds whoever touches it, out of reach of signals.

    {"op": "mount", "path": …, "mount": OCI}          a bind, a disk's file system, memory
    {"op": "mount", "path": …, "pid": …, "target": …} the memory that a running container has as this volume
    {"op": "unmount", "path": …}                      all that is mounted there

It is given one such line as its argument and answers with none, or with {"errno", "reason"}. Begun by
`volume_mounts`. Standard library only.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

# Run by its path (python -I -S): the repository, and nothing else, is where `runtime` is found.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120

from runtime import mount_table, mounts, syscalls
from runtime.errors import SetpointError
from runtime.mounts import Mount, parse_mount

MOST_UNMOUNTS = 16  # somebody else may have put something over it
_WORDS = (
    (syscalls.MS_RDONLY, "ro"), (syscalls.MS_SYNCHRONOUS, "sync"), (syscalls.MS_DIRSYNC, "dirsync"),
    (syscalls.MS_LAZYTIME, "lazytime"),
)  # fmt: skip


def main(told: str) -> int:
    order = json.loads(told)
    try:
        (_unmount if order["op"] == "unmount" else _mount)(order)
    except OSError as error:
        print(json.dumps({"errno": error.errno or 0, "reason": _reason(error)}))
    except SetpointError as error:
        print(json.dumps({"errno": 0, "reason": error.reason}))
    return 0


def _reason(error: OSError) -> str:
    """What the kernel says, and what a file system says itself (fsconfig(2)), in parentheses."""
    _, _, own = str(error.strerror or "").partition(f"{os.strerror(error.errno or 0)} (")
    return f"{os.strerror(error.errno or 0)}{f' ({own}' if own else ''}"


def _mount(order: dict[str, Any]) -> None:
    path = order["path"]
    if path in mount_table.points():  # of an earlier one, whose agent did not live to see it
        return
    tree = _tree(order)
    target = -1
    try:
        target = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        mounts.attach(tree, target)
    finally:
        os.close(tree)
        if target >= 0:
            os.close(target)


def _tree(order: dict[str, Any]) -> int:
    """Detached."""
    if "pid" in order:
        namespace = f"/proc/{order['pid']}/ns/mnt"
        return mounts.source_tree(Mount("bind", order["target"], "/", namespace=namespace))
    mount = parse_mount(order["mount"])
    if mount.kind != "bind":
        own = [word for flag, word in _WORDS if mount.flags & flag]
        data = ",".join(word for word in (*own, mount.data) if word)
        return mounts.new_tree(mount.kind, data, mount.flags, mount.source)
    tree = mounts.source_tree(mount)
    try:
        mounts.set_bind(tree, mount, all_private=False)
    except BaseException:
        os.close(tree)
        raise
    return tree


def _unmount(order: dict[str, Any]) -> None:
    for _ in range(MOST_UNMOUNTS):
        if order["path"] not in mount_table.points():
            return
        syscalls.umount2(order["path"], syscalls.MNT_DETACH | syscalls.UMOUNT_NOFOLLOW)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
