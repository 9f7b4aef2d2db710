"""F5: what a container says of itself is read in measure."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from agent.api.things import MAX_COMMAND_BYTES, process_view


def test_f5_a_command_line_of_any_length_is_cut() -> None:
    process = subprocess.Popen(["sleep", *("0" * 100_000 for _ in range(8)), "1000"])
    try:
        while not Path(f"/proc/{process.pid}/cmdline").read_bytes():  # it executes the program still
            assert process.poll() is None
        found = process_view(process.pid)
        assert found is not None
        assert len(" ".join(found["command"])) <= MAX_COMMAND_BYTES
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
