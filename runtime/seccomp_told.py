"""Which refusals of the default filter are told, and by what: a second, small filter that says the same as
the first for calls that people stumble over, and has the kernel log them (SECCOMP_FILTER_FLAG_LOG).

Of two filters that refuse alike the newest decides whether that is logged, so the first one stays without the
flag, and what programs try all the time and do without (clone3, calls from the future) is not
logged. Standard library only. The supervisor splits what `seccomp` has joined (prepare.TOLD).
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable

from runtime.seccomp_default import BY_CAPABILITY, EPERM

NEVER = (
    "keyctl add_key request_key io_uring_setup userfaultfd kexec_load kexec_file_load pivot_root swapon"
    " swapoff migrate_pages move_pages nfsservctl uselib ustat sysfs"
)
UNTOLD = frozenset(
    ["clone", "clone3", "chroot", "get_mempolicy", "mbind", "set_mempolicy", "process_madvise"]
)
"""Refused often and without harm, or asked for at every turn."""


def names(capabilities: Collection[str]) -> frozenset[str]:
    """The calls whose refusal is told to a process with these capabilities."""
    held = {name for each in BY_CAPABILITY if each.capability in capabilities for name in each.names.split()}
    known = {name for each in BY_CAPABILITY for name in each.names.split()} | set(NEVER.split())
    return frozenset(known - held - UNTOLD)


def advice(name: str) -> str:
    """What would allow a call, in words."""
    for each in BY_CAPABILITY:
        if name in each.names.split():
            return f"cap_add: [{each.capability.removeprefix('CAP_')}] gives it"
    return "no capability gives it; security_opt: [seccomp=FILE] does, with a profile of your own"


def program(numbers: Iterable[int], architecture: int) -> bytes:
    """BPF that refuses these calls of one architecture (AUDIT_ARCH_*) and allows all others. Jumps are of 8
    bits: at most 120 calls."""
    found = sorted(numbers)
    tree = _tree(found, 2 * len(found) - 1 if found else 0)
    end = len(tree)
    code = [(0x20, 0, 0, 4), (0x15, 0, end + 1, architecture), (0x20, 0, 0, 0), *tree]
    code += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050000 | EPERM)]
    return b"".join(struct.pack("=HBBI", *each) for each in code)


def _tree(numbers: list[int], left: int) -> list[tuple[int, int, int, int]]:
    """A binary tree. left: the instructions from here to the two that end the program, one that allows, and
    one that refuses."""
    if not numbers:
        return []
    if len(numbers) == 1:
        return [(0x15, left, left - 1, numbers[0])]
    middle = len(numbers) // 2
    low = _tree(numbers[:middle], left - 1)
    high = _tree(numbers[middle:], left - 1 - len(low))
    return [(0x35, len(low), 0, numbers[middle]), *low, *high]
