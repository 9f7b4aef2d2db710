"""The program that the supervisor is, run from a read-only mount of itself.

A forked child is still this program when it is in a container already, and /proc/self/exe is a way to
the file. One that a container's race makes it execute again would hand that file over, to be written
to as soon as nobody runs it (CVE-2019-5736). Through a mount that nobody else has, and that is read-only,
it cannot be written to, ever. Called by whoever executes the supervisor. Standard library only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from runtime import syscalls
from runtime.typed import NoReturn

FAILPOINTS = "SETPOINT_FAILPOINTS"  # for tests only: see runtime.failpoints


def environment() -> dict[str, str]:
    """What an environment that is otherwise empty keeps."""
    return {FAILPOINTS: os.environ[FAILPOINTS]} if FAILPOINTS in os.environ else {}


def is_read_only() -> bool:
    """Whether this process runs from such a mount already."""
    return bool(os.statvfs("/proc/self/exe").f_flag & os.ST_RDONLY)


def open_read_only() -> int:
    """A descriptor of this interpreter on a detached, read-only mount, to be executed by
    /proc/self/fd/N. OSError."""
    descriptor = syscalls.open_tree(syscalls.AT_FDCWD, sys.executable, syscalls.OPEN_TREE_CLONE)
    try:
        syscalls.mount_setattr(descriptor, "", syscalls.AT_EMPTY_PATH, syscalls.MOUNT_ATTR_RDONLY)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def be_read_only() -> None:
    """Begin this process anew from such a mount, with the same arguments, unless it was begun so. OSError."""
    if not is_read_only():
        execute([sys.executable, *sys.orig_argv[1:]], os.environ)


def execute(arguments: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """execve(2) this interpreter with other arguments, the first being its own path. OSError."""
    descriptor = open_read_only()
    try:
        os.execve(f"/proc/self/fd/{descriptor}", tuple(arguments), environment)
    finally:
        os.close(descriptor)
