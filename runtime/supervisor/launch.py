"""Starting processes: the values and the functions that the supervisor and `oci` call.

    parent                                    child
    prepare(config) -> a flat Plan
    make and limit cgroups
    namespaces, root, mounts, devices
    clone3 ------------------------------->   procfs, pivot_root, identity, privileges
    back to the own namespaces
         <- {"console": true} + pty master    (with a terminal)
         <- {"warning": "…"}                  (a limit that could not be raised)
         <- {"hooks": true}                   (with hooks of the runtime's side: waits for {"go": true})
         <- {"ready": true}                   (with a gate: waits)
    "start" ------------------------------>
         <- {"error": {…}} or EOF             EOF: the program runs, or the child died

Standard library only. `launch` returns as soon as the child is forked and never blocks on it; the
caller reads `channel` with `receive`, and learns the end from `pidfd`.
"""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from runtime import cgroups, syscalls
from runtime.errors import Invalid, NotFound
from runtime.supervisor import child, join, rootfs
from runtime.supervisor.console import open_console
from runtime.supervisor.prepare import Plan, prepare, prepare_process
from runtime.supervisor.process import identity, write
from runtime.supervisor.report import Message, receive, to_error

__all__ = [
    "ExecRequest",
    "LaunchRequest",
    "Launched",
    "Message",
    "launch",
    "launch_exec",
    "receive",
    "to_error",
]


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """A container to start.

    config: a parsed OCI runtime-spec config. bundle: its directory (a relative root.path is below
    it). stdio: descriptors that become 0, 1, 2; not used with a terminal. gate: block before the
    exec until "start" is received on the channel. seccomp: the compiled filter; None takes the file
    that annotation "setpoint.seccomp" names.
    gate_socket: a listening SEQPACKET socket's descriptor. With it the gate is one connection to
    that socket in place of the channel, and what follows goes there (a parent that does not stay).
    keep_descriptors: 3 to 3+n-1 stay open in the program. state: what hooks inside are told besides
    (id, bundle).
    """

    config: Mapping[str, Any]
    bundle: str
    stdio: tuple[int, int, int] = (0, 1, 2)
    gate: bool = False
    seccomp: bytes | None = None
    gate_socket: int = -1
    keep_descriptors: int = 0
    state: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """A further process for a running container.

    pid, pidfd: the container's first process. config: the container's. process: an OCI `process`
    object for the new one. stdio, seccomp: as in LaunchRequest.
    """

    pid: int
    pidfd: int
    config: Mapping[str, Any]
    process: Mapping[str, Any]
    stdio: tuple[int, int, int] = (0, 1, 2)
    seccomp: bytes | None = None
    keep_descriptors: int = 0


class Launched(NamedTuple):
    """A forked child. The caller owns both descriptors."""

    pid: int
    pidfd: int
    channel: socket.socket


def launch(request: LaunchRequest) -> Launched:
    """Fork a container's first process. Raises runtime.errors for a config that cannot work; what fails
    in the child comes over the channel."""
    plan = prepare(request.config, request.bundle, request.seccomp)
    resources = (request.config.get("linux") or {}).get("resources") or {}
    directories = cgroups.create(plan.cgroup, resources) if plan.cgroup else ()
    theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    inside = -1
    try:
        inside = _pid_namespace(plan)
        wiring = child.Wiring(
            theirs, ours, request.stdio, request.gate, request.gate_socket, request.keep_descriptors,
            request.state,
        )  # fmt: skip
        # Hooks and user namespaces begin with a process; all else is faster without one: what a forked
        # interpreter touches is copied page by page, and that is most of the cost of a start.
        whole = bool(plan.id_maps[0] or plan.hooks)
        cloned = (_fork_first if whole else _build_first)(plan, wiring, directories, inside)
        if plan.id_maps[0]:
            _map_ids(cloned.pid, plan, ours)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
        if inside >= 0:
            os.close(inside)
    return Launched(cloned.pid, cloned.pidfd, ours)


def _fork_first(plan: Plan, wiring: child.Wiring, directories: Sequence[str], inside: int) -> syscalls.Cloned:
    # A cgroup namespace is made by the child: its root is where the process is at that moment.
    cloned, procs = _fork(plan.flags & ~syscalls.CLONE_NEWCGROUP, directories, inside)
    if cloned.pid == 0:
        child.run(plan, wiring, procs)
    return cloned


_HERE = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWNET


def _build_first(
    plan: Plan, wiring: child.Wiring, directories: Sequence[str], inside: int
) -> syscalls.Cloned:
    """Make the namespaces and the root in this process, fork into them, and come back.

    Nobody else runs in them meanwhile, and a kill on the way leaves nothing: they go with the process.
    """
    _home()
    working = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    root = slave = -1
    try:
        syscalls.unshare(plan.flags & _HERE)
        child.enter(plan)
        root = rootfs.build(plan)
        child.set_sysctls(plan)
        if plan.process.terminal:
            slave = open_console(plan.process, root, wiring.channel, True)
        who = identity(plan.process, root)
        cloned, procs = _fork(plan.flags & syscalls.CLONE_NEWPID, directories, inside)
        if cloned.pid == 0:
            child.run(plan, wiring, procs, child.Built(root, slave, who))
        return cloned
    finally:
        _go_home(plan)
        os.fchdir(working)
        for descriptor in (working, root, slave):
            if descriptor >= 0:
                os.close(descriptor)


