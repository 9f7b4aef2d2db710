"""A filter that was made smaller answers as before, each number, architecture and argument that it can tell
from another: both are run here by an interpreter of BPF."""

from __future__ import annotations

import itertools
import operator
import platform
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import seccomp, seccomp_ranges, seccomp_told
from runtime.seccomp_default import default_profile
from runtime.security import CAPABILITIES, DEFAULT_CAPABILITIES

NATIVE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "riscv64": 0xC00000F3}.get(platform.machine(), 0)
OTHERS = (0, 0x40000003, 0xC0000015, 0xFFFFFFFF)  # i386, ppc64le, nonsense
MOST = 1 << 32
TESTS: dict[int, Callable[[int, int], Any]] = {
    0x15: operator.eq, 0x25: operator.gt, 0x35: operator.ge, 0x45: operator.and_,
}  # fmt: skip


def run(program: bytes, architecture: int, number: int, arguments: tuple[int, ...]) -> int:
    """What the kernel would answer."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, *arguments)
    code = list(struct.iter_unpack("=HBBI", program))
    at = found = 0
    while True:
        operation, then, other, value = code[at]
        at += 1
        match operation:
            case 0x20:
                (found,) = struct.unpack_from("=I", data, value)
            case 0x54:
                found &= value
            case 0x05:
                at += value
            case 0x06:
                return int(value)
            case _:
                at += then if TESTS[operation](found, value) else other


def constants(program: bytes) -> set[int]:
    return {value for operation, _, _, value in struct.iter_unpack("=HBBI", program) if operation & 7 != 6}


def arguments(values: set[int]) -> Iterator[tuple[int, ...]]:
    """Those at and beside each value, and with only a half of it, in each place."""
    edges = {0, 1, MOST, (1 << 64) - 1}
    for value in values:
        halves = (value, value % MOST, value >> 32, value % MOST << 32, value | 1 << 32)
        edges |= {(half + by) % (1 << 64) for half in halves for by in (-1, 0, 1)}
    for index, edge in itertools.product(range(3), sorted(edges)):
        found = [0] * 6
        found[index] = edge
        yield tuple(found)


def assert_same(before: bytes, after: bytes, profile: dict[str, Any]) -> None:
    rules = [rule for rule in profile["syscalls"] if rule.get("args")]
    values = {each["value"] for rule in rules for each in rule["args"]}
    with_arguments = numbers_of({name for rule in rules for name in rule["names"]}) | {0}
    edges = {each for value in constants(before) for each in (value - 1, value, value + 1)}
    numbers = {each % MOST for each in (*range(600), *edges, 0x4000_0000, 0x7FFF_FFFF, MOST - 1)}
    none = (0,) * 6
    for architecture in (NATIVE, *OTHERS):
        for number in numbers:
            assert run(before, architecture, number, none) == run(after, architecture, number, none)
    for number, found in itertools.product(with_arguments, arguments(values)):
        assert run(before, NATIVE, number, found) == run(after, NATIVE, number, found), (number, found)


def both(profile: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> tuple[bytes, bytes]:
    """As it was compiled, and as it is set."""
    after = seccomp.compile_profile(profile)
    with monkeypatch.context() as patch:
        patch.setattr(seccomp, "smaller", lambda program: program)
        return seccomp.compile_profile(profile), after


def numbers_of(names: set[str]) -> set[int]:
    import pyseccomp

    found = {pyseccomp.resolve_syscall(pyseccomp.system_arch(), name) for name in names}
    return {number for number in found if number >= 0}


@pytest.mark.parametrize(
    "capabilities", [(), DEFAULT_CAPABILITIES, CAPABILITIES, (*DEFAULT_CAPABILITIES, "CAP_SYS_PTRACE")]
)
def test_the_default_filter_is_the_same(
    capabilities: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = default_profile(capabilities, platform.machine())
    before, after = both(profile, monkeypatch)
    assert_same(before, after, profile)
    assert len(after) < len(before) / 3


def test_the_filter_that_tells_is_the_same() -> None:
    numbers = sorted(numbers_of(set(seccomp_told.names(DEFAULT_CAPABILITIES))))
    before = seccomp_told.program(numbers, NATIVE)
    after = seccomp_ranges.smaller(before)
    assert_same(before, after, {"syscalls": []})
    assert len(after) < len(before)


def test_other_architectures_keep_their_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = default_profile(DEFAULT_CAPABILITIES, platform.machine())
    profile["architectures"] = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"]
    before, after = both(profile, monkeypatch)
    assert_same(before, after, profile)


CALLS = ("read", "write", "close", "socket", "clone", "ioctl", "personality", "keyctl", "bpf", "openat2")
COMPARISONS = ("EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ")
VALUES = st.one_of(st.integers(0, 40), st.sampled_from([MOST - 1, MOST, MOST + 1, 0x7E020000, (1 << 64) - 1]))
CONDITIONS = st.fixed_dictionaries(
    {
        "index": st.integers(0, 2), "op": st.sampled_from([f"SCMP_CMP_{each}" for each in COMPARISONS]),
        "value": VALUES, "valueTwo": st.just(0),
    }
)  # fmt: skip
RULES = st.fixed_dictionaries(
    {
        "names": st.lists(st.sampled_from(CALLS), min_size=1, max_size=3),
        "action": st.sampled_from([f"SCMP_ACT_{each}" for each in ("ALLOW", "LOG", "ERRNO", "KILL_PROCESS")]),
        "args": st.lists(CONDITIONS, max_size=2),
    }
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(rules=st.lists(RULES, max_size=8), default=st.sampled_from(["SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"]))
def test_any_profile_is_the_same(rules: list[dict[str, Any]], default: str) -> None:
    profile = {"defaultAction": default, "syscalls": rules}
    with pytest.MonkeyPatch.context() as monkeypatch:
        try:
            before, after = both(profile, monkeypatch)
        except OSError:  # rules of one call that contradict each other: libseccomp refuses them
            return
    assert_same(before, after, profile)


LOAD_NUMBER, RETURN_ALLOW = (0x20, 0, 0, 0), (0x06, 0, 0, 0x7FFF0000)


@pytest.mark.parametrize(
    "code",
    [
        [LOAD_NUMBER, (0x54, 0, 0, 7), (0x15, 0, 1, 3), RETURN_ALLOW, (0x06, 0, 0, 0)],  # a part of a number
        [LOAD_NUMBER, (0x45, 0, 1, 4), RETURN_ALLOW, (0x06, 0, 0, 0)],
        [(0x20, 0, 0, 4), (0x35, 0, 1, NATIVE), RETURN_ALLOW, (0x06, 0, 0, 0)],
        [(0x20, 0, 0, 8), (0x15, 0, 1, 0), RETURN_ALLOW, (0x06, 0, 0, 0)],  # where the call comes from
        [LOAD_NUMBER, (0x16, 0, 0, 0)],  # what was loaded is the answer
        [LOAD_NUMBER, (0x15, 0, 9, 3), RETURN_ALLOW],  # out of the program
        [LOAD_NUMBER, (0x07, 0, 0, 0), RETURN_ALLOW],
    ],
)
def test_what_is_not_understood_stays(code: list[tuple[int, int, int, int]]) -> None:
    code[1:1] = [(0x15, 0, 0, 1)] * 30  # jumps to the next: without them there were nothing to make smaller
    program = b"".join(struct.pack("=HBBI", *each) for each in code)
    assert seccomp_ranges.smaller(program) == program


def test_jumps_that_are_too_far_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """More ranges than a conditional jump can pass over."""
    allowed = [(0x15, 0, 1, number) for number in range(0, 1600, 4)]
    code = [LOAD_NUMBER]
    for each in allowed:
        code += [each, (0x06, 0, 0, 0x00050000 | each[3] % 1000)]
    code.append(RETURN_ALLOW)
    before = b"".join(struct.pack("=HBBI", *each) for each in code)
    monkeypatch.setattr(seccomp_ranges, "_MOST_EXCEPTIONS", 0)  # the most instructions
    meaning = seccomp_ranges.meaning_of(before)
    after = seccomp_ranges._Assembler().program(meaning)
    assert len(after) // 8 > 3 * 256
    for number in range(1700):
        assert run(before, NATIVE, number, (0,) * 6) == run(after, NATIVE, number, (0,) * 6)
