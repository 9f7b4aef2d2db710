"""A19: a process that has the number of one that is gone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from runtime.supervisor import records
from runtime.supervisor.adoption import open_pidfd


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
