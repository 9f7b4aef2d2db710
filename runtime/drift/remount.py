"""A container's mounts, looked at from outside and put back from inside.

What a container has mounted is looked at through its root, by descriptor. Only what was removed on the
host is unmounted, since nothing can be mounted on it; by descriptor too, for a path may lead elsewhere by
now. mount(2) acts in the caller's namespace alone, so a thread of its own goes there and ends there.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading

from runtime import mapped_mounts, mounts, syscalls
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
        if mount.mapped:
            _map_owners(pid, tree, mount)
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


def _map_owners(pid: int, tree: int, mount: Mount) -> None:
    users = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        mapped_mounts.map_owners(tree, mount, users)
    finally:
        os.close(users)


def _mount_inside(namespace: int, tree: int, mount: Mount, failed: list[BaseException]) -> None:
    try:
        syscalls.unshare(syscalls.CLONE_FS)  # a root and a directory of its own, else setns(2) refuses
        descriptors = os.open("/proc/thread-self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            syscalls.setns(namespace, syscalls.CLONE_NEWNS)
            os.fchdir(descriptors)  # the container's own /proc does not show us
        finally:
            os.close(descriptors)
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _attach(root, tree, mount)
        finally:
            os.close(root)
    except BaseException as error:
        failed.append(error)


def _attach(root: int, tree: int, mount: Mount) -> None:
    mounts.set_bind(tree, mount, all_private=False)
    _unmount_removed(root, mount.target)
    target = mounts.open_target(root, mount.target, stat.S_ISDIR(os.fstat(tree).st_mode))
    try:
        mounts.check_target(target, mount.target)
        mounts.attach(tree, target)
    finally:
        os.close(target)


def _unmount_removed(root: int, path: str) -> None:
    """Called in the directory of our descriptors: umount2(2) takes a path, and the descriptor's is sure."""
    with contextlib.suppress(FileNotFoundError):
        found = mounts.open_in_root(root, path)
        try:
            state = syscalls.mount_root(found)
            if state.is_root and state.links == 0:
                syscalls.umount2(str(found), syscalls.MNT_DETACH)
        finally:
            os.close(found)
