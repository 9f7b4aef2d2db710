"""The forked child of a container: from clone3 to execve. Runs a Plan, decides nothing.

Called by `launch` right after the fork, in namespaces of its own. Must not import anything (after
the root is changed an import would load a file of the image), must not touch a path of the container
as a string before its root is changed, and never returns: it executes the program or exits.
"""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import resource
import signal
import socket
import stat
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from runtime import devices, mounts, users
from runtime import syscalls as sys_
from runtime.errors import Invalid, SetpointError
from runtime.supervisor.hooks import run_hooks
from runtime.supervisor.prepare import Plan, ProcessPlan
from runtime.supervisor.report import error_body, failure, receive, send

DEVPTS_MAGIC = 0x1CD1
SETUP_FAILED = 125  # exit statuses as docker run has them
NOT_EXECUTABLE = 126
NOT_FOUND = 127
_SYS_ADMIN = 1 << 21
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(
    plan: Plan, channel: socket.socket, stdio: tuple[int, int, int], procs_files: tuple[str, ...],
    gate: bool, gate_socket: int, keep: int,
) -> NoReturn:  # fmt: skip
    """Become the container's first process."""
    status = SETUP_FAILED
    try:
        leave_parent(plan.process)
        if plan.id_maps[0]:
            _wait_for_maps(channel)
        sysctls = os.open("/proc/sys", os.O_PATH | os.O_CLOEXEC) if plan.sysctls else -1
        limit(plan.process, channel)
        _join(plan, procs_files)
        root = build_root(plan)
        slave = open_console(plan.process, root, channel, True) if plan.process.terminal else -1
        _hide(plan, root)
        if plan.hooks:
            _run_create_hooks(plan, channel)
        _pivot(plan, root)
        _set_sysctls(plan, sysctls)
        if gate:
            channel = _wait_at_gate(channel, gate_socket)
        if plan.hooks.get("startContainer"):
            state = {**plan.state, "status": "created", "pid": 1}
            run_hooks(plan.hooks["startContainer"], "startContainer", state)
        attach_stdio(stdio, slave)
        become(plan.process, root, channel, keep)
    except BaseException as error:
        status = exit_status(error)
        with suppress(BaseException):
            send(channel, error_body(error))
    finally:
        os._exit(status)


def exit_status(error: BaseException) -> int:
    """The exit status that tells why no program runs."""
    cause = error.__cause__
    if isinstance(error, SetpointError) and error.op == "execute" and isinstance(cause, OSError):
        return NOT_FOUND if cause.errno == errno.ENOENT else NOT_EXECUTABLE
    return SETUP_FAILED


def leave_parent(process: ProcessPlan) -> None:
    """Drop what the fork copied: dumpability first, so that nobody in the namespaces that are joined
    later can trace this interpreter or open its files; then signals, session and import paths."""
    sys_.prctl(sys_.PR_SET_DUMPABLE, 0)
    gc.disable()
    signal.set_wakeup_fd(-1)  # it is the parent's event loop that listens there
    for number in process.ignored:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.setsid()
    sys.path.clear()
    sys.meta_path.clear()
    os.umask(0)
    sys_.keyctl_join_session_keyring()


def _wait_for_maps(channel: socket.socket) -> None:
    if channel.recv(16) != b"mapped":
        raise Invalid("start", "user namespace", "the parent could not map its ids", "")
    os.setgroups(())
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def limit(process: ProcessPlan, channel: socket.socket) -> None:
    """rlimits and oom_score_adj. Raising one needs CAP_SYS_RESOURCE, which a nested host lacks: a
    warning, since the program runs all the same; lowering never fails."""
    for number, soft, hard, name in process.rlimits:
        try:
            resource.setrlimit(number, (soft, hard))
        except (OSError, ValueError) as error:
            _limit_as_far(number, soft, hard)
            send(channel, {"warning": f"{name} {soft}:{hard}: {error}"})
    if process.oom_score_adj is not None:
        try:
            write(sys_.AT_FDCWD, "/proc/self/oom_score_adj", str(process.oom_score_adj))
        except OSError as error:
            send(channel, {"warning": f"oom_score_adj {process.oom_score_adj}: {error.strerror}"})


def _limit_as_far(number: int, soft: int, hard: int) -> None:
    allowed = resource.getrlimit(number)[1]
    hard = allowed if hard < 0 else min(hard, allowed) if allowed >= 0 else hard
    soft = hard if soft < 0 else min(soft, hard) if hard >= 0 else soft
    with suppress(OSError, ValueError):
        resource.setrlimit(number, (soft, hard))


