"""Audit records: parsed strictly, since a container chose some of the words in them."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from runtime.denials import MAX_TOLD, Denials, parse
from runtime.seccomp_told import advice, names, program

GOOD = (
    'audit(1795543117.381:2): auid=4294967295 uid=0 gid=0 ses=4294967295 pid=8081 comm="python"'
    ' exe="/usr/bin/python3" sig=0 arch=c000003e syscall=250 compat=0 ip=0x7ff74df1a6f9 code=0x50000'
)


def message(text: str, kind: int = 1326) -> bytes:
    return struct.pack("=IHHII", 16 + len(text), kind, 0, 0, 0) + text.encode()


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        GOOD.replace("ses=4294967295", "ses=1 subj=setpoint-default (enforce)"),
        GOOD.replace('"python"', "666F6F203D"),
        GOOD.replace('"/usr/bin/python3"', "(null)"),
        GOOD + "\0",
    ],
)
def test_a_refusal(text: str) -> None:
    assert parse(message(text)) == (8081, 250)


@pytest.mark.parametrize(
    "text",
    [
        "", "audit(1.1:1): pid=1", GOOD + " pid=1", GOOD.replace("0x50000", "0x7ffc0000"),
        GOOD.replace("sig=0", "sig=31"), GOOD.replace('"python"', '"a" pid=1 comm="b"'),
        GOOD.replace("8081", "-1"), GOOD.replace("8081", "8" * 30), GOOD.replace("250", "9" * 9),
    ],
)  # fmt: skip
def test_what_is_none(text: str) -> None:
    assert parse(message(text)) is None


def test_other_records_are_none() -> None:
    assert parse(message(GOOD, 1325)) is None
    assert parse(b"") is None and parse(message(GOOD)[:15]) is None


def test_whose_it_is(tmp_path: Path) -> None:
    found: list[tuple[str, int]] = []
    denials = Denials("setpoint", lambda id, number: found.append((id, number)), {9: "b"}.get, tmp_path)
    id = "a" * 64
    for pid, text in (
        (1, f"4:memory:/setpoint/{id}\n0::/setpoint/{id}\n"),
        (2, f"0::/setpoint/{id}/inner\n"),
        (3, f"0::/setpoint.git\n0::/other/{id}\n0::/setpoint-2/{id}\n0::/setpoint/short\n"),
    ):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cgroup").write_text(text)
    for pid, number in ((1, 250), (1, 250), (2, 165), (3, 250), (4, 250), (9, 1)):
        denials._look(pid, number)
    assert found == [(id, 250), (id, 165), ("b", 1)]
    found.clear()
    for number in range(1000):
        denials._look(1, number)
    assert len(found) == MAX_TOLD - 2


def test_advice() -> None:
    assert "mount" in names([]) and "mount" not in names(["CAP_SYS_ADMIN"])
    assert {"clone3", "clone"}.isdisjoint(names([]))
    assert advice("mount") == "cap_add: [SYS_ADMIN] gives it"
    assert advice("keyctl").startswith("no capability gives it")


def run_bpf(code: bytes, number: int, architecture: int) -> int:
    """As the kernel would: seccomp_data is the number, then the architecture."""
    instructions = [struct.unpack_from("=HBBI", code, at) for at in range(0, len(code), 8)]
    data, value, at = {0: number, 4: architecture}, 0, 0
    while True:
        operation, yes, no, k = instructions[at]
        if operation == 0x06:
            return int(k)
        if operation == 0x20:
            value = data[k]
        else:
            is_met = value == k if operation == 0x15 else value >= k
            at += yes if is_met else no
        at += 1


def test_the_filter_refuses_those_alone() -> None:
    refused = {1, 2, 3, 50, 101, 165, 166, 250, 425, 447}
    code = program(refused, 7)
    assert {number for number in range(600) if run_bpf(code, number, 7) == 0x50001} == refused
    assert {run_bpf(code, number, 8) for number in range(600)} == {0x7FFF0000}
    assert run_bpf(program([], 7), 1, 7) == 0x7FFF0000
