"""A compiled filter made smaller, with the same answer to every call: numbers that are answered alike become
ranges. Pure: from the bytes of a BPF program to bytes.

libseccomp compares each number by itself, 540 instructions for the default profile, and the kernel checks,
translates and compiles a filter anew for each process that it is set in. Called by `seccomp`, once a profile.
What this does not understand stays as it is.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

# linux/bpf_common.h, and the offsets of struct seccomp_data.
_LOAD, _AND, _JUMP, _RETURN = 0x20, 0x54, 0x05, 0x06
_EQUAL, _GREATER, _AT_LEAST, _ANY_BIT = 0x15, 0x25, 0x35, 0x45
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_ALL_BITS = 0xFFFFFFFF
MOST_INSTRUCTIONS = 4096  # BPF_MAXINSNS
_MOST_NODES = 5000  # of what is left to ask in all numbers together
_MOST_EXCEPTIONS = 3  # in a range, one comparison each
_FARTHEST = 255  # a conditional jump's reach


class Test(NamedTuple):
    """A question about a part of an argument, and what follows; a plain int is an answer."""

    offset: int
    mask: int
    operator: int
    value: int
    then: Test | int
    other: Test | int


Answer = Test | int
Ranges = tuple[tuple[int, Answer], ...]  # (first number, answer), up to the next one's


class _Unknown(Exception):
    """Not a program of the kind that is understood."""


class _Instruction(NamedTuple):
    code: int
    then: int
    other: int
    value: int


def smaller(program: bytes) -> bytes:
    """The same filter in fewer instructions, or the program itself."""
    try:
        meaning = meaning_of(program)
        made = _Assembler().program(meaning)
        is_same = meaning_of(made) == meaning
    except (_Unknown, RecursionError):
        return program
    return made if is_same and len(made) < len(program) else program


def meaning_of(program: bytes) -> dict[int, Ranges]:
    """The answers by architecture, -1 for all others: two programs with the same are the same filter."""
    code = [_Instruction(*each) for each in struct.iter_unpack("=HBBI", program)]
    reader = _Reader(code)
    return {each: reader.ranges(each) for each in (*sorted(reader.architectures), -1)}


class _Reader:
    """Follows a program for one architecture and number, with the arguments unknown."""

    def __init__(self, code: list[_Instruction]) -> None:
        self._code = code
        self._nodes = 0
        self.architectures: set[int] = set()
        self._firsts = {0}  # where another range may begin
        self._find(0, -1, set())

    def _find(self, at: int, loaded: int, seen: set[tuple[int, int]]) -> None:
        """Which numbers and architectures are compared with."""
        while (at, loaded) not in seen:
            seen.add((at, loaded))
            found = self._at(at)
            if found.code == _LOAD:
                loaded = found.value
            elif found.code == _JUMP:
                at += found.value
            elif found.code == _RETURN:
                return
            elif found.code == _AND:
                if loaded < _FIRST_ARGUMENT:
                    raise _Unknown
            else:
                self._compared(found, loaded)
                self._find(at + 1 + found.then, loaded, seen)
                at += found.other
            at += 1

    def _compared(self, found: _Instruction, loaded: int) -> None:
        if loaded == _ARCHITECTURE and found.code == _EQUAL:
            self.architectures.add(found.value)
        elif loaded == _NUMBER and found.code in (_EQUAL, _GREATER, _AT_LEAST):
            if found.code != _GREATER:
                self._firsts.add(found.value)
            if found.code != _AT_LEAST and found.value < _ALL_BITS:
                self._firsts.add(found.value + 1)
        elif loaded < _FIRST_ARGUMENT or found.code not in (_EQUAL, _GREATER, _AT_LEAST, _ANY_BIT):
            raise _Unknown

    def _at(self, at: int) -> _Instruction:
        if at >= len(self._code):
            raise _Unknown
        return self._code[at]

    def ranges(self, architecture: int) -> Ranges:
        """architecture: -1 for one that no instruction names."""
        found: list[tuple[int, Answer]] = []
        for first in sorted(self._firsts):
            answer = self._answer(0, {_ARCHITECTURE: architecture, _NUMBER: first}, -1, _ALL_BITS)
            if not found or found[-1][1] != answer:
                found.append((first, answer))
        return tuple(found)

    def _answer(self, at: int, known: dict[int, int], loaded: int, mask: int) -> Answer:
        while True:
            found = self._at(at)
            at += 1
            if found.code == _RETURN:
                return found.value
            if found.code == _LOAD:
                loaded, mask = found.value, _ALL_BITS
            elif found.code == _AND:
                mask &= found.value
            elif found.code == _JUMP:
                at += found.value
            elif loaded in known:
                at += found.then if _holds(found.code, known[loaded], found.value) else found.other
            else:
                self._nodes += 1
                if self._nodes > _MOST_NODES:
                    raise _Unknown
                then = self._answer(at + found.then, known, loaded, mask)
                other = self._answer(at + found.other, known, loaded, mask)
                if then == other:
                    return then
                return Test(loaded, mask, found.code, found.value, then, other)


def _holds(code: int, found: int, value: int) -> bool:
    if code == _EQUAL:
        return found == value
    return found > value if code == _GREATER else found >= value


class _Assembler:
    """Puts a program together from its end, so that where a jump leads to is known."""

    def __init__(self) -> None:
        self._code: list[tuple[int, int, int, int]] = []  # the last instruction first
        self._places: dict[Answer, int] = {}

    def program(self, meaning: dict[int, Ranges]) -> bytes:
        place = self._numbers(meaning[-1])
        for architecture, ranges in meaning.items():
            if architecture >= 0:
                there = self._numbers(ranges)
                place = self._if(_EQUAL, architecture, there, place)
        self._load(_ARCHITECTURE)
        if len(self._code) > MOST_INSTRUCTIONS:
            raise _Unknown
        return b"".join(struct.pack("=HBBI", *each) for each in reversed(self._code))

    def _put(self, code: int, value: int, then: int = 0, other: int = 0) -> int:
        self._code.append((code, then, other, value))
        return len(self._code) - 1

    def _load(self, offset: int) -> int:
        return self._put(_LOAD, offset)

    def _near(self, place: int) -> int:
        """A place that leads there and that a jump reaches, which may have one more instruction before it."""
        away = len(self._code) - place - 1
        return place if away + 1 <= _FARTHEST else self._put(_JUMP, away)

    def _if(self, code: int, value: int, then: int, other: int) -> int:
        then, other = self._near(then), self._near(other)
        here = len(self._code)
        return self._put(code, value, here - then - 1, here - other - 1)

    def _place(self, answer: Answer) -> int:
        if answer not in self._places:
            self._places[answer] = (
                self._test(answer) if isinstance(answer, Test) else self._put(_RETURN, answer)
            )
        return self._places[answer]

    def _test(self, test: Test) -> int:
        other, then = self._place(test.other), self._place(test.then)
        self._if(test.operator, test.value, then, other)
        if test.mask != _ALL_BITS:
            self._put(_AND, test.mask)
        return self._load(test.offset)

    def _numbers(self, ranges: Ranges) -> int:
        """Where a call's number is looked for in them."""
        if len(ranges) == 1:
            return self._place(ranges[0][1])
        for _, answer in ranges:
            self._place(answer)
        self._tree(_with_exceptions(ranges))
        return self._load(_NUMBER)

    def _tree(self, ranges: list[_Range]) -> int:
        if len(ranges) > 1:
            middle = len(ranges) // 2
            high, low = self._tree(ranges[middle:]), self._tree(ranges[:middle])
            return self._if(_AT_LEAST, ranges[middle].first, high, low)
        place = self._place(ranges[0].answer)
        for number, answer in ranges[0].exceptions:
            place = self._if(_EQUAL, number, self._place(answer), place)
        return place


class _Range(NamedTuple):
    """exceptions: single numbers within, with answers of their own."""

    first: int
    answer: Answer
    exceptions: list[tuple[int, Answer]]


def _with_exceptions(ranges: Ranges) -> list[_Range]:
    """One number between two ranges that are answered alike is an exception: one comparison over two."""
    made: list[_Range] = []
    at = 0
    while at < len(ranges):
        first, answer = ranges[at]
        exceptions: list[tuple[int, Answer]] = []
        while (
            len(exceptions) < _MOST_EXCEPTIONS
            and at + 2 < len(ranges)
            and ranges[at + 2] == (ranges[at + 1][0] + 1, answer)
        ):
            exceptions.append(ranges[at + 1])
            at += 2
        made.append(_Range(first, answer, exceptions))
        at += 1
    return made
