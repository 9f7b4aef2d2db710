"""Starting processes: the values and the functions that the supervisor and `oci` call.

    parent                                    child
    prepare(config) -> a flat Plan
    make and limit cgroups
    namespaces, root, mounts, devices
    back to the own namespaces
    clone3 ------------------------------->   those namespaces, procfs, pivot_root, identity, privileges
         <- {"console": true} + pty master    (with a terminal)
         <- {"warning": "…"}                  (a limit that could not be raised)
         <- {"hooks": true}                   (with hooks of the runtime's side: waits for {"go": true})
         <- {"ready": true}                   (with a gate: waits; not told if nobody asks)
    "start" ------------------------------>
         <- {"error": {…}} or EOF             EOF: the program runs, or the child died

Standard library only. `launch` is `build`, and from clone3 on `fork`. It returns as soon as the child
is forked and never blocks on it; the caller reads `channel` with `receive`, and learns the end from
`pidfd`.
"""

from __future__ import annotations

import functools
import json
import os
import socket
import stat
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from runtime import cgroups, syscalls, user_namespaces
from runtime.errors import Invalid, NotFound, Temporary
from runtime.supervisor import child, join, records, rootfs
from runtime.supervisor.console import open_console
from runtime.supervisor.exec_plan import ExecPlan
from runtime.supervisor.own_ids import Users
from runtime.supervisor.prepare import JOINED, Plan, prepare
from runtime.supervisor.process import identity, write
from runtime.supervisor.report import Message, receive, to_error
from runtime.typed import Any, NamedTuple, NoReturn

__all__ = [
    "ExecRequest",
    "LaunchRequest",
    "Launched",
    "Message",
    "Prepared",
    "build",
    "fork",
    "fork_all",
    "launch",
    "launch_exec",
    "receive",
    "to_error",
]


_NOTHING: Mapping[str, Any] = MappingProxyType({})


