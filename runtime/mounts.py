"""Mounts of a container: the OCI mount list as pure values, and their applier by descriptors.

`parse_mounts` runs before the fork, `open_target` and `attach` in the child, inside its own mount
namespace. Targets are opened below the root with openat2(RESOLVE_IN_ROOT) and kept as descriptors
until the mount sits on them, so that no link exchanged meanwhile leads out of the root. Standard
library only; never takes a path of a container as a string to mount(2).
"""

from __future__ import annotations

import errno
import functools
import json
import os
import stat
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress

from runtime import mapped_mounts
from runtime import syscalls as sys_
from runtime.errors import Invalid, NotFound
from runtime.typed import Any, NamedTuple

PROC_MAGIC = 0x9FA0
TMPFS_MAGIC = 0x01021994
MAX_LINKS = 40  # as the kernel, path_resolution(7)
MAX_DEPTH = 100  # of a tree that is copied: two descriptors and two frames of the interpreter each

# Options that are flags: (flag, set?). mount(8).
_FLAGS: dict[str, tuple[int, bool]] = {
    "ro": (sys_.MS_RDONLY, True), "rw": (sys_.MS_RDONLY, False),
    "nosuid": (sys_.MS_NOSUID, True), "suid": (sys_.MS_NOSUID, False),
    "nodev": (sys_.MS_NODEV, True), "dev": (sys_.MS_NODEV, False),
    "noexec": (sys_.MS_NOEXEC, True), "exec": (sys_.MS_NOEXEC, False),
    "sync": (sys_.MS_SYNCHRONOUS, True), "async": (sys_.MS_SYNCHRONOUS, False),
    "dirsync": (sys_.MS_DIRSYNC, True),
    "noatime": (sys_.MS_NOATIME, True), "atime": (sys_.MS_NOATIME, False),
    "nodiratime": (sys_.MS_NODIRATIME, True), "diratime": (sys_.MS_NODIRATIME, False),
    "relatime": (sys_.MS_RELATIME, True), "norelatime": (sys_.MS_RELATIME, False),
    "strictatime": (sys_.MS_STRICTATIME, True), "nostrictatime": (sys_.MS_STRICTATIME, False),
    "lazytime": (sys_.MS_LAZYTIME, True), "nolazytime": (sys_.MS_LAZYTIME, False),
    "nosymfollow": (sys_.MS_NOSYMFOLLOW, True), "symfollow": (sys_.MS_NOSYMFOLLOW, False),
    "silent": (sys_.MS_SILENT, True), "loud": (sys_.MS_SILENT, False),
    "bind": (sys_.MS_BIND, True), "rbind": (sys_.MS_BIND | sys_.MS_REC, True),
    "defaults": (0, True), "remount": (sys_.MS_REMOUNT, True),
}  # fmt: skip
_PROPAGATION = {
    "private": sys_.MS_PRIVATE, "rprivate": sys_.MS_PRIVATE | sys_.MS_REC,
    "slave": sys_.MS_SLAVE, "rslave": sys_.MS_SLAVE | sys_.MS_REC,
    "shared": sys_.MS_SHARED, "rshared": sys_.MS_SHARED | sys_.MS_REC,
    "unbindable": sys_.MS_UNBINDABLE, "runbindable": sys_.MS_UNBINDABLE | sys_.MS_REC,
}  # fmt: skip
# For mount_setattr(2) on binds: option -> (bits to set, bits to clear).
_ATIME = sys_.MOUNT_ATTR__ATIME
_ATTRIBUTES: dict[str, tuple[int, int]] = {
    "ro": (sys_.MOUNT_ATTR_RDONLY, 0), "rw": (0, sys_.MOUNT_ATTR_RDONLY),
    "nosuid": (sys_.MOUNT_ATTR_NOSUID, 0), "suid": (0, sys_.MOUNT_ATTR_NOSUID),
    "nodev": (sys_.MOUNT_ATTR_NODEV, 0), "dev": (0, sys_.MOUNT_ATTR_NODEV),
    "noexec": (sys_.MOUNT_ATTR_NOEXEC, 0), "exec": (0, sys_.MOUNT_ATTR_NOEXEC),
    "nodiratime": (sys_.MOUNT_ATTR_NODIRATIME, 0), "diratime": (0, sys_.MOUNT_ATTR_NODIRATIME),
    "relatime": (sys_.MOUNT_ATTR_RELATIME, _ATIME), "noatime": (sys_.MOUNT_ATTR_NOATIME, _ATIME),
    "strictatime": (sys_.MOUNT_ATTR_STRICTATIME, _ATIME),
    "nosymfollow": (sys_.MOUNT_ATTR_NOSYMFOLLOW, 0), "symfollow": (0, sys_.MOUNT_ATTR_NOSYMFOLLOW),
}  # fmt: skip
_SUBPATH = "x-setpoint.subpath="
NAMESPACE = "x-setpoint.namespace="  # the file of another mount namespace that the source is in
_TARGETS_IN_PROC = frozenset(
    ["cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo", "net/dev"]
)


