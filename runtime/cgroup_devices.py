"""The device rules of a cgroup v2 as a BPF program: a pure generator, from `devices.Rule`s to bytes.

cgroup v2 has no devices controller: the kernel asks a program of type BPF_PROG_TYPE_CGROUP_DEVICE (Linux
4.15) that is attached to the cgroup. `cgroups` loads and attaches it. Standard library only; touches
nothing.

The last rule that names a device counts, for each kind of access by itself: what a later rule has
allowed is taken out of what is still asked for, and the answer is yes when nothing is left.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from runtime.devices import Rule

_MKNOD, _READ, _WRITE = 1, 2, 4  # BPF_DEVCG_ACC_*, linux/bpf.h
_ACCESS = {"m": _MKNOD, "r": _READ, "w": _WRITE}
_ALL = _MKNOD | _READ | _WRITE
_TYPES = {"b": 1, "c": 2, "u": 2}  # BPF_DEVCG_DEV_*

# Opcodes (linux/bpf_common.h, linux/bpf.h): a 32-bit load, and 64-bit arithmetic and jumps with a constant.
_LOAD_WORD = 0x61
_MOVE, _MOVE_REGISTER = 0xB7, 0xBF
_AND, _SHIFT_RIGHT = 0x57, 0x77
_JUMP_EQUAL, _JUMP_NOT_EQUAL = 0x15, 0x55
_EXIT = 0x95
# Registers: the answer; the context, later free; type; what is still asked for; the device's numbers.
_ANSWER, _CONTEXT, _TYPE, _ASKED, _MAJOR, _MINOR = range(6)
_SCRATCH = _CONTEXT


def device_program(rules: Sequence[Rule]) -> bytes:
    """The program for these rules, 8 bytes an instruction; b"" when they refuse nothing.

    What no rule names is allowed, as in a new cgroup v1: a list starts with a rule that denies all.
    """
    if all(rule.allow for rule in rules):
        return b""
    code = [
        _instruction(_LOAD_WORD, _TYPE, _CONTEXT, 0),  # struct bpf_cgroup_dev_ctx: access << 16 | type
        _instruction(_LOAD_WORD, _MAJOR, _CONTEXT, 4),
        _instruction(_LOAD_WORD, _MINOR, _CONTEXT, 8),
        _instruction(_MOVE_REGISTER, _ASKED, _TYPE),
        _instruction(_SHIFT_RIGHT, _ASKED, constant=16),
        _instruction(_AND, _TYPE, constant=0xFFFF),
    ]
    for rule in reversed(rules):
        code += _rule(rule)
        if _is_final(rule):
            # The verifier refuses what can never run.
            return b"".join(code)
    return b"".join([*code, *_answer(True)])


def _is_final(rule: Rule) -> bool:
    return rule.kind == "a" and rule.major is None and rule.minor is None and _bits(rule) == _ALL


def _bits(rule: Rule) -> int:
    return sum(_ACCESS[letter] for letter in set(rule.access))


def _rule(rule: Rule) -> list[bytes]:
    """Skipped whole when the device is another one."""
    tests = [
        (register, value)
        for register, value in ((_TYPE, _TYPES.get(rule.kind)), (_MAJOR, rule.major), (_MINOR, rule.minor))
        if value is not None
    ]
    verdict = _verdict(rule)
    return [
        *(
            _instruction(_JUMP_NOT_EQUAL, register, offset=len(tests) - at - 1 + len(verdict), constant=value)
            for at, (register, value) in enumerate(tests)
        ),
        *verdict,
    ]


def _verdict(rule: Rule) -> list[bytes]:
    bits = _bits(rule)
    if bits == _ALL:
        return _answer(rule.allow)
    if rule.allow:
        return [
            _instruction(_AND, _ASKED, constant=_ALL & ~bits),
            _instruction(_JUMP_NOT_EQUAL, _ASKED, offset=2),
            *_answer(True),
        ]
    return [
        _instruction(_MOVE_REGISTER, _SCRATCH, _ASKED),
        _instruction(_AND, _SCRATCH, constant=bits),
        _instruction(_JUMP_EQUAL, _SCRATCH, offset=2),
        *_answer(False),
    ]


def _answer(allow: bool) -> list[bytes]:
    return [_instruction(_MOVE, _ANSWER, constant=int(allow)), _instruction(_EXIT)]


def _instruction(code: int, target: int = 0, source: int = 0, offset: int = 0, constant: int = 0) -> bytes:
    """struct bpf_insn: the two registers share a byte."""
    return struct.pack("=BBhi", code, _registers(target, source), offset, constant)


def _registers(target: int, source: int) -> int:
    # The fields of a byte are counted from the low end on little-endian machines only.
    return target | source << 4 if _IS_LITTLE else target << 4 | source


_IS_LITTLE = struct.pack("=H", 1)[0] == 1