def write(directory: int, path: str, text: str) -> None:
    """Write a file of the host's procfs below an opened directory."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=None if directory < 0 else directory)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def join_cgroups(procs_files: tuple[str, ...]) -> None:
    """Move this process into v1 hierarchies. Each write waits for the kernel a little, which is why the
    child does it: the parent forks the next container meanwhile."""
    for file in procs_files:
        try:
            write(sys_.AT_FDCWD, file, "0")
        except OSError as error:
            raise failure("join cgroup", file, error) from error


def _join(plan: Plan, procs_files: tuple[str, ...]) -> None:
    join_cgroups(procs_files)
    # Its root is where the process is at this moment: after the cgroups are joined.
    if plan.flags & sys_.CLONE_NEWCGROUP:
        sys_.unshare(sys_.CLONE_NEWCGROUP)
    for flag, path in plan.joins:
        if flag == sys_.CLONE_NEWPID:
            continue  # the parent has done it: it is decided at the fork
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            sys_.setns(descriptor, flag)
            os.close(descriptor)
        except OSError as error:
            raise failure("join namespace", path, error, "is the other container running?") from error
    if plan.hostname:
        sys_.sethostname(plan.hostname)
    if plan.domainname:
        sys_.setdomainname(plan.domainname)


# --- root ---------------------------------------------------------------------------------------


def build_root(plan: Plan) -> int:
    """The root with everything mounted below it, still reached by its descriptor only."""
    # First of all, so that no mount made here is ever seen by the host.
    sys_.mount(None, "/", None, plan.propagation)
    try:
        root = _mount_root(plan)
    except OSError as error:
        raise failure("mount root", plan.root if plan.overlay is None else "overlay", error) from error
    own_dev = True
    for mount in plan.mounts:
        try:
            _apply(mount, root, plan)
        except OSError as error:
            raise failure("mount", mount.target, error, _mount_hint(error)) from error
        if mount.target == "/dev":
            own_dev = mount.kind != "bind"
    if own_dev:
        _make_devices(plan, root)
    return root


def _mount_hint(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "a link is in the way, in the image"
    return "is the source there?" if error.errno == errno.ENOENT else ""


def _mount_root(plan: Plan) -> int:
    # An overlay has to sit somewhere until it is the root: on a directory that nothing else is read
    # from once the overlay is made of it.
    place = plan.root if plan.overlay is None else plan.overlay.work or plan.overlay.lower[-1]
    target = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if plan.propagation & sys_.MS_SHARED:
        _make_private(target)
    if plan.overlay is not None:
        root = mounts.mount_overlay(plan.overlay, target)
    else:
        root = mounts.bind_tree(target, "", recursive=True)
        mounts.attach(root, target)
    os.close(target)
    mounts.set_propagation(root, plan.root_propagation or sys_.MS_PRIVATE)
    return root


def _make_private(directory: int) -> None:
    """The mount below the root must not carry our mounts to its peers on the host."""
    wanted = str(sys_.mount_id(directory))
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        if fields[0] == wanted:
            sys_.mount(None, fields[4], None, sys_.MS_PRIVATE)


def _apply(mount: mounts.Mount, root: int, plan: Plan) -> None:
    if mount.kind == "bind":
        os.close(mounts.apply_bind(mount, root))
        return
    # What is below these three is written to by the runtime: a link there is refused, not followed.
    plain = sys_.RESOLVE_NO_SYMLINKS if mount.target in ("/proc", "/sys", "/dev") else 0
    target = mounts.open_target(root, mount.target, True, plain)
    try:
        if mount.kind not in ("proc", "sysfs"):
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
        os.close(tree)
    finally:
        os.close(target)


def _make_devices(plan: Plan, root: int) -> None:
    directory = mounts.open_target(root, "/dev", True, sys_.RESOLVE_NO_SYMLINKS)
    for device in plan.devices:
        try:
            _make_device(device, root, directory, bool(plan.id_maps[0]))
        except OSError as error:
            raise failure("make device", device.path, error) from error
    for name, link in devices.DEFAULT_LINKS:
        with suppress(FileExistsError):
            os.symlink(link, name, dir_fd=directory)
    for mount in plan.mounts:
        if mount.target == "/dev" and mount.flags & sys_.MS_RDONLY:
            top = mounts.open_in_root(root, "/dev", os.O_PATH, sys_.RESOLVE_NO_SYMLINKS)
            sys_.mount_setattr(top, "", sys_.AT_EMPTY_PATH, sys_.MOUNT_ATTR_RDONLY)
            os.close(top)
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


def _hide(plan: Plan, root: int) -> None:
    if plan.masked:
        null = open_null()
        mounts.mask(root, plan.masked, null)
        os.close(null)
    for path in plan.read_only_paths:
        mounts.make_read_only(root, path)
    if plan.read_only:
        sys_.mount_setattr(root, "", sys_.AT_EMPTY_PATH, sys_.MOUNT_ATTR_RDONLY)


def open_null() -> int:
    """The host's /dev/null, checked to be it: never the image's."""
    null = os.open("/dev/null", os.O_PATH | os.O_CLOEXEC)
    found = os.fstat(null)
    if not stat.S_ISCHR(found.st_mode) or found.st_rdev != os.makedev(1, 3):
        raise Invalid("mask", "/dev/null", "the host's /dev/null is not the null device", "repair it")
    return null


def _pivot(plan: Plan, root: int) -> None:
    os.fchdir(root)
    sys_.pivot_root(".", ".")
    if plan.propagation & sys_.MS_SHARED:
        # Detaching the old root must not be carried to the host.
        sys_.mount(None, ".", None, sys_.MS_SLAVE | sys_.MS_REC)
    sys_.umount2(".", sys_.MNT_DETACH)
    os.chdir("/")


def _set_sysctls(plan: Plan, directory: int) -> None:
    """Through the host's procfs, opened before the root was changed: the image's may be a fake."""
    for path, value in plan.sysctls:
        try:
            write(directory, path, value)
        except OSError as error:
            raise failure("set sysctl", path.replace("/", "."), error) from error
    if directory >= 0:
        os.close(directory)


# --- terminal, gate, hooks ----------------------------------------------------------------------


def open_console(process: ProcessPlan, root: int, channel: socket.socket, bind: bool) -> int:
    """A pty of the container's own devpts: its master goes to the parent, the slave is returned."""
    plain = sys_.RESOLVE_NO_SYMLINKS
    try:
        master = mounts.open_in_root(root, "/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY, plain)
    except OSError as error:
        raise failure(
            "open terminal", "/dev/pts/ptmx", error, "the container needs a devpts mount"
        ) from error
    if sys_.file_system(master) != DEVPTS_MAGIC:
        raise Invalid("open terminal", "/dev/pts/ptmx", "not a devpts", "the image is hostile")
    fcntl.ioctl(master, sys_.TIOCSPTLCK, struct.pack("i", 0))
    # By the master itself, not by the name /dev/pts/N, which could be another thing by now.
    slave = fcntl.ioctl(master, sys_.TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    if process.size:
        fcntl.ioctl(slave, sys_.TIOCSWINSZ, struct.pack("HHHH", *process.size, 0, 0))
    if bind:
        parent = mounts.open_in_root(root, "/dev", os.O_PATH | os.O_DIRECTORY, plain)
        mounts.bind_descriptor(slave, parent, "console")
        os.close(parent)
    send(channel, {"console": True}, master)
    os.close(master)
    return slave


def attach_stdio(stdio: tuple[int, int, int], slave: int) -> None:
    """Make the given descriptors, or the terminal, 0, 1 and 2."""
    if slave >= 0:
        fcntl.ioctl(slave, sys_.TIOCSCTTY, 0)
        stdio = (slave, slave, slave)
    # Above 2 first, so that none is overwritten before it is copied.
    copies = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 3) if each < 3 else each for each in stdio]
    for number, descriptor in enumerate(copies):
        os.dup2(descriptor, number)


