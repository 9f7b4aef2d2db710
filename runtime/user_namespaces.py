"""User namespaces: made with their id mapping, found by what they own, kept by a descriptor alone.

A user namespace begins with a process, and a process that has joined one has no way back: so a child is
forked for it, which does nothing, and is killed as soon as the namespace is held. Called by the network
code (a sandbox's network belongs to its user namespace) and by the supervisor. Standard library only.
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from runtime import syscalls
from runtime.errors import Invalid, Unsupported
from runtime.typed import Any, NamedTuple

SIZE = 65_536  # ids of a container: those that its image and its volumes may have
_NS_GET_USERNS = 0xB701  # ioctl_nsfs(2), kernel 4.9: what owns a namespace
_NS_GET_NSTYPE = 0xB703  # kernel 4.11
_WALL = 0x40000000  # waitid(2): also for children that end without a signal


class Held(NamedTuple):
    """Descriptors of a user namespace, and of a network namespace that it owns (-1: none was asked for).
    The caller closes both."""

    user: int
    network: int


def mapping(first: int, size: int = SIZE) -> list[dict[str, int]]:
    """0 to size-1 inside are first and on outside, as OCI has it (linux.uidMappings)."""
    return [{"containerID": 0, "hostID": first, "size": size}]


def lines(maps: Sequence[Mapping[str, Any]]) -> str:
    """An OCI mapping as /proc/PID/uid_map takes it, user_namespaces(7)."""
    return "".join(f"{each['containerID']} {each['hostID']} {each['size']}\n" for each in maps)


def make(uid_lines: str, gid_lines: str, *, network: bool = False) -> Held:
    """A new user namespace with these mappings. Unsupported where the host allows no further one."""
    flags = syscalls.CLONE_NEWUSER | syscalls.CLONE_PIDFD | (syscalls.CLONE_NEWNET if network else 0)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            child = syscalls.clone3(flags, exit_signal=0)
        except OSError as error:
            raise Unsupported(
                "make user namespace", "", os.strerror(error.errno or 0),
                "see sysctl user.max_user_namespaces and the kernel's CONFIG_USER_NS",
            ) from error  # fmt: skip
        if child.pid == 0:
            _wait_for_end(reader, writer)
        try:
            return _hold(child.pid, uid_lines, gid_lines, network)
        finally:
            signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
            os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED | _WALL)
            os.close(child.pidfd)
    finally:
        os.close(reader)
        os.close(writer)


def _wait_for_end(reader: int, writer: int) -> None:
    """The child: it ends when it is killed, or with its parent, whose end of the pipe it must not hold."""
    with suppress(BaseException):
        os.close(writer)
        os.read(reader, 1)
    os._exit(0)


def _hold(pid: int, uid_lines: str, gid_lines: str, network: bool) -> Held:
    for name, text in (("uid_map", uid_lines), ("gid_map", gid_lines)):
        descriptor = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
    user = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    if not network:
        return Held(user, -1)
    try:
        return Held(user, os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC))
    except BaseException:
        os.close(user)
        raise


def open_owner(path: str) -> int:
    """A descriptor of the user namespace that a file of /proc/PID/ns is, or that owns it. Invalid for the
    one that this process is in: to enter it would be no boundary at all."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if fcntl.ioctl(descriptor, _NS_GET_NSTYPE) != syscalls.CLONE_NEWUSER:
            owned, descriptor = descriptor, fcntl.ioctl(descriptor, _NS_GET_USERNS)
            os.close(owned)
            os.set_inheritable(descriptor, False)
        own = os.stat("/proc/self/ns/user").st_ino  # noqa: PTH116 - on the path of a start
        if os.fstat(descriptor).st_ino == own:
            raise Invalid(
                "join user namespace",
                path,
                "it is the host's own",
                "the container's network is the host's: recreate it",
            )
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def making_for(first: int) -> Iterator[None]:
    """What this thread makes meanwhile belongs to uid and gid first, and its rights stay as they are.

    For files on a mount that shows owners of a container: there is no 0 there, EOVERFLOW tells. The
    thread's effective ids stay 0. capabilities(7): SECBIT_NO_SETUID_FIXUP.
    """
    before = syscalls.prctl(syscalls.PR_GET_SECUREBITS)
    syscalls.prctl(syscalls.PR_SET_SECUREBITS, before | syscalls.SECBIT_NO_SETUID_FIXUP)
    try:
        syscalls.setfsids(first, first)
        try:
            yield
        finally:
            syscalls.setfsids(0, 0)
    finally:
        syscalls.prctl(syscalls.PR_SET_SECUREBITS, before)