def _go_home(plan: Plan) -> None:
    """Back to this process's own namespaces. One that cannot come back must not go on: it would take a
    container's files for the host's. Containers survive it, and the next supervisor adopts them."""
    try:
        for descriptor, flag in _home():
            if flag & (plan.flags | _joined(plan)):
                syscalls.setns(descriptor, flag)
    except OSError as error:
        os.write(2, f"setpoint: cannot leave a container's namespaces: {error}\n".encode())
        os._exit(70)


def _joined(plan: Plan) -> int:
    flags = 0
    for flag, _ in plan.joins:
        flags |= flag
    return flags


@functools.cache
def _home() -> tuple[tuple[int, int], ...]:
    """This process's own namespaces, opened once, the mount namespace first."""
    names = (
        ("mnt", syscalls.CLONE_NEWNS),
        ("ipc", syscalls.CLONE_NEWIPC),
        ("uts", syscalls.CLONE_NEWUTS),
        ("net", syscalls.CLONE_NEWNET),
    )
    return tuple((os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC), flag) for name, flag in names)


def launch_exec(request: ExecRequest) -> Launched:
    """Fork a further process into a running container. `NotFound` when that has ended."""
    process = prepare_process(request.process, request.config, request.seccomp)
    linux = request.config.get("linux") or {}
    directories = _directories(linux)
    own_user = any(each["type"] == "user" for each in linux.get("namespaces") or ())
    theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        try:
            cloned, procs = _fork(0, directories, request.pidfd)
        except OSError as error:
            ours.close()
            raise NotFound("exec", str(request.pid), "the container is not running", "start it") from error
        if cloned.pid == 0:
            join.run(process, theirs, request.stdio, procs, request.pidfd, own_user, request.keep_descriptors)
    return Launched(cloned.pid, cloned.pidfd, ours)


def _directories(linux: Mapping[str, Any]) -> tuple[str, ...]:
    """The cgroups of a running container; none when they are gone with it."""
    if not linux.get("cgroupsPath"):
        return ()
    return cgroups.directories(cgroups.check_path(linux["cgroupsPath"]), linux.get("resources") or {})


def _pid_namespace(plan: Plan) -> int:
    """A descriptor of the pid namespace to fork into, -1 for none."""
    for flag, path in plan.joins:
        if flag == syscalls.CLONE_NEWPID:
            try:
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise Invalid(
                    "join namespace", path, error.strerror or "", "is the other container running?"
                ) from error
    return -1


def _fork(
    flags: int, directories: Sequence[str], pid_namespace: int
) -> tuple[syscalls.Cloned, tuple[str, ...]]:
    """Fork, non-dumpable, into a v2 cgroup and, when given, into another's pid namespace. Returns twice.

    The second value: the cgroup.procs files that the child has still to join. One clone3 rather than
    fork and unshare: a new pid namespace needs no second fork, the v2 cgroup no attach, and the pidfd
    cannot name another process.
    """
    rest = tuple(f"{each}/cgroup.procs" for each in directories)
    directory = 0
    flags |= syscalls.CLONE_PIDFD
    # The child inherits it: from its first instruction on, nobody in the namespaces that it is in can
    # trace this interpreter or open its files. execve(2) makes the program dumpable again.
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    unified = cgroups.hierarchies().unified
    if unified and directories and directories[0].startswith(unified + "/"):
        directory = os.open(directories[0], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        flags, rest = flags | syscalls.CLONE_INTO_CGROUP, rest[1:]
    try:
        if pid_namespace < 0:
            return syscalls.clone3(flags, cgroup=directory), rest
        return _fork_inside(flags, directory, pid_namespace), rest
    finally:
        if directory:
            os.close(directory)


def _fork_inside(flags: int, directory: int, pid_namespace: int) -> syscalls.Cloned:
    """setns(2) with a pid namespace changes only where this process's children are born: there, the
    fork, and back."""
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(pid_namespace, syscalls.CLONE_NEWPID)
        try:
            cloned = syscalls.clone3(flags, cgroup=directory)
        except OSError:
            syscalls.setns(own, syscalls.CLONE_NEWPID)
            raise
        if cloned.pid:
            syscalls.setns(own, syscalls.CLONE_NEWPID)
        return cloned
    finally:
        os.close(own)


def _map_ids(pid: int, plan: Plan, channel: socket.socket) -> None:
    for name, lines in zip(("uid_map", "gid_map"), plan.id_maps, strict=True):
        write(syscalls.AT_FDCWD, f"/proc/{pid}/{name}", lines)
    channel.send(b"mapped")
