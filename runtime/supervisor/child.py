"""The forked child of a container: from clone3 to the program. Carries a Plan out, decides nothing.

Called by `launch` right after the fork. With `built` given, the supervisor has made the container's
namespaces and root already: the child enters them, and what is left is what only the process itself can
do. Without, the child does all of it (user namespaces and hooks need a process to begin with). Never returns.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

from runtime import syscalls as sys_
from runtime.errors import Invalid, Unsupported
from runtime.supervisor import rootfs
from runtime.supervisor.console import open_console
from runtime.supervisor.hooks import run_hooks
from runtime.supervisor.prepare import Plan
from runtime.supervisor.process import (
    GATE_LOST,
    SETUP_FAILED,
    attach_stdio,
    become,
    check_program,
    enter_directory,
    enter_users,
    exit_status,
    identity,
    join_cgroups,
    leave_parent,
    open_profile,
    raise_limits,
    set_oom_score,
    write,
)
from runtime.supervisor.report import error_body, failure, receive, send
from runtime.typed import Any, NamedTuple, NoReturn
from runtime.users import Identity

_OWNED = sys_.CLONE_NEWNS | sys_.CLONE_NEWUTS | sys_.CLONE_NEWIPC | sys_.CLONE_NEWCGROUP


class Wiring(NamedTuple):
    """What a child gets besides its plan. parent_end: the other end of the channel, to be closed, else
    its end would never be seen. says_ready: as in LaunchRequest."""

    channel: socket.socket
    parent_end: socket.socket
    stdio: tuple[int, int, int]
    gate: bool
    gate_socket: int
    keep: int
    state: Mapping[str, Any]
    namespaces: tuple[tuple[int, int], ...] = ()
    says_ready: bool = True


class Built(NamedTuple):
    """What the parent made already: descriptors of the root and of the terminal, and who is to run. users:
    of the user namespace that is still to be entered, -1 for none; then the terminal is made in it. empty: of
    the directory that hides others (`rootfs.Root`)."""

    root: int
    slave: int
    who: Identity
    users: int = -1
    empty: int = -1


def run(plan: Plan, wiring: Wiring, cgroup_files: tuple[str, ...], built: Built | None = None) -> NoReturn:
    """Become the container's first process. cgroup_files: by which it joins those that it is not born in."""
    channel, status = wiring.channel, SETUP_FAILED
    try:
        wiring.parent_end.close()
        for descriptor, flag in wiring.namespaces:
            sys_.setns(descriptor, flag)
        leave_parent(plan.process)
        join_cgroups(cgroup_files)
        # Its root is where the process is at this moment: after the cgroups are joined.
        if plan.flags & sys_.CLONE_NEWCGROUP and plan.users is None:
            sys_.unshare(sys_.CLONE_NEWCGROUP)
        set_oom_score(plan.process, channel)
        profile = open_profile(plan.process)
        root, slave, who, users, empty = built or _set_up(plan, wiring)
        sysctls = os.open("/proc/sys", os.O_PATH | os.O_CLOEXEC) if plan.own_sysctls else -1
        rootfs.finish(plan, root, users, empty)
        if users >= 0:
            root, slave = _enter_users(plan, users, sysctls, channel)
        if wiring.gate:
            if wiring.says_ready:
                _say_ready(plan, channel)
            channel = _wait_at_gate(channel, wiring.gate_socket)
        if plan.hooks.get("startContainer"):
            state = {**plan.state, **wiring.state, "status": "created", "pid": 1}
            run_hooks(plan.hooks["startContainer"], "startContainer", state)
        attach_stdio(wiring.stdio, slave)
        enter_directory(plan.process, root, may_make=True)
        become(plan.process, who, root, wiring.keep, profile, channel)
    except BaseException as error:
        status = exit_status(error)
        with suppress(BaseException):
            send(channel, error_body(error))
    finally:
        os._exit(status)