class Overlay(NamedTuple):
    """A root made of layers. lower: directories, the topmost first. upper "" is a read-only view."""

    lower: tuple[str, ...]
    upper: str = ""
    work: str = ""

    @classmethod
    def parse(cls, text: str) -> Overlay:
        """From the JSON that `to_json` makes (annotation "setpoint.rootfs")."""
        found = json.loads(text)
        return cls(tuple(found["lower"]), found.get("upper", ""), found.get("work", ""))

    def to_json(self) -> str:
        return json.dumps(
            {"lower": self.lower, "upper": self.upper, "work": self.work}, separators=(",", ":")
        )


class Mount(NamedTuple):
    """One mount, ready to be applied.

    kind: "bind", or a file system's name. flags: MS_*. data: the file system's own options.
    set_, clear: MOUNT_ATTR_* for a bind, recursive_set, recursive_clear for its whole tree.
    propagation: MS_PRIVATE etc. or 0. copy_up: a tmpfs that starts with the content it hides.
    namespace: the file of another container's mount namespace, whose tmpfs this is.
    mapped: show owners as the container's user namespace maps them (see `mapped_mounts`).
    """

    kind: str
    source: str
    target: str
    flags: int = 0
    data: str = ""
    set_: int = 0
    clear: int = 0
    recursive_set: int = 0
    recursive_clear: int = 0
    propagation: int = 0
    subpath: str = ""
    copy_up: bool = False
    namespace: str = ""
    mapped: bool = False

    @property
    def recursive(self) -> bool:
        return bool(self.flags & sys_.MS_REC)

    @property
    def read_only(self) -> bool:
        return bool((self.flags & sys_.MS_RDONLY) | (self.set_ & sys_.MOUNT_ATTR_RDONLY))


def parse_mounts(mounts: Iterable[Mapping[str, Any]], bundle: str) -> tuple[Mount, ...]:
    """The values of an OCI `mounts` array. A relative source of a bind is below the bundle."""
    return tuple(_parse_known(mount) or parse_mount(mount, bundle) for mount in mounts)


def _parse_known(mount: Mapping[str, Any]) -> Mount | None:
    """One of the file systems that nearly all containers have, parsed once; None for a bind."""
    kind = mount.get("type")
    if kind not in _FILE_SYSTEMS:
        return None
    return _parse_file_system(
        mount["destination"], kind, mount.get("source", ""), tuple(mount.get("options") or ())
    )


_FILE_SYSTEMS = frozenset(["proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2"])


@functools.lru_cache(maxsize=64)
def _parse_file_system(target: str, kind: str, source: str, options: tuple[str, ...]) -> Mount | None:
    if "bind" in options or "rbind" in options:
        return None
    return parse_mount({"destination": target, "type": kind, "source": source, "options": options})