class LaunchRequest(NamedTuple):
    """A container to start.

    config: a parsed OCI runtime-spec config. bundle: its directory (a relative root.path is below
    it). stdio: descriptors that become 0, 1, 2; not used with a terminal. gate: block before the
    exec until "start" is received on the channel. seccomp: the compiled filter; None takes the file
    that annotation "setpoint.seccomp" names.
    gate_socket: a listening SEQPACKET socket's descriptor. With it the gate is one connection to
    that socket in place of the channel, and what follows goes there (a parent that does not stay).
    says_ready: look for the program and tell {"ready": true} at the gate; one that opens it unasked hears of
    a program that is not there all the same, a moment later.
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
    state: Mapping[str, Any] = _NOTHING
    says_ready: bool = True


class ExecRequest(NamedTuple):
    """A further process for a running container.

    pid, pidfd: the container's first process. stdio, keep_descriptors: as in LaunchRequest.
    """

    pid: int
    pidfd: int
    plan: ExecPlan
    stdio: tuple[int, int, int] = (0, 1, 2)
    keep_descriptors: int = 0


class Launched(NamedTuple):
    """A forked child. The caller owns both descriptors."""

    pid: int
    pidfd: int
    channel: socket.socket


class Prepared(NamedTuple):
    """A container that lacks only its process: what `fork` needs, and the descriptors it is made of.

    namespaces: (descriptor, flag) that the child enters, the mount namespace first. A kill of this
    process leaves nothing of them. built: None when the child has to build for itself.
    """

    request: LaunchRequest
    plan: Plan
    directories: Sequence[str]
    pair: tuple[socket.socket, socket.socket] | None
    pid_namespace: int = -1
    namespaces: tuple[tuple[int, int], ...] = ()
    built: child.Built | None = None

    def close(self) -> None:
        """Give it up."""
        for end in self.pair or ():
            end.close()
        self.close_made()

    def close_made(self) -> None:
        """What the child has copies of, or nobody needs."""
        own = (self.pid_namespace, *(descriptor for descriptor, _ in self.namespaces))
        made = self.built
        built = (made.root, made.slave, made.users, made.empty) if made else ()
        for descriptor in (*own, *built):
            if descriptor >= 0:
                os.close(descriptor)


def launch(request: LaunchRequest) -> Launched:
    """Fork a container's first process. Raises runtime.errors for a config that cannot work; what fails
    in the child comes over the channel."""
    return fork(build(request))


def build(request: LaunchRequest) -> Prepared:
    """All that comes before the fork. Raises as `launch` does, with nothing left open.

    Apart from `fork`, so that several are built and then forked one right after the other: every page
    that this interpreter writes to after a fork is copied first, and building writes to hundreds.
    """
    config = request.config
    plan = prepare(config, request.bundle, request.seccomp)
    # It goes before the fork: to free it after that copies each page that it is on.
    request = request._replace(config=_NOTHING)
    resources = (config.get("linux") or {}).get("resources") or {}
    directories = cgroups.create(plan.cgroup, resources) if plan.cgroup else ()
    # Only a terminal has something to say before the fork. A pair that is made later is not copied into
    # the children of those that are forked before, who would hold its end open.
    pair = _channel() if plan.process.terminal else None
    prepared = Prepared(request, plan, directories, pair)
    try:
        prepared = prepared._replace(pid_namespace=_pid_namespace(plan))
        # Hooks and user namespaces begin with a process; all else is faster without one: what a forked
        # interpreter touches is copied page by page, and that is most of the cost of a start.
        # From another user namespace there is no way back.
        if plan.id_maps[0] or plan.hooks or _joined(plan) & syscalls.CLONE_NEWUSER:
            return prepared
        prepared = _build(prepared)
        _confirm_joined(config)
        return prepared
    except BaseException:
        prepared.close()
        raise


def _confirm_joined(config: Mapping[str, Any]) -> None:
    """`Temporary` unless the processes whose namespaces were opened by number are still those that were
    meant: then no other had the number in between."""
    for pid, started in json.loads((config.get("annotations") or {}).get(JOINED) or "[]"):
        if records.start_time(pid) != started:
            raise Temporary("join namespace", str(pid), "that process has ended", "it is tried again")


def fork(prepared: Prepared) -> Launched:
    """The process of what was built, which is used up by this. Raises as `launch` does."""
    (outcome,) = fork_all((prepared,))
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def fork_all(wanted: Sequence[Prepared]) -> list[Launched | Exception]:
    """The processes of all that was built, which is used up by this; in the place of each what came of it.

    All that they need is made before the first fork and closed after the last: every page that this
    interpreter writes to between two forks is copied.
    """
    forks = [_ready(each) for each in wanted]
    ready = [each for each in forks if isinstance(each, _Fork)]
    ends = tuple(end.fileno() for each in ready for end in (each.theirs, each.ours))
    born = _clone_each(ready)
    if born is not None:
        born.become(ends)
    return [_outcome(each) for each in forks]


def _ready(prepared: Prepared) -> _Fork | Exception:
    try:
        return _Fork(prepared)
    except Exception as error:  # of this one alone: others wait for their own
        prepared.close()
        return error


def _outcome(fork: _Fork | Exception) -> Launched | Exception:
    try:
        return fork if isinstance(fork, Exception) else fork.end()
    except Exception as error:  # of this one alone
        return error


def _clone_each(forks: Sequence[_Fork]) -> _Fork | None:
    """Returns in each child, with what it is; in the parent with None."""
    here = [each for each in forks if each.prepared.pid_namespace < 0]
    if (number := syscalls.clone3_each([each.clone for each in here])) >= 0:
        return here[number]
    for each in forks:
        if each.prepared.pid_namespace >= 0 and _clone_inside(each.clone, each.prepared.pid_namespace):
            return each
    return None


class _Fork:
    """A process that lacks only its clone3."""

    def __init__(self, prepared: Prepared) -> None:
        plan, request = prepared.plan, prepared.request
        self.prepared = prepared
        if plan.users is not None:
            _give(request.stdio, plan.users.first)
        # A cgroup namespace is made by the child: its root is where the process is at that moment. What
        # was built has its namespaces already, but for that of its process ids.
        wanted = syscalls.CLONE_NEWPID if prepared.built else ~syscalls.CLONE_NEWCGROUP
        self.theirs, self.ours = prepared.pair or _channel()
        try:
            self.clone, self._files, self._directory = _clone(plan.flags & wanted, prepared.directories)
        except BaseException:
            self.theirs.close()
            self.ours.close()
            raise
        self._wiring = child.Wiring(
            self.theirs, self.ours, request.stdio, request.gate, request.gate_socket,
            request.keep_descriptors, request.state, prepared.namespaces, request.says_ready,
        )  # fmt: skip

    def become(self, ends: Sequence[int]) -> NoReturn:
        """In the child. ends: of the channels of all that were forked with it. Each of them ends when the
        last process that holds it does, so that those of the others are closed first of all."""
        own = self.theirs.fileno(), self.ours.fileno()
        for end in ends:
            if end not in own:
                os.close(end)
        child.run(self.prepared.plan, self._wiring, self._files, self.prepared.built)

    def end(self) -> Launched:
        """In the parent."""
        try:
            cloned = self.clone.result()
            if self.prepared.plan.id_maps[0]:
                _map_ids(cloned.pid, self.prepared.plan, self.ours)
            return Launched(cloned.pid, cloned.pidfd, self.ours)
        except BaseException:
            self.ours.close()
            raise
        finally:
            self.theirs.close()
            _close_directory(self._directory)
            self.prepared.close_made()


def _give(stdio: tuple[int, int, int], owner: int) -> None:
    """Pipes are opened again by what logs to /dev/stdout: they belong to the container's root."""
    for descriptor in set(stdio):
        if descriptor >= 0 and stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            os.fchown(descriptor, owner, owner)


