"""The device program, run by a small interpreter and held to the rules said one access at a time."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from runtime.cgroup_devices import device_program
from runtime.devices import DEFAULT_RULES, Rule

ACCESS = {"m": 1, "r": 2, "w": 4}
KINDS = {"b": 1, "c": 2}
DOCKER = (Rule(False), *DEFAULT_RULES)


def asked(code: bytes, kind: str, major: int, minor: int, access: str) -> bool:
    """What the program answers; every jump must go forward and end at an instruction."""
    context = struct.pack("=III", sum(ACCESS[one] for one in access) << 16 | KINDS[kind], major, minor)
    registers = [0] * 11
    program = list(struct.iter_unpack("=BBhi", code))
    at = 0
    while True:
        opcode, both, offset, constant = program[at]
        target, source = both & 15, both >> 4
        at += 1
        if opcode == 0x61:
            (registers[target],) = struct.unpack_from("=I", context, offset)
        elif opcode == 0xB7:
            registers[target] = constant
        elif opcode == 0xBF:
            registers[target] = registers[source]
        elif opcode == 0x57:
            registers[target] &= constant
        elif opcode == 0x77:
            registers[target] >>= constant
        elif opcode in (0x15, 0x55):
            assert offset >= 0
            at += offset if (registers[target] == constant) == (opcode == 0x15) else 0
        else:
            assert opcode == 0x95
            return bool(registers[0])


def expected(rules: tuple[Rule, ...], kind: str, major: int, minor: int, access: str) -> bool:
    """The last rule that names the device and this access counts; all accesses must be allowed."""
    return all(one_expected(rules, kind, major, minor, one) for one in access)


def one_expected(rules: tuple[Rule, ...], kind: str, major: int, minor: int, access: str) -> bool:
    for rule in reversed(rules):
        names_it = rule.kind in ("a", kind) and rule.major in (None, major) and rule.minor in (None, minor)
        if names_it and access in rule.access:
            return rule.allow
    return True


accesses = st.sets(st.sampled_from("rwm"), min_size=1).map(lambda found: "".join(sorted(found)))
numbers = st.none() | st.integers(0, 3)
rules = st.builds(Rule, st.booleans(), st.sampled_from("abc"), numbers, numbers, accesses)


@given(
    st.lists(rules, max_size=8).map(tuple),
    st.sampled_from("bc"),
    st.integers(0, 4),
    st.integers(0, 4),
    accesses,
)
def test_the_program_says_what_the_rules_say(
    rules: tuple[Rule, ...], kind: str, major: int, minor: int, access: str
) -> None:
    code = device_program(rules)
    answer = asked(code, kind, major, minor, access) if code else True
    assert answer == expected(rules, kind, major, minor, access)


def test_the_default_rules() -> None:
    code = device_program(DOCKER)
    assert asked(code, "c", 1, 3, "rw")  # /dev/null
    assert asked(code, "c", 136, 7, "rw")  # /dev/pts/7
    assert asked(code, "b", 8, 0, "m")  # a node may be made, as elsewhere; it can't be opened
    assert not asked(code, "b", 8, 0, "r")
    assert not asked(code, "c", 1, 1, "r")  # /dev/mem
    assert not asked(code, "c", 10, 229, "rw")  # /dev/fuse


def test_a_device_for_reading_cannot_be_written() -> None:
    code = device_program((*DOCKER, Rule(True, "b", 8, 0, "r")))
    assert asked(code, "b", 8, 0, "r")
    assert not asked(code, "b", 8, 0, "w")
    assert not asked(code, "b", 8, 0, "rw")


def test_accesses_of_two_rules_add_up() -> None:
    code = device_program((*DOCKER, Rule(True, "b", 8, 0, "r"), Rule(True, "b", 8, 0, "w")))
    assert asked(code, "b", 8, 0, "rw")


def test_a_later_rule_takes_one_access_away() -> None:
    code = device_program((Rule(True), Rule(False, "b", 8, 0, "w")))
    assert asked(code, "b", 8, 0, "r")
    assert not asked(code, "b", 8, 0, "rw")


def test_nothing_refused_needs_no_program() -> None:
    assert device_program((Rule(True),)) == b""
    assert device_program(()) == b""


def test_nothing_follows_a_rule_for_all() -> None:
    """The kernel's verifier refuses an instruction that cannot be reached."""
    assert device_program((Rule(True, "c", 1, 3), Rule(False))) == device_program((Rule(False),))