def parse_mount(mount: Mapping[str, Any], bundle: str = "") -> Mount:
    """One entry of an OCI `mounts` array as a value. `Invalid` for a target that is not absolute."""
    target = mount["destination"]
    if "\0" in target or ".." in target.split("/"):
        raise Invalid("mount", target, "the target must not contain '..'", "write the path plainly")
    flags = propagation = set_ = clear = recursive_set = recursive_clear = 0
    data: list[str] = []
    subpath, namespace, copy_up, mapped = "", "", False, False
    for option in mount.get("options") or ():
        if option in _FLAGS:
            flag, on = _FLAGS[option]
            flags = flags | flag if on else flags & ~flag
            add, remove = _ATTRIBUTES.get(option, (0, 0))
            set_, clear = (set_ & ~remove) | add, (clear & ~add) | remove
        elif option in _PROPAGATION:
            propagation |= _PROPAGATION[option]
        elif option[:1] == "r" and option[1:] in _ATTRIBUTES:
            add, remove = _ATTRIBUTES[option[1:]]
            recursive_set, recursive_clear = recursive_set | add, recursive_clear | remove
        elif option.startswith(_SUBPATH):
            subpath = option[len(_SUBPATH) :]
        elif option.startswith(NAMESPACE):
            namespace = option[len(NAMESPACE) :]
        elif option == "tmpcopyup":
            copy_up = True
        elif option in ("idmap", "ridmap"):
            mapped = True
        elif option == "copy-symlink" or option.startswith("x-"):
            continue
        else:
            data.append(option)
    kind = mount.get("type") or ("bind" if flags & sys_.MS_BIND else "none")
    source = mount.get("source", "") or kind
    if flags & sys_.MS_BIND or kind == "bind":
        kind, flags = "bind", flags | sys_.MS_BIND
        source = source if source[:1] == "/" else f"{bundle}/{source}"
    return Mount(
        kind, source, _absolute(target), flags, ",".join(data), set_, clear,
        recursive_set, recursive_clear, propagation, subpath, copy_up, namespace, mapped,
    )  # fmt: skip


def _absolute(target: str) -> str:
    return "/" + "/".join(part for part in target.split("/") if part not in ("", "."))


def option_names() -> list[str]:
    """Every mount option that is understood here, sorted (for `features`)."""
    recursive = (f"r{name}" for name in _ATTRIBUTES)
    return sorted({*_FLAGS, *_PROPAGATION, *recursive, "tmpcopyup", "idmap", "ridmap"})


def propagation_flags(name: str) -> int:
    """`rslave` -> MS_SLAVE | MS_REC; "" is rprivate. `Invalid` for an unknown word."""
    flags = _PROPAGATION.get(name or "rprivate")
    if flags is None:
        raise Invalid("set propagation", name, "not a propagation", "rprivate, rslave or rshared")
    return flags


# --- the applier, in the child -------------------------------------------------------------------


def mount_overlay(overlay: Overlay, target: int) -> int:
    """Mount the layers on the directory target (a descriptor); returns a descriptor of the new root."""
    try:
        tree = _overlay_tree(overlay)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS):
            raise
        return _writable(_mount_overlay_by_path(overlay, target), overlay)
    try:
        attach(tree, target)
    except OSError:
        os.close(tree)
        raise
    return tree


def _overlay_tree(overlay: Overlay) -> int:
    """A detached overlay mount. "lowerdir+" needs kernel 6.8; older ones answer EINVAL."""
    context = sys_.fsopen("overlay")
    try:
        for directory in overlay.lower:
            sys_.fsconfig(context, sys_.FSCONFIG_SET_STRING, "lowerdir+", directory)
        if overlay.upper:
            sys_.fsconfig(context, sys_.FSCONFIG_SET_STRING, "upperdir", overlay.upper)
            sys_.fsconfig(context, sys_.FSCONFIG_SET_STRING, "workdir", overlay.work)
        sys_.fsconfig(context, sys_.FSCONFIG_SET_STRING, "source", "overlay")
        sys_.fsconfig(context, sys_.FSCONFIG_CMD_CREATE, None, None)
        return _writable(sys_.fsmount(context), overlay)
    finally:
        os.close(context)


def _writable(tree: int, overlay: Overlay) -> int:
    """overlayfs that cannot make its work directory (a full disk) says so in the kernel's log alone, and
    mounts read-only (fs/overlayfs/super.c, ovl_make_workdir). OSError then, and the mount is gone."""
    if overlay.upper and os.fstatvfs(tree).f_flag & os.ST_RDONLY:
        os.close(tree)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), overlay.work)
    return tree


