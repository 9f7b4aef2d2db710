"""Network namespaces: made, entered and left by the calling thread, and kept by a bind mount.

No process is started for one: the thread unshares, binds its own /proc/thread-self/ns/net and goes
back. A thread of its own would cost more than the work: it waits for the interpreter lock at each step.
Called by `sandboxes`, `networks` and `drift`. Knows nothing of links and addresses.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from runtime import security, syscalls, user_namespaces
from runtime.errors import Invalid
from runtime.network.netlink import Netlink

_OWN = "/proc/thread-self/ns/net"


class Made(NamedTuple):
    """A new network namespace. netlink: a socket inside it."""

    descriptor: int
    netlink: Netlink

    def close(self) -> None:
        """It stays where it is bound."""
        self.netlink.close()
        os.close(self.descriptor)


class Home:
    """The network namespace that an instance lives in, and the way back into it."""

    def __init__(self) -> None:
        self.descriptor = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self.descriptor)

    @contextlib.contextmanager
    def inside(self, descriptor: int) -> Iterator[None]:
        """The calling thread is in another network namespace for the length of the block."""
        syscalls.setns(descriptor, syscalls.CLONE_NEWNET)
        try:
            yield
        finally:
            self.back()

    def back(self) -> None:
        """Return, or end the process: what it did next would be done to the wrong network."""
        try:
            syscalls.setns(self.descriptor, syscalls.CLONE_NEWNET)
        except OSError as error:
            os.write(2, f"cannot return to the host's network: {error}\n".encode())
            os.abort()

    def make(self, sysctls: Mapping[str, str]) -> Made:
        """A new network namespace, without a name."""
        syscalls.unshare(syscalls.CLONE_NEWNET)
        descriptor = -1
        try:
            descriptor = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
            write_sysctls(sysctls)
            return Made(descriptor, Netlink())
        except BaseException:
            if descriptor >= 0:
                os.close(descriptor)
            raise
        finally:
            self.back()

    def make_owned(self, sysctls: Mapping[str, str], ids: int) -> Made:
        """One that belongs to a new user namespace with these ids, which lives with what it owns, and is
        found by it: user_namespaces.open_owner."""
        mapped = user_namespaces.lines(user_namespaces.mapping(ids))
        made = user_namespaces.make(mapped, mapped, network=True)
        os.close(made.user)
        try:
            with self.inside(made.network):
                write_sysctls(sysctls)
                return Made(made.network, Netlink())
        except BaseException:
            os.close(made.network)
            raise

    def netlink_in(self, descriptor: int) -> Netlink:
        with self.inside(descriptor):
            return Netlink()


def name(made: Made, path: str) -> None:
    """Bind a new one at path. FileExistsError when something is there."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400))
    try:
        syscalls.mount(f"/proc/self/fd/{made.descriptor}", path, None, syscalls.MS_BIND)
    except BaseException:
        remove(path)
        raise


def bind(source: str, path: str) -> None:
    """Keep the network namespace of /proc/PID/ns/net under another path."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400))
    syscalls.mount(source, path, None, syscalls.MS_BIND)


def remove(path: str) -> None:
    """Let go of a namespace; it ends with the last process in it. Nothing when it is gone."""
    is_mounted = True
    while True:
        try:
            syscalls.umount2(path, syscalls.MNT_DETACH | syscalls.UMOUNT_NOFOLLOW)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT):
                raise
            is_mounted = False
        try:
            os.unlink(path)  # noqa: PTH108 - on the path of every start, where Path costs
        except FileNotFoundError:
            return
        except OSError as error:  # a repeated repair may have stacked mounts
            if error.errno != errno.EBUSY or not is_mounted:
                raise
        else:
            return


def inode_of(path: str) -> int:
    """The namespace's inode, which is its identity while it lives; 0 when nothing is there."""
    try:
        return os.stat(path).st_ino  # noqa: PTH116 - as above
    except OSError:
        return 0


def is_at(path: str, inode: int) -> bool:
    """Whether the namespace with that inode is bound at path (and not just an empty file)."""
    try:
        found = os.stat(path)  # noqa: PTH116 - as above
    except OSError:
        return False
    return found.st_ino == inode and found.st_dev == os.stat(_OWN).st_dev  # noqa: PTH116


def holder_of(inode: int) -> str:
    """/proc/PID/ns/net of some process inside that namespace, or "". Looks at every process."""
    for process in Path("/proc").glob("[0-9]*"):
        path = f"{process}/ns/net"
        if inode_of(path) == inode:
            return path
    return ""


def check_sysctl(subject: str, name: str) -> None:
    """Invalid unless it is a sysctl of a network namespace."""
    if not _path_of(name).startswith("net/"):
        raise Invalid("set sysctl", subject, f"{name!r} is not a sysctl of a network", "net.…")


def write_sysctls(sysctls: Mapping[str, str]) -> None:
    """Set sysctls in the network namespace that the calling thread is in (/proc/sys/net follows it).

    A dot within an interface's name is written as '/', as sysctl(8) has it. `Invalid` for a name that
    leads elsewhere, OSError for one that this kernel lacks.
    """
    for name, value in sysctls.items():
        descriptor = os.open(f"/proc/sys/{_path_of(name)}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode())
        except OSError as error:
            raise OSError(error.errno, f"set {name} to {value!r}: {error.strerror}") from None
        finally:
            os.close(descriptor)


def _path_of(name: str) -> str:
    """Below /proc/sys. This is the host's procfs: all but net would be the host's own."""
    return security.sysctl_path(name, own_network=True, own_ipc=False, own_uts=False)
