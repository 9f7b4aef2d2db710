"""A19: a process that has the number of one that is gone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from runtime.engine import NativeEngine
from runtime.errors import Temporary
from runtime.supervisor import records
from runtime.supervisor.adoption import open_pidfd
from tests.native import config_of, ended, run


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


@pytest.mark.parametrize(
    ("change", "is_it"),
    [
        ({}, True), ({"start_time": 1}, False), ({"start_time": None}, False), ({"boot_id": "other"}, False),
        ({"pid": 0}, False), ({"pid": 4_194_303}, False),
    ],
)  # fmt: skip
def test_a19_a_number_alone_is_nobody(
    process: subprocess.Popen[bytes], change: dict[str, Any], is_it: bool
) -> None:
    record = {"pid": process.pid, "start_time": records.start_time(process.pid), "boot_id": records.boot_id()}
    descriptor = open_pidfd({**record, **change})
    assert (descriptor >= 0) == is_it
    if descriptor >= 0:
        os.close(descriptor)


@pytest.mark.parametrize("mode", ["pid_mode", "ipc_mode"])
async def test_a19_a_namespace_is_joined_of_the_one_that_was_meant(engine: NativeEngine, mode: str) -> None:
    """The number is looked up by the agent and opened by the supervisor: in between it may change hands."""
    first = config_of(engine, "first", "sleep", "1000", ipc_mode="shareable" if mode == "ipc_mode" else "")
    await run(engine, first)
    second = config_of(engine, "second", "true", **{mode: f"container:{first.id}"})
    await engine.create(second)
    entry = engine._index.get("test", first.id)
    pid, started = entry.process
    entry.process = (pid, started - 1)
    with pytest.raises(Temporary, match="that process has ended"):
        await engine.start(second.id)
    entry.process = (pid, started)
    await engine.start(second.id)
    assert (await ended(engine, second.id)).exit_code == 0