def _mount_overlay_by_path(overlay: Overlay, target: int) -> int:
    """The way of kernels before 6.8. mount(2) takes one page of options: the layers are named as
    short /proc/self/fd paths, and characters that would end an option cannot occur in them."""
    opened = [os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for path in overlay.lower]
    try:
        options = "lowerdir=" + ":".join(f"/proc/self/fd/{each}" for each in opened)
        if overlay.upper:
            upper = os.open(overlay.upper, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            work = os.open(overlay.work, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            opened += [upper, work]
            options += f",upperdir=/proc/self/fd/{upper},workdir=/proc/self/fd/{work}"
        sys_.mount("overlay", f"/proc/self/fd/{target}", "overlay", 0, options)
    finally:
        for each in opened:
            os.close(each)
    # The descriptor target still shows the covered directory; its own name shows the new mount.
    name = os.readlink(f"/proc/self/fd/{target}")
    return os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def open_in_root(root: int, path: str, flags: int = os.O_PATH, resolve: int = 0) -> int:
    """Open path below root; links stay inside root, links of /proc (magic ones) are refused."""
    return sys_.openat2(root, path, flags, 0, sys_.RESOLVE_IN_ROOT | sys_.RESOLVE_NO_MAGICLINKS | resolve)


def open_target(root: int, path: str, directory: bool, resolve: int = 0) -> int:
    """A descriptor (O_PATH) of the place to mount on; it and its parents are made when missing.

    directory: whether to make a directory or an empty file. Every step is taken by descriptor: a
    directory is made with mkdirat below one that was opened inside root, a file with O_EXCL.
    """
    try:
        return open_in_root(root, path, os.O_PATH, resolve)
    except FileNotFoundError:
        made = _make_target(root, path, directory)
    if not resolve:
        return made
    os.close(made)
    return open_in_root(root, path, os.O_PATH, resolve)


def _make_target(root: int, path: str, directory: bool) -> int:
    parts = [part for part in path.split("/") if part]
    done: list[str] = []
    links = 0
    parent = os.dup(root)
    try:
        while parts:
            name = parts.pop(0)
            opened = _open_or_make(root, parent, [*done, name], directory or bool(parts))
            if opened >= 0:
                os.close(parent)
                parent = opened
                done.append(name)
                continue
            # A link that points at nothing, inside root: make what it names.
            links += 1
            link = os.readlink(name, dir_fd=parent)
            if links > MAX_LINKS or ".." in link.split("/"):
                raise OSError(errno.ELOOP, f"dangling link {'/'.join([*done, name])} -> {link}")
            start = [] if link[:1] == "/" else done
            parts = [*start, *(part for part in link.split("/") if part not in ("", ".")), *parts]
            done = []
            os.close(parent)
            parent = os.dup(root)
    except BaseException:
        os.close(parent)
        raise
    return parent


def _open_or_make(root: int, parent: int, path: Sequence[str], directory: bool) -> int:
    """The last part of path opened, made when it is missing; -1 when it is a dangling link."""
    joined = "/".join(path)
    try:
        return open_in_root(root, joined)
    except FileNotFoundError:
        if not _make_entry(parent, path[-1], directory):
            return -1
    return open_in_root(root, joined)


def _make_entry(parent: int, name: str, directory: bool) -> bool:
    """Make a directory or an empty file; False when something (a dangling link) is there already. Whoever the
    container runs as must come through to what is mounted, whatever the umask of who makes its root."""
    umask = os.umask(0o022)
    try:
        if directory:
            os.mkdir(name, 0o755, dir_fd=parent)
        else:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=parent))
    except FileExistsError:
        return False
    finally:
        os.umask(umask)
    return True


def attach(tree: int, target: int) -> None:
    """Put a detached mount onto a place, both descriptors."""
    sys_.move_mount(tree, "", target, "", sys_.MOVE_MOUNT_F_EMPTY_PATH | sys_.MOVE_MOUNT_T_EMPTY_PATH)


def attach_in_new(tree: int, parent: int, name: str) -> None:
    """Put a detached mount onto a new directory of the root of a file system that was made by us: nobody else
    has written to it yet, so the name that mkdirat(2) gave is no link. FileExistsError where it was there."""
    os.mkdir(name, 0o755, dir_fd=parent)
    sys_.move_mount(tree, "", parent, name, sys_.MOVE_MOUNT_F_EMPTY_PATH)