def _set_up(plan: Plan, wiring: Wiring) -> Built:
    channel = wiring.channel
    if plan.id_maps[0]:
        _wait_for_maps(channel)
    enter(plan)
    root, empty = rootfs.build(plan)
    slave = open_console(plan.process, root, channel, True) if plan.process.terminal else -1
    if plan.hooks:
        _run_create_hooks(plan, wiring)
    set_sysctls(plan)
    return Built(root, slave, identity(plan.process, root), empty=empty)


def _enter_users(plan: Plan, users: int, sysctls: int, channel: socket.socket) -> tuple[int, int]:
    """Enter the user namespace, whose the other namespaces become: (root, terminal) as seen from inside.

    The root is changed already, and nobody else is in it. In the copy of the mounts that now belongs to the
    user namespace each is locked: what hides a path cannot be taken off (mount_namespaces(7)).
    """
    raise_limits(plan.process)
    enter_users(users)
    os.close(users)
    sys_.unshare(plan.flags & _OWNED)
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    rootfs.mount_own_queues(plan, root)
    for path, value in plan.own_sysctls:
        try:
            write(sysctls, path, value)
        except OSError as error:
            raise Unsupported(
                "set sysctl", path.replace("/", "."), f"{error.strerror} in a user namespace",
                "needs kernel 6.10, or userns_mode: host",
            ) from error  # fmt: skip
    return root, open_console(plan.process, root, channel, True) if plan.process.terminal else -1


def enter(plan: Plan) -> None:
    """Join the namespaces that are given by path, and name the uts namespace."""
    for flag, path in plan.joins:
        if flag == sys_.CLONE_NEWPID:
            continue  # decided at the fork
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                sys_.setns(descriptor, flag)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise failure("join namespace", path, error, "is the other container running?") from error
    if plan.hostname:
        sys_.sethostname(plan.hostname)
    if plan.domainname:
        sys_.setdomainname(plan.domainname)


def set_sysctls(plan: Plan) -> None:
    """Through the host's procfs, before the root is changed: the image's may be a fake."""
    for path, value in plan.sysctls:
        try:
            write(sys_.AT_FDCWD, f"/proc/sys/{path}", value)
        except OSError as error:
            raise failure("set sysctl", path.replace("/", "."), error) from error


def _wait_for_maps(channel: socket.socket) -> None:
    if channel.recv(16) != b"mapped":
        raise Invalid("start", "user namespace", "the parent could not map its ids", "")
    os.setgroups(())
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _say_ready(plan: Plan, channel: socket.socket) -> None:
    """Tell that all is set up, and the program is there."""
    if plan.process.cwd == "/":  # else a relative program is looked up from elsewhere
        check_program(plan.process)
    with suppress(ConnectionError):  # whether we were told to start is in the channel all the same
        send(channel, {"ready": True})


def _wait_at_gate(channel: socket.socket, gate_socket: int) -> socket.socket:
    """Wait for "start"; returns the channel for what follows."""
    if gate_socket < 0:
        if not _hears_start(channel):
            os._exit(GATE_LOST)
        return channel
    listener = socket.socket(fileno=gate_socket)
    channel.close()
    while True:
        connection, _ = listener.accept()
        if connection.recv(16) == b"start":
            listener.close()
            return connection
        connection.close()


def _hears_start(channel: socket.socket) -> bool:
    """False: the parent has gone, or changed its mind, without a word."""
    with suppress(ConnectionResetError):  # unix(7): it went with our message unread; its own comes next
        return channel.recv(16) == b"start"
    return channel.recv(16) == b"start"


def _run_create_hooks(plan: Plan, wiring: Wiring) -> None:
    """The parent runs the hooks of the runtime's namespace, this process those of the container's."""
    if plan.hooks.get("prestart") or plan.hooks.get("createRuntime"):
        send(wiring.channel, {"hooks": True})
        answer = receive(wiring.channel)
        if answer is None or not answer.body.get("go"):
            os._exit(SETUP_FAILED)
    if plan.hooks.get("createContainer"):
        state = {**plan.state, **wiring.state, "status": "creating", "pid": os.getpid()}
        run_hooks(plan.hooks["createContainer"], "createContainer", state)
