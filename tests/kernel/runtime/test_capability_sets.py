"""A process gets the capabilities that it is to have and that the runtime has itself, also on a host that has
taken some of them from the runtime."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from runtime import syscalls
from runtime.supervisor.prepare import prepare_process
from runtime.supervisor.process import _set_capabilities

SYS_TIME, KILL, CHOWN = 1 << 25, 1 << 5, 1


def sets(config: dict[str, list[str]], lacking: int) -> syscalls.Capabilities:
    """What a process has that was to have these, where the runtime lacks some."""
    process: dict[str, Any] = {"args": ["true"], "capabilities": config}
    plan = prepare_process(process, {}, None)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            held = syscalls.capget()
            left = held.permitted & ~lacking
            syscalls.capset(left, left, 0)
            _set_capabilities(plan)
            os.write(writer, json.dumps(syscalls.capget()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        told = answer.read()
    os.waitpid(pid, 0)
    return syscalls.Capabilities(*json.loads(told))


THREE = ["CAP_CHOWN", "CAP_KILL", "CAP_SYS_TIME"]


@pytest.mark.parametrize(
    ("lacking", "expected"),
    [(0, CHOWN | KILL | SYS_TIME), (SYS_TIME, CHOWN | KILL), (SYS_TIME | KILL, CHOWN)],
    ids=["all", "one less", "two less"],
)
def test_those_that_are_held(lacking: int, expected: int) -> None:
    assert sets({"permitted": THREE, "effective": THREE}, lacking) == (expected, expected, 0)


def test_effective_and_inheritable_ones() -> None:
    config = {"permitted": THREE, "effective": ["CAP_KILL", "CAP_SYS_TIME"], "inheritable": THREE}
    assert sets(config, 0) == (KILL | SYS_TIME, CHOWN | KILL | SYS_TIME, CHOWN | KILL | SYS_TIME)
    assert sets(config, SYS_TIME) == (KILL, CHOWN | KILL, CHOWN | KILL)


def test_none() -> None:
    assert sets({}, 0) == (0, 0, 0)
