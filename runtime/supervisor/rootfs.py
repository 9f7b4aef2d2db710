"""The root of a container: everything mounted, made and hidden below it, by descriptors.

Works on the namespaces that the calling process is in: the supervisor's while it stands in for a
container (`build`), or the forked child's (`build` and `finish`). Every descriptor that is opened is
closed on every path, since the supervisor lives on after an error.
"""

from __future__ import annotations

import errno
import os
import stat

from runtime import devices, mapped_mounts, mounts
from runtime import syscalls as sys_
from runtime.errors import Invalid, Unsupported
from runtime.supervisor.prepare import Plan
from runtime.supervisor.report import failure
from runtime.typed import NamedTuple

_RO = sys_.MOUNT_ATTR_RDONLY
_EMPTY = sys_.AT_EMPTY_PATH
_ATTACH = sys_.MOVE_MOUNT_F_EMPTY_PATH
_CLONE_HERE = sys_.OPEN_TREE_CLONE | sys_.AT_RECURSIVE


class Root(NamedTuple):
    """Descriptors of a root, and of the empty directory that hides others in it (-1: it hides none)."""

    root: int
    empty: int


def build(plan: Plan, users: int = -1) -> Root:
    """Everything but procfs, which has to be mounted from inside the pid namespace. The mount namespace of
    the caller must be one of its own. users: the user namespace of plan.users."""
    # First of all, so that no mount made here is ever seen by the host.
    sys_.mount(None, "/", None, plan.propagation)
    try:
        if users >= 0 and plan.overlay is not None:
            mapped_mounts.cover_layers(plan.overlay, users)
        root = mount_root(plan)
    except OSError as error:
        if users >= 0 and error.errno == errno.EINVAL:
            reason = "this kernel makes no overlay of idmapped layers"
            raise Unsupported(
                "mount root", "overlay", reason, "userns_mode: auto needs kernel 5.19, or set host"
            ) from error
        raise failure("mount root", plan.root if plan.overlay is None else "overlay", error) from error
    umask = os.umask(0)  # what is made has the mode that is named
    try:
        _fill(plan, root, users)
        return Root(root, _hide(plan.masked, plan.read_only_paths, root))
    except BaseException:
        os.close(root)
        raise
    finally:
        os.umask(umask)


def _fill(plan: Plan, root: int, users: int) -> None:
    """All mounts but those that `finish` makes, and the nodes of /dev."""
    dev, is_bound = -1, False
    try:
        for mount in plan.mounts:
            if mount.kind == "proc" or mount.target.startswith("/proc/") or _is_own_queue(mount, plan):
                continue
            try:
                made = _apply(mount, root, plan, users, dev)
            except OSError as error:
                raise failure("mount", mount.target, error, _hint(error)) from error
            if mount.target == "/dev":
                dev, made, is_bound = made, dev, mount.kind == "bind"
            if made >= 0:
                os.close(made)
        if not is_bound:
            _make_devices(plan, root, dev)
    finally:
        if dev >= 0:
            os.close(dev)


def _is_own_queue(mount: mounts.Mount, plan: Plan) -> bool:
    """Of an ipc namespace that belongs to a user namespace, and is not there yet."""
    return mount.kind == "mqueue" and plan.users is not None and bool(plan.flags & sys_.CLONE_NEWIPC)


def mount_own_queues(plan: Plan, root: int) -> None:
    """What `build` left to the inside of the user namespace."""
    for mount in plan.mounts:
        if _is_own_queue(mount, plan):
            try:
                _apply(mount, root, plan)
            except OSError as error:
                raise failure("mount", mount.target, error, _hint(error)) from error