def bind_tree(directory: int, path: str, recursive: bool = False) -> int:
    """A detached bind of a host's path ("" is the descriptor itself)."""
    flags = sys_.OPEN_TREE_CLONE | (sys_.AT_RECURSIVE if recursive else 0)
    return sys_.open_tree(directory, path, flags | (0 if path else sys_.AT_EMPTY_PATH))


def source_tree(mount: Mount) -> int:
    """The detached bind for a mount; its subpath is resolved below its source and never leaves it."""
    if mount.namespace:
        return _tree_of_another(mount)
    if not mount.subpath:
        return bind_tree(sys_.AT_FDCWD, mount.source, mount.recursive)
    base = os.open(mount.source, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        inner = _open_subpath(base, mount)
        try:
            return bind_tree(inner, "", mount.recursive)
        finally:
            os.close(inner)
    finally:
        os.close(base)


def _open_subpath(base: int, mount: Mount) -> int:
    try:
        return open_in_root(base, mount.subpath)
    except OSError as error:
        number = error.errno or 0
        if number not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        path = f"{mount.source}/{mount.subpath}"
        kind = NotFound if number == errno.ENOENT else Invalid  # who fills the volume may come later
        reason = f"cannot access path {path}: {os.strerror(number).lower()}"
        hint = f"make it first; a link on the way is followed as if {mount.source} were the root"
        raise kind("mount", mount.target, reason, hint) from error


def _tree_of_another(mount: Mount) -> int:
    """The detached bind of a tmpfs in another container. A mount is only cloned from inside its own
    namespace; what lies there is that container's to arrange, so no link is followed."""
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    opened = [own]
    try:
        opened.append(os.open(mount.namespace, os.O_RDONLY | os.O_CLOEXEC))
        sys_.setns(opened[-1], sys_.CLONE_NEWNS)
        try:
            opened.append(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            opened.append(open_in_root(opened[-1], mount.source, os.O_PATH, sys_.RESOLVE_NO_SYMLINKS))
            if sys_.file_system(opened[-1]) != TMPFS_MAGIC:
                raise Invalid("mount", mount.target, "the other container has no shared memory to share", "")
            return bind_tree(opened[-1], "")
        finally:
            sys_.setns(own, sys_.CLONE_NEWNS)
    finally:
        for each in opened:
            os.close(each)


def apply_bind(
    mount: Mount, root: int, all_private: bool, users: int = -1, own_points: Collection[str] = ()
) -> None:
    """Make one bind mount below root. all_private: no mount of this namespace propagates anything. users:
    the user namespace to whose ids a mapped one's owners are mapped, except on own_points."""
    tree = source_tree(mount)
    target = -1
    try:
        is_apart = mount.mapped and not mapped_mounts.is_mapped(tree, mount, users)
        if is_apart:
            flat = mount._replace(flags=mount.flags & ~sys_.MS_REC)
            whole, tree = tree, source_tree(flat)
            os.close(whole)
            mapped_mounts.map_top(tree, flat, users)
        set_bind(tree, mount, all_private)
        target = open_target(root, mount.target, stat.S_ISDIR(os.fstat(tree).st_mode))
        check_target(target, mount.target)
        attach(tree, target)
        if is_apart and mount.recursive:
            _attach_apart(tree, mount, all_private, users, own_points)
    finally:
        os.close(tree)
        if target >= 0:
            os.close(target)


def _attach_apart(
    tree: int, mount: Mount, all_private: bool, users: int, own_points: Collection[str]
) -> None:
    """The mounts below a bind, one after the other: only the top of a detached tree can be idmapped."""
    for path, each in mapped_mounts.separate(mount, users, own_points):
        try:
            set_bind(each, mount, all_private)
            place = open_in_root(tree, path, os.O_PATH, sys_.RESOLVE_NO_SYMLINKS)
        except FileNotFoundError:  # hidden below another mount
            continue
        else:
            attach(each, place)
            os.close(place)
        finally:
            os.close(each)


def set_bind(tree: int, mount: Mount, all_private: bool) -> None:
    """Give a detached bind the attributes that its mount asks for."""
    if mount.set_ or mount.clear:
        sys_.mount_setattr(tree, "", sys_.AT_EMPTY_PATH, mount.set_, mount.clear)
    if mount.recursive_set or mount.recursive_clear:
        sys_.mount_setattr(
            tree, "", sys_.AT_EMPTY_PATH | sys_.AT_RECURSIVE, mount.recursive_set, mount.recursive_clear
        )
    if not all_private:
        set_propagation(tree, mount.propagation or sys_.MS_PRIVATE | sys_.MS_REC)


def check_target(target: int, path: str) -> None:
    """Refuse a bind that would land inside procfs: it could redirect the runtime's own writes."""
    if sys_.file_system(target) != PROC_MAGIC:
        return
    if path.startswith("/proc/") and path[6:] in _TARGETS_IN_PROC:
        return
    raise Invalid("mount", path, "the target lies in /proc", "choose another target")


def set_propagation(tree: int, flags: int) -> None:
    """Set MS_PRIVATE and the like on a mount's descriptor, on all below it with MS_REC."""
    recursive = sys_.AT_RECURSIVE if flags & sys_.MS_REC else 0
    sys_.mount_setattr(tree, "", sys_.AT_EMPTY_PATH | recursive, 0, 0, flags & ~sys_.MS_REC)


def attributes(flags: int) -> int:
    """The MOUNT_ATTR_* bits for MS_* flags of a new mount."""
    wanted = flags & (sys_.MS_RDONLY | sys_.MS_NOSUID | sys_.MS_NODEV | sys_.MS_NOEXEC)  # same bits
    if flags & sys_.MS_NOATIME:
        wanted |= sys_.MOUNT_ATTR_NOATIME
    elif flags & sys_.MS_STRICTATIME:
        wanted |= sys_.MOUNT_ATTR_STRICTATIME
    if flags & sys_.MS_NODIRATIME:
        wanted |= sys_.MOUNT_ATTR_NODIRATIME
    if flags & sys_.MS_NOSYMFOLLOW:
        wanted |= sys_.MOUNT_ATTR_NOSYMFOLLOW
    return wanted


def new_tree(kind: str, data: str, flags: int, source: str = "") -> int:
    """A detached mount of a new file system."""
    context = sys_.fsopen(kind)
    try:
        sys_.fsconfig(context, sys_.FSCONFIG_SET_STRING, "source", source or kind)
        for option in data.split(",") if data else ():
            key, separator, value = option.partition("=")
            if separator:
                sys_.fsconfig(context, sys_.FSCONFIG_SET_STRING, key, value)
            else:
                sys_.fsconfig(context, sys_.FSCONFIG_SET_FLAG, key, None)
        sys_.fsconfig(context, sys_.FSCONFIG_CMD_CREATE, None, None)
        return sys_.fsmount(context, attributes(flags))
    finally:
        os.close(context)


_INSIDE = sys_.RESOLVE_IN_ROOT | sys_.RESOLVE_NO_MAGICLINKS


def mask(root: int, paths: Iterable[str], null: int, prefix: str = "", empty: int = -1) -> int:
    """Hide paths: a directory under a read-only empty one, all else under the host's /dev/null (null).

    prefix: what root stands for, taken off the paths. empty: that directory, where this container has one
    already; the one that is returned is the caller's (-1: none was needed). Only ENOENT (and a path through a
    file) is passed over: what cannot be hidden must stop the start.
    """
    target = -1
    try:
        for path in paths:
            target = sys_.openat2_if_there(root, path[len(prefix) :], os.O_PATH, _INSIDE)
            if target < 0:
                continue
            if not stat.S_ISDIR(os.fstat(target).st_mode):
                _cover(null, target)
            elif empty < 0:
                empty = new_tree("tmpfs", "nr_blocks=1,nr_inodes=1,mode=555", sys_.MS_RDONLY)
                attach(empty, target)
            else:
                _cover(empty, target)
            os.close(target)
            target = -1
    except BaseException:
        for descriptor in (empty, target):
            if descriptor >= 0:
                os.close(descriptor)
        raise
    return empty


def _cover(source: int, target: int) -> None:
    tree = bind_tree(source, "")
    try:
        attach(tree, target)
    finally:
        os.close(tree)


def make_read_only(root: int, path: str) -> None:
    """Cover a path with a read-only bind of itself; a missing one is passed over."""
    try:
        target = open_in_root(root, path)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        tree = bind_tree(target, "", recursive=True)
        try:
            sys_.mount_setattr(tree, "", sys_.AT_EMPTY_PATH | sys_.AT_RECURSIVE, sys_.MOUNT_ATTR_RDONLY)
            attach(tree, target)
        finally:
            os.close(tree)
    finally:
        os.close(target)


def bind_descriptor(source: int, parent: int, name: str) -> None:
    """Bind an open file over the (new, empty) file name in the directory parent."""
    flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY | os.O_CLOEXEC
    with suppress(FileExistsError):
        os.close(os.open(name, flags, 0o600, dir_fd=parent))
    target = open_in_root(parent, name, os.O_PATH | os.O_NOFOLLOW, sys_.RESOLVE_NO_SYMLINKS)
    try:
        _cover(source, target)
    finally:
        os.close(target)


def bind_file(source: str, parent: int, name: str) -> None:
    """Bind a host's file (a device node) over the file name in the directory parent."""
    opened = os.open(source, os.O_PATH | os.O_CLOEXEC)
    try:
        bind_descriptor(opened, parent, name)
    finally:
        os.close(opened)


def cgroup_tree(directories: Sequence[tuple[str, str]], mount: Mount, target: int) -> int:
    """Mount a container's own cgroups; directories: (name, host directory) of each hierarchy.

    One hierarchy named "" (v2) is bound as it is; several (v1, hybrid) are bound below a tmpfs, as
    programs expect them. Binds of the own directory show no other cgroup, with or without a namespace.
    """
    if len(directories) == 1 and not directories[0][0]:
        tree = bind_tree(sys_.AT_FDCWD, directories[0][1])
        try:
            sys_.mount_setattr(tree, "", sys_.AT_EMPTY_PATH, attributes(mount.flags) & ~_ATIME)
            attach(tree, target)
        except BaseException:
            os.close(tree)
            raise
        return tree
    base = new_tree("tmpfs", "mode=755,size=64k", mount.flags & ~sys_.MS_RDONLY)
    try:
        attach(base, target)
        for name, directory in directories:
            tree = bind_tree(sys_.AT_FDCWD, directory)
            try:
                attach_in_new(tree, base, name)
            finally:
                os.close(tree)
        everywhere = sys_.AT_EMPTY_PATH | sys_.AT_RECURSIVE
        sys_.mount_setattr(base, "", everywhere, attributes(mount.flags) & ~_ATIME)
    except BaseException:
        os.close(base)
        raise
    return base


def copy_up(source: int, tree: int, depth: int = 0) -> None:
    """Copy what a new tmpfs hides into it: directories, regular files and links, never devices."""
    if depth > MAX_DEPTH:
        raise OSError(errno.ELOOP, f"deeper than {MAX_DEPTH} directories")
    listing = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=source)
    try:
        with os.scandir(listing) as entries:
            names = [entry.name for entry in entries]
    finally:
        os.close(listing)
    for name in names:
        _copy_entry(name, source, tree, depth)


def _copy_entry(name: str, source: int, tree: int, depth: int) -> None:
    found = os.stat(name, dir_fd=source, follow_symlinks=False)
    if stat.S_ISLNK(found.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=tree)
    elif stat.S_ISDIR(found.st_mode):
        os.mkdir(name, found.st_mode & 0o7777, dir_fd=tree)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        inner_source = os.open(name, flags, dir_fd=source)
        try:
            inner_tree = os.open(name, flags, dir_fd=tree)
            try:
                copy_up(inner_source, inner_tree, depth + 1)
            finally:
                os.close(inner_tree)
        finally:
            os.close(inner_source)
    elif stat.S_ISREG(found.st_mode):
        _copy_file(name, found.st_mode & 0o7777, source, tree)
    else:
        return
    os.chown(name, found.st_uid, found.st_gid, dir_fd=tree, follow_symlinks=False)


def _copy_file(name: str, mode: int, source: int, tree: int) -> None:
    # O_NONBLOCK: another container may have put a FIFO in its place, or hold a lease on it.
    reader = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
    try:
        writer = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=tree)
        try:
            while os.sendfile(writer, reader, None, 1 << 20):
                pass
            os.fchmod(writer, mode)
        finally:
            os.close(writer)
    finally:
        os.close(reader)