def _channel() -> tuple[socket.socket, socket.socket]:
    """(the child's end, ours)"""
    theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return theirs, ours


_HERE = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWNET


def _build(prepared: Prepared) -> Prepared:
    """Make the namespaces and the root in this process, and come back.

    Nobody else runs in them meanwhile, and a kill on the way leaves nothing: they go with the process.
    """
    plan = prepared.plan
    _home()
    working = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    namespaces: list[tuple[int, int]] = []
    root = slave = users = empty = -1
    try:
        here = plan.flags & (_HERE if plan.users is None else _HERE & ~syscalls.CLONE_NEWIPC)
        if plan.users is not None:
            users = _open_users(plan.users)
        syscalls.unshare(here)
        child.enter(plan)
        namespaces.extend(_open_namespaces(here | _joined(plan)))
        if plan.users is None:
            root, empty = rootfs.build(plan)
        else:
            with user_namespaces.making_for(plan.users.first):
                root, empty = rootfs.build(plan, users)
        child.set_sysctls(plan)
        if prepared.pair and plan.users is None:
            slave = open_console(plan.process, root, prepared.pair[0], True)
        built = child.Built(root, slave, identity(plan.process, root), users, empty)
        return prepared._replace(namespaces=tuple(namespaces), built=built)
    except BaseException:
        for descriptor in (*(descriptor for descriptor, _ in namespaces), root, slave, users, empty):
            if descriptor >= 0:
                os.close(descriptor)
        raise
    finally:
        _go_home(plan)
        os.fchdir(working)
        os.close(working)


def _open_users(users: Users) -> int:
    """The container's user namespace: that of its network, or a new one."""
    if not users.path:
        return user_namespaces.make(users.uid_lines, users.gid_lines).user
    try:
        return user_namespaces.open_owner(users.path)
    except OSError as error:
        raise Invalid(
            "join user namespace", users.path, error.strerror or "", "restart the container"
        ) from error


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


_NAMES = (
    ("mnt", syscalls.CLONE_NEWNS),
    ("ipc", syscalls.CLONE_NEWIPC),
    ("uts", syscalls.CLONE_NEWUTS),
    ("net", syscalls.CLONE_NEWNET),
)


def _open_namespaces(flags: int) -> Iterator[tuple[int, int]]:
    """This process's present namespaces of these kinds, the mount namespace first."""
    for name, flag in _NAMES:
        if flags & flag:
            yield os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC), flag


