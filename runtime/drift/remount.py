"""A container's mounts, looked at from outside and put back from inside.

What a container has mounted is looked at through its root, by descriptor. A mount is put back on top of
what is there: nothing is unmounted, since a path may lead elsewhere by now. mount(2) acts in the caller's
namespace alone, so a thread of its own goes there and ends there; the others stay where they are.
"""

from __future__ import annotations

import os
import stat
import threading

from runtime import mounts, syscalls
from runtime.mounts import Mount


def fault(pid: int, root: int, target: str, source: str) -> str:
    """What is wrong with a mount of a process's container, "" when nothing is. root: its root directory.
    source: what was mounted, by its path on the host."""
    try:
        found = mounts.open_in_root(root, target)
    except OSError:
        return "" if _is_elsewhere(pid, source) else "is not mounted"
    try:
        state = syscalls.mount_root(found)
    finally:
        os.close(found)
    if not state.is_root:
        return "" if _is_elsewhere(pid, source) else "is not mounted"
    return "was removed on the host" if state.links == 0 else ""


def _is_elsewhere(pid: int, source: str) -> bool:
    """The container may have moved the directory that holds the mount: its own business."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
        roots = [line.split(" ", 5)[3] for line in file]  # proc(5): of the mount within its file system
    return any(len(each) > 1 and source.endswith(each) for each in roots)


def put_back(pid: int, mount: Mount) -> None:
    """Mount again, in the mount namespace of a process. OSError, SetpointError."""
    tree = mounts.source_tree(mount)
    namespace = -1
    failed: list[BaseException] = []
    try:
        namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        thread = threading.Thread(target=_mount_inside, args=(namespace, tree, mount, failed), name="remount")
        thread.start()
        thread.join()
    finally:
        os.close(tree)
        if namespace >= 0:
            os.close(namespace)
    if failed:
        raise failed[0]


def _mount_inside(namespace: int, tree: int, mount: Mount, failed: list[BaseException]) -> None:
    try:
        syscalls.unshare(syscalls.CLONE_FS)  # a root and a directory of its own, else setns(2) refuses
        syscalls.setns(namespace, syscalls.CLONE_NEWNS)
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _attach(root, tree, mount)
        finally:
            os.close(root)
    except BaseException as error:
        failed.append(error)


def _attach(root: int, tree: int, mount: Mount) -> None:
    mounts.set_bind(tree, mount, all_private=False)
    target = mounts.open_target(root, mount.target, stat.S_ISDIR(os.fstat(tree).st_mode))
    try:
        mounts.check_target(target, mount.target)
        mounts.attach(tree, target)
    finally:
        os.close(target)
