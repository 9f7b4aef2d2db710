"""Idmapped mounts: files shown to a container with the owners that its user namespace gives them.

What is on the disk stays as it was, 0 to 65535, so that layers are shared between containers and a volume
needs no chown when a container gets, loses or changes its ids. mount_setattr(2) MOUNT_ATTR_IDMAP, kernel
5.12; which file systems can, and since when, is told there. Works on detached trees only. Standard library.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator, Sequence

from runtime import syscalls as sys_
from runtime.errors import Invalid, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.mounts import Mount, Overlay

# What the kernel itself shows: it has no owners to map, and is bound as it is.
KERNEL_FILE_SYSTEMS = frozenset(
    (
        "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs",
        "efivarfs", "fusectl", "hugetlbfs", "mqueue", "nsfs", "proc", "pstore", "securityfs", "selinuxfs",
        "sysfs", "tracefs",
    )
)  # fmt: skip
_HINT = "idmapped mounts need ext4, xfs, btrfs or (kernel 6.3) tmpfs; or set userns_mode: host"


def map_owners(tree: int, mount: Mount, users: int) -> None:
    """Map the owners of a bind's detached tree, and of all that is mounted in it when it is recursive.

    users: a descriptor of the user namespace. Unsupported, with the file system's name, where one cannot.
    """
    if not is_mapped(tree, mount, users):
        map_top(tree, mount, users)


def is_mapped(tree: int, mount: Mount, users: int) -> bool:
    """Map all of a tree at once, and say whether that was possible."""
    if users < 0:
        raise Invalid("mount", mount.target, "idmapped, but the container has no ids of its own", "")
    try:
        _map(tree, users, sys_.AT_RECURSIVE if mount.recursive else 0)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EPERM):
            raise
        return False
    return True


def separate(mount: Mount, users: int, own_points: Collection[str]) -> Iterator[tuple[str, int]]:
    """What is mounted below a recursive bind, each as a detached tree of its own, with its path below the
    bind; owners mapped, but for the kernel's own file systems. own_points: where this container's root is
    just made, which is left out. For a tree that cannot be mapped as a whole. The caller closes them."""
    source = _source(mount)
    seen = {""}
    for path, kind in _mounted(source, recursive=True):
        point = f"{source.rstrip('/')}/{path}"
        if path in seen or any(f"{point}/".startswith(f"{own}/") for own in own_points):
            continue
        seen.add(path)
        try:
            tree = sys_.open_tree(sys_.AT_FDCWD, point, sys_.OPEN_TREE_CLONE)
        except OSError:  # hidden below another mount, or unbindable
            continue
        try:
            _map_one(tree, mount, users, point, kind)
        except BaseException:
            os.close(tree)
            raise
        yield path, tree


def map_top(tree: int, mount: Mount, users: int) -> None:
    """Map what a bind itself lies on, unless the kernel's own file systems do."""
    source = _source(mount)
    kind = next((kind for path, kind in _mounted(source, recursive=False) if not path), "?")
    _map_one(tree, mount, users, source, kind)


def _map_one(tree: int, mount: Mount, users: int, point: str, kind: str) -> None:
    if kind in KERNEL_FILE_SYSTEMS:
        return
    try:
        _map(tree, users)
    except OSError as error:
        raise _unsupported(mount, point, kind, error) from error


def _map(tree: int, users: int, recursive: int = 0) -> None:
    sys_.mount_setattr(tree, "", sys_.AT_EMPTY_PATH | recursive, sys_.MOUNT_ATTR_IDMAP, userns=users)


def _unsupported(mount: Mount, point: str, kind: str, error: OSError) -> Unsupported:
    reason = f"{point} is on {kind}, whose owners cannot be mapped"
    if error.errno == errno.EPERM:
        reason = f"{point} ({kind}) is an idmapped mount already"
    return Unsupported("mount", mount.target, reason, _HINT)


def _source(mount: Mount) -> str:
    return os.path.realpath(f"{mount.source}/{mount.subpath}" if mount.subpath else mount.source)


def _mounted(source: str, *, recursive: bool) -> Iterator[tuple[str, str]]:
    """(path below source, file system) of what source lies on ("") and of what is mounted below it."""
    opened = os.open(source, os.O_PATH | os.O_CLOEXEC)
    try:
        lies_on = str(sys_.mount_id(opened))
    finally:
        os.close(opened)
    below = f"{source.rstrip('/')}/"
    with open("/proc/self/mountinfo", "rb") as file:
        lines = file.read().split(b"\n")
    for line in lines[:-1]:
        fields, _, rest = line.partition(b" - ")
        parts = fields.split(b" ")
        kind = rest.split(b" ", 1)[0].decode()
        # Octal escapes of single bytes (proc(5)).
        point = os.fsdecode(parts[4].decode("unicode_escape").encode("latin-1"))
        if parts[0].decode() == lies_on:
            yield "", kind
        elif recursive and point.startswith(below):
            yield point[len(below) :], kind


def cover_layers(overlay: Overlay, users: int) -> None:
    """Put an idmapped bind over each directory that an overlay is made of, so that it is made of those.

    For a mount namespace that nobody else is in. They are attached, since before kernel 6.15 overlayfs takes
    no detached ones.
    """
    for directory in _directories(overlay):
        tree = sys_.open_tree(sys_.AT_FDCWD, directory, sys_.OPEN_TREE_CLONE)
        try:
            _map(tree, users)
            sys_.move_mount(tree, "", sys_.AT_FDCWD, directory, sys_.MOVE_MOUNT_F_EMPTY_PATH)
        except OSError as error:
            raise Unsupported(
                "mount root",
                directory,
                f"map the owners of its files: {os.strerror(error.errno or 0)}",
                _HINT,
            ) from error
        finally:
            os.close(tree)


def own_points(overlay: Overlay) -> Collection[str]:
    """Where the container's own root is in the mount namespace that it is made in."""
    return {*_directories(overlay), overlay.work}


def _directories(overlay: Overlay) -> Sequence[str]:
    """upper and work have to lie on one mount: it is put over the directory that has both."""
    upper = (os.path.dirname(overlay.upper),) if overlay.upper else ()
    return tuple(dict.fromkeys((*overlay.lower, *upper)))
