"""Landlock: what files a thread, and all that it starts, may still reach. Used for programs that read what
strangers send (git).

The value is a Reach; `restrict` applies it to the calling thread alone (landlock(7)): a thread that does so,
starts a program and ends leaves the rest of its process as it was. Needs ABI 2 (Linux 5.19): before it no
file can be moved to another directory, which git does.
"""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from runtime import syscalls

LEAST = 2
# linux/landlock.h, LANDLOCK_ACCESS_FS_*.
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE_DIR, REMOVE_FILE = 1 << 4, 1 << 5
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (1 << bit for bit in range(6, 13))
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
BIND_TCP, CONNECT_TCP = 1 << 0, 1 << 1
SCOPE_ABSTRACT_UNIX, SCOPE_SIGNAL = 1 << 0, 1 << 1

_SINCE = ((1, (1 << 13) - 1), (2, REFER), (3, TRUNCATE), (5, IOCTL_DEV))
READ = EXECUTE | READ_FILE | READ_DIR
WRITE = READ_FILE | READ_DIR | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | REFER | TRUNCATE
ON_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV


@dataclass(frozen=True, slots=True)
class Reach:
    """read: to read and run, with all below; write: to read and to change; whole: all that there is to do. A
    missing one allows nothing. network: may connect by TCP (kernels before 6.7 cannot forbid it)."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()
    network: bool = False


@functools.cache
def version() -> int:
    """The ABI, 0 where there is none that is of use."""
    found = syscalls.landlock_version()
    return found if found >= LEAST else 0


def restrict(reach: Reach) -> bool:
    """Bind the calling thread to its reach, for good. False where the kernel cannot. The thread must have set
    no_new_privs, or hold CAP_SYS_ADMIN."""
    abi = version()
    if not abi:
        return False
    files = sum(bits for since, bits in _SINCE if abi >= since)
    network = BIND_TCP | (0 if reach.network else CONNECT_TCP) if abi >= 4 else 0
    scope = SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL if abi >= 6 else 0
    ruleset = syscalls.landlock_create_ruleset(files, network, scope)
    try:
        _allow(ruleset, reach.read, READ & files)
        _allow(ruleset, reach.write, WRITE & files)
        _allow(ruleset, reach.whole, files)
        syscalls.landlock_restrict_self(ruleset)
    finally:
        os.close(ruleset)
    return True


def _allow(ruleset: int, paths: Iterable[str], access: int) -> None:
    for path in paths:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
            syscalls.landlock_add_path(ruleset, descriptor, access if is_directory else access & ON_A_FILE)
        finally:
            os.close(descriptor)