def finish(plan: Plan, root: int, users: int = -1, empty: int = -1) -> None:
    """procfs with what is hidden in it, the read-only root, and the change of root. Runs in the child,
    whose pid namespace it is. empty: see `Root`."""
    for mount in plan.mounts:
        if mount.kind == "proc" or mount.target.startswith("/proc/"):
            try:
                _apply_proc(mount, root, plan, users, empty)
            except OSError as error:
                raise failure("mount", mount.target, error, _hint(error)) from error
    if plan.read_only:
        sys_.mount_setattr(root, "", _EMPTY, _RO)
    old = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    os.fchdir(root)
    sys_.pivot_root(".", ".")
    os.fchdir(old)
    os.close(old)
    if plan.propagation & sys_.MS_SHARED:
        # Detaching the old root must not be carried to the host.
        sys_.mount(None, ".", None, sys_.MS_SLAVE | sys_.MS_REC)
    sys_.umount2(".", sys_.MNT_DETACH)
    os.chdir("/")
    if plan.root_propagation:  # not before: pivot_root(2) refuses a shared one
        sys_.mount(None, "/", None, plan.root_propagation)


def _hint(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "a link is in the way, in the image"
    return "is the source there?" if error.errno == errno.ENOENT else ""


def mount_root(plan: Plan) -> int:
    """What the container's root is made of, mounted where nothing is read from. A descriptor of it."""
    # An overlay has to sit somewhere until it is the root: on a directory that nothing else is read
    # from once the overlay is made of it.
    place = plan.root if plan.overlay is None else plan.overlay.work or plan.overlay.lower[-1]
    target = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if plan.propagation & sys_.MS_SHARED:
            _make_private(target)
        if plan.overlay is not None:
            root = mounts.mount_overlay(plan.overlay, target)
        else:
            root = mounts.bind_tree(target, "", recursive=True)
            mounts.attach(root, target)
    finally:
        os.close(target)
    return root


def _make_private(directory: int) -> None:
    """The mount below the root must not carry our mounts to its peers on the host."""
    wanted = str(sys_.mount_id(directory))
    with open("/proc/self/mountinfo") as file:
        lines = file.read().splitlines()
    for line in lines:
        fields = line.split(" ")
        if fields[0] == wanted:
            sys_.mount(None, fields[4], None, sys_.MS_PRIVATE)


def _apply(mount: mounts.Mount, root: int, plan: Plan, users: int = -1, dev: int = -1) -> int:
    """dev: the tmpfs at /dev, if that is of this container alone. Of a mount that is one the same is
    returned, to be closed; else -1."""
    if mount.kind == "bind":
        own = mapped_mounts.own_points(plan.overlay) if users >= 0 and plan.overlay is not None else ()
        mounts.apply_bind(mount, root, bool(plan.propagation & sys_.MS_PRIVATE), users, own)
        return -1
    if dev >= 0 and mount.target.startswith("/dev/") and _apply_in_dev(mount, dev):
        return -1
    # What is below these is written to by the runtime: a link there is refused, not followed.
    plain = sys_.RESOLVE_NO_SYMLINKS if mount.target in ("/sys", "/dev") else 0
    target = mounts.open_target(root, mount.target, True, plain)
    tree = -1
    try:
        if mount.kind != "sysfs":
            mounts.check_target(target, mount.target)
        if mount.kind in ("cgroup", "cgroup2"):
            tree = mounts.cgroup_tree(plan.cgroups, mount, target)
        else:
            # A read-only /dev is made so when its nodes are there.
            flags = mount.flags & ~sys_.MS_RDONLY if mount.target == "/dev" else mount.flags
            tree = mounts.new_tree(mount.kind, mount.data, flags, mount.source)
            mounts.attach(tree, target)
        if mount.copy_up:
            mounts.copy_up(target, tree)
        if mount.propagation:
            mounts.set_propagation(tree, mount.propagation)
        if mount.target == "/dev" and mount.kind == "tmpfs":
            made, tree = tree, -1
            return made
        return -1
    finally:
        os.close(target)
        if tree >= 0:
            os.close(tree)


def _apply_in_dev(mount: mounts.Mount, dev: int) -> bool:
    """A file system in a /dev that nobody else has written to. False where something is in its place."""
    name = mount.target.removeprefix("/dev/")
    if "/" in name or mount.copy_up or mount.kind in ("cgroup", "cgroup2"):
        return False
    tree = mounts.new_tree(mount.kind, mount.data, mount.flags, mount.source)
    try:
        mounts.attach_in_new(tree, dev, name)
        if mount.propagation:
            mounts.set_propagation(tree, mount.propagation)
    except FileExistsError:
        return False
    finally:
        os.close(tree)
    return True


def _make_devices(plan: Plan, root: int, dev: int) -> None:
    """dev: of /dev, -1 where that is the image's."""
    directory = dev if dev >= 0 else mounts.open_target(root, "/dev", True, sys_.RESOLVE_NO_SYMLINKS)
    try:
        for device in plan.devices:
            try:
                _make_device(device, root, directory, bool(plan.id_maps[0]))
            except OSError as error:
                raise failure("make device", device.path, error) from error
        for name, link in devices.DEFAULT_LINKS:
            try:
                os.symlink(link, name, dir_fd=directory)
            except FileExistsError:
                continue
        if any(mount.target == "/dev" and mount.flags & sys_.MS_RDONLY for mount in plan.mounts):
            sys_.mount_setattr(directory, "", _EMPTY, _RO)
    finally:
        if directory != dev:
            os.close(directory)


def _make_device(device: devices.Device, root: int, dev: int, mapped: bool) -> None:
    directory, _, name = device.path.rpartition("/")
    parent = dev if directory == "/dev" else mounts.open_target(root, directory, True)
    try:
        if mapped:  # mknod(2) is not for a user namespace: the host's own node is bound
            mounts.bind_file(device.path, parent, name)
            return
        number = os.makedev(device.major, device.minor)
        try:
            os.mknod(name, devices.node_type(device) | device.mode, number, dir_fd=parent)
        except FileExistsError:
            _check_node(device, name, number, parent)
            return
        if device.uid or device.gid:
            os.chown(name, device.uid, device.gid, dir_fd=parent, follow_symlinks=False)
    finally:
        if parent != dev:
            os.close(parent)


def _check_node(device: devices.Device, name: str, number: int, parent: int) -> None:
    found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if stat.S_IFMT(found.st_mode) != devices.node_type(device) or found.st_rdev != number:
        raise FileExistsError(errno.EEXIST, "another file is in its place")


def _hide(masked: tuple[str, ...], read_only: tuple[str, ...], root: int) -> int:
    """What is to be hidden outside of /proc (its own paths are the child's to hide). Returns `Root.empty`."""
    for path in read_only:
        if not path.startswith("/proc/"):
            mounts.make_read_only(root, path)
    paths = [path for path in masked if not path.startswith("/proc/")]
    if not paths:
        return -1
    null = open_null()
    try:
        return mounts.mask(root, paths, null)
    finally:
        os.close(null)


def _apply_proc(mount: mounts.Mount, root: int, plan: Plan, users: int, empty: int) -> None:
    if mount.kind == "proc":
        _mount_proc(mount, root, plan, empty)
    else:
        _apply(mount, root, plan, users)


def _mount_proc(mount: mounts.Mount, root: int, plan: Plan, empty: int) -> None:
    """Mount procfs and hide its paths by the new mount's own descriptor: nothing of the image lies
    between, and nobody runs in the container yet."""
    null = open_null() if plan.masked else -1
    tree = mounts.new_tree("proc", mount.data, mount.flags, mount.source)
    target = mounts.open_target(root, mount.target, True, sys_.RESOLVE_NO_SYMLINKS)
    mounts.attach(tree, target)
    prefix = f"{mount.target}/"
    mounts.mask(tree, [path for path in plan.masked if path.startswith(prefix)], null, prefix, empty)
    for path in plan.read_only_paths:
        if path.startswith(prefix):
            _cover_read_only(tree, path[len(prefix) :])


def _cover_read_only(proc: int, name: str) -> None:
    cover = sys_.open_tree(proc, name, _CLONE_HERE, if_there=True)
    if cover < 0:
        return
    sys_.mount_setattr(cover, "", _EMPTY | sys_.AT_RECURSIVE, _RO)
    sys_.move_mount(cover, "", proc, name, _ATTACH)
    os.close(cover)


def open_null() -> int:
    """The host's /dev/null, checked to be it: never the image's."""
    null = os.open("/dev/null", os.O_PATH | os.O_CLOEXEC)
    found = os.fstat(null)
    if not stat.S_ISCHR(found.st_mode) or found.st_rdev != os.makedev(1, 3):
        os.close(null)
        raise Invalid("mask", "/dev/null", "the host's /dev/null is not the null device", "repair it")
    return null