@functools.cache
def _home() -> tuple[tuple[int, int], ...]:
    """This process's own namespaces, opened once."""
    return tuple(_open_namespaces(_HERE))


def launch_exec(request: ExecRequest) -> Launched:
    """Fork a further process into a running container. `NotFound` when that has ended."""
    plan = request.plan
    if plan.owner >= 0:
        _give(request.stdio, plan.owner)
    theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        try:
            cloned, files = _fork(0, plan.directories, request.pidfd)
        except OSError as error:
            ours.close()
            raise NotFound("exec", str(request.pid), "the container is not running", "start it") from error
        if cloned.pid == 0:
            join.run(
                plan.process, theirs, request.stdio, files,
                request.pidfd, plan.own_user, request.keep_descriptors,
            )  # fmt: skip
    return Launched(cloned.pid, cloned.pidfd, ours)


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


def _clone(flags: int, directories: Sequence[str]) -> tuple[syscalls.Clone3, tuple[str, ...], int]:
    """A fork, non-dumpable, into a v2 cgroup; the files by which the child has still to join v1 cgroups; and
    a descriptor to be closed when it is done, or 0.

    One clone3 rather than fork and unshare: a new pid namespace needs no second fork, the v2 cgroup no
    attach, and the pidfd cannot name another process.
    """
    # `tasks`, since the child is a lone thread: whoever writes to cgroup.procs waits until no process of the
    # host forks, executes or ends (cgroup_threadgroup_rwsem), which takes 5 to 15 ms when nobody else wrote
    # just before; one that moves its own thread does not (kernel/cgroup/cgroup.c, since 5.5).
    rest = tuple(f"{each}/tasks" for each in directories)
    directory = 0
    flags |= syscalls.CLONE_PIDFD
    # The child inherits it: from its first instruction on, nobody in the namespaces that it is in can
    # trace this interpreter or open its files. execve(2) makes the program dumpable again.
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    unified = cgroups.hierarchies().unified
    if unified and directories and directories[0].startswith(unified + "/"):
        directory = os.open(directories[0], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        flags, rest = flags | syscalls.CLONE_INTO_CGROUP, rest[1:]
    return syscalls.Clone3(flags, cgroup=directory), rest, directory


def _close_directory(descriptor: int) -> None:
    if descriptor:
        os.close(descriptor)


def _fork(
    flags: int, directories: Sequence[str], pid_namespace: int
) -> tuple[syscalls.Cloned, tuple[str, ...]]:
    """Fork as `_clone` says and, when given, into another's pid namespace. Returns twice, with the files."""
    clone, files, directory = _clone(flags, directories)
    try:
        if pid_namespace < 0:
            is_child = syscalls.clone3_each((clone,)) >= 0
        else:
            is_child = _clone_inside(clone, pid_namespace)
        return syscalls.Cloned(0, -1) if is_child else clone.result(), files
    finally:
        _close_directory(directory)


def fork_into(directories: Sequence[str]) -> tuple[syscalls.Cloned, tuple[str, ...]]:
    """Fork a child that has nothing of a container but its cgroups, as `_fork` does. Returns twice."""
    return _fork(0, directories, -1)


def _clone_inside(clone: syscalls.Clone3, pid_namespace: int) -> bool:
    """setns(2) with a pid namespace changes only where this process's children are born: there, the
    fork, and back. Returns twice: whether this is the child. One that cannot be entered is the clone's
    failure."""
    own = _own_pid_namespace()
    try:
        syscalls.setns(pid_namespace, syscalls.CLONE_NEWPID)
    except OSError as error:
        clone.fail(error)
        return False
    if syscalls.clone3_each((clone,)) >= 0:
        return True
    syscalls.setns(own, syscalls.CLONE_NEWPID)
    return False


@functools.cache
def _own_pid_namespace() -> int:
    """That of this process, opened once."""
    return os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)


def _map_ids(pid: int, plan: Plan, channel: socket.socket) -> None:
    for name, lines in zip(("uid_map", "gid_map"), plan.id_maps, strict=True):
        write(syscalls.AT_FDCWD, f"/proc/{pid}/{name}", lines)
    channel.send(b"mapped")