def _wait_at_gate(channel: socket.socket, gate_socket: int) -> socket.socket:
    """Tell that all is set up and wait for "start"; returns the channel for what follows."""
    send(channel, {"ready": True})
    if gate_socket < 0:
        if channel.recv(16) != b"start":
            os._exit(0)  # the parent has gone or changed its mind
        return channel
    listener = socket.socket(fileno=gate_socket)
    channel.close()
    while True:
        connection, _ = listener.accept()
        if connection.recv(16) == b"start":
            listener.close()
            return connection
        connection.close()


def _run_create_hooks(plan: Plan, channel: socket.socket) -> None:
    """The parent runs the hooks of the runtime's namespace, this process those of the container's."""
    if plan.hooks.get("prestart") or plan.hooks.get("createRuntime"):
        send(channel, {"hooks": True})
        answer = receive(channel)
        if answer is None or not answer.body.get("go"):
            os._exit(SETUP_FAILED)
    if plan.hooks.get("createContainer"):
        state = {**plan.state, "status": "creating", "pid": os.getpid()}
        run_hooks(plan.hooks["createContainer"], "createContainer", state)


# --- the process --------------------------------------------------------------------------------


def become(process: ProcessPlan, root: int, channel: socket.socket, keep: int) -> NoReturn:
    """Take the identity, drop privileges, execute. root: a descriptor of the container's root, which
    is the process's root by now."""
    uid, gid, groups, home = _identity(process, root)
    enter_directory(process, root)
    for number in process.drop:
        with suppress(OSError):  # EINVAL: a capability that this kernel does not know
            sys_.prctl(sys_.PR_CAPBSET_DROP, number)
    sys_.prctl(sys_.PR_SET_KEEPCAPS, 1)
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if process.no_new_privileges:
        sys_.prctl(sys_.PR_SET_NO_NEW_PRIVS, 1)
    os.umask(process.umask)
    sys_.close_range(3 + keep, 0xFFFFFFFF, sys_.CLOSE_RANGE_CLOEXEC)
    for number in range(3, 3 + keep):
        with suppress(OSError):
            os.set_inheritable(number, True)
    environment = dict(each.split("=", 1) for each in process.environment)
    environment.setdefault("HOME", home)
    candidates = _candidates(process.arguments[0], environment)
    _restrict(process)
    execute(candidates, process.arguments, environment)


