"""The forked child of an exec: from clone3 into a running container to execve.

Called by `launch_exec` right after the fork, already in the container's pid namespace. Follows the
rules of `child`: no import, no path of the container as a string before its root is this process's,
and never a return.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from runtime import syscalls as sys_
from runtime.supervisor.console import open_console
from runtime.supervisor.prepare import ProcessPlan
from runtime.supervisor.process import (
    SETUP_FAILED,
    attach_stdio,
    become,
    enter_directory,
    enter_users,
    exit_status,
    identity,
    join_cgroups,
    leave_parent,
    open_profile,
    raise_limits,
    set_oom_score,
)
from runtime.supervisor.report import error_body, failure, send
from runtime.typed import NoReturn

_NAMESPACES = (
    sys_.CLONE_NEWNS | sys_.CLONE_NEWIPC | sys_.CLONE_NEWUTS | sys_.CLONE_NEWNET | sys_.CLONE_NEWCGROUP
)


def run(
    process: ProcessPlan, channel: socket.socket, stdio: tuple[int, int, int], cgroup_files: tuple[str, ...],
    pidfd: int, own_user: bool, keep: int,
) -> NoReturn:  # fmt: skip
    """Become a further process of the container that pidfd's process belongs to."""
    status = SETUP_FAILED
    try:
        leave_parent(process)
        set_oom_score(process, channel)
        profile = open_profile(process)
        join_cgroups(cgroup_files)
        if own_user:
            raise_limits(process)
        _enter(pidfd, own_user)
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        slave = open_console(process, root, channel, False) if process.terminal else -1
        attach_stdio(stdio, slave)
        enter_directory(process, root, may_make=False)
        become(process, identity(process, root), root, keep, profile, channel)
    except BaseException as error:
        status = exit_status(error)
        with suppress(BaseException):
            send(channel, error_body(error))
    finally:
        os._exit(status)


def _enter(pidfd: int, own_user: bool) -> None:
    """Join all namespaces at once; the user namespace last, since the others are joined with the
    host's rights, and the kernel makes a process dumpable again when it enters one."""
    try:
        sys_.setns(pidfd, _NAMESPACES)
        if own_user:
            enter_users(pidfd)
    except OSError as error:
        raise failure("join container", str(pidfd), error, "is it running?") from error