def _identity(process: ProcessPlan, root: int) -> users.Identity:
    if process.lookup is not None:
        return users.resolve(root, *process.lookup)
    # The primary group belongs to the supplementary ones: without it a file's group would not count.
    groups = tuple(dict.fromkeys((process.gid, *process.groups)))
    home = users.home(root, process.uid)
    return users.Identity(process.uid, process.gid, groups, home)


def enter_directory(process: ProcessPlan, root: int) -> None:
    """chdir, by a descriptor opened inside root without links of /proc: a leaked descriptor of the host
    cannot be the working directory."""
    try:
        directory = mounts.open_target(root, process.cwd, True)
        os.fchdir(directory)
        os.close(directory)
        inside = os.getcwd()
    except OSError as error:
        raise failure("enter directory", process.cwd, error, "set another working directory") from error
    if not inside.startswith("/"):
        raise Invalid("enter directory", process.cwd, "it is outside of the root", "")


def _restrict(process: ProcessPlan) -> None:
    """Capabilities and the filter, in the order that needs the filter to allow the least."""
    final = (process.effective, process.permitted, process.inheritable)
    needs_admin = bool(process.seccomp) and not process.no_new_privileges
    try:
        if needs_admin:
            held = sys_.capget().permitted
            sys_.capset((process.permitted & held) | _SYS_ADMIN, (process.permitted & held) | _SYS_ADMIN, 0)
            sys_.seccomp_set_filter(process.seccomp, process.seccomp_flags)
        _set_capabilities(*final, process.ambient)
        if process.seccomp and not needs_admin:
            sys_.seccomp_set_filter(process.seccomp, process.seccomp_flags)
    except OSError as error:
        raise failure("drop privileges", "process", error) from error


def _set_capabilities(effective: int, permitted: int, inheritable: int, ambient: int) -> None:
    held = sys_.capget().permitted
    permitted &= held
    sys_.capset(effective & permitted, permitted, inheritable & held)
    number = 0
    while ambient >> number:
        if ambient >> number & 1:
            sys_.prctl(sys_.PR_CAP_AMBIENT, sys_.PR_CAP_AMBIENT_RAISE, number)
        number += 1


def _candidates(program: str, environment: dict[str, str]) -> list[str]:
    if "/" in program:
        return [program]
    path = environment.get("PATH", _DEFAULT_PATH)
    return [f"{directory or '.'}/{program}" for directory in path.split(":")]


def execute(candidates: list[str], arguments: tuple[str, ...], environment: dict[str, str]) -> NoReturn:
    """execve(2) the first candidate that there is. What leads through a link of /proc is refused: it
    could be this interpreter, which the container must not get to hold."""
    problem: OSError = FileNotFoundError(errno.ENOENT, "not found in PATH")
    for path in candidates:
        try:
            _refuse_magic(path, 4)
            os.execve(path, arguments, environment)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR) and problem.errno == errno.ENOENT:
                problem = error
    searched = "/" not in arguments[0] and problem.errno == errno.ENOENT
    reason = "not found in PATH" if searched else os.strerror(problem.errno or 0)
    hint = "is it in the image, for this architecture?"
    raise Invalid("execute", arguments[0], reason, hint) from problem


def _refuse_magic(path: str, depth: int) -> None:
    """ELOOP for a program, or for an interpreter named by its first line, behind a link of /proc."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
    try:
        opened = sys_.openat2(sys_.AT_FDCWD, path, flags, 0, sys_.RESOLVE_NO_MAGICLINKS)
    except PermissionError:
        os.close(sys_.openat2(sys_.AT_FDCWD, path, os.O_PATH, 0, sys_.RESOLVE_NO_MAGICLINKS))
        return
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise PermissionError(errno.EACCES, "not a regular file")
        first = os.read(opened, 256)
    finally:
        os.close(opened)
    words = first[2:].split(b"\n", 1)[0].split() if first.startswith(b"#!") else []
    if words and depth:
        _refuse_magic(os.fsdecode(words[0]), depth - 1)
