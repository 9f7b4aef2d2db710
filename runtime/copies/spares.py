"""Workers for copies, one of them begun before it is needed: half of the time of a small copy is the start of
an interpreter.

    Spares.prepare()
    Spares.begin({"verb": …}, [descriptors]) ─ a socket in place of stdin ─> worker.main

A spare waits for a while after the latest copy, and then is ended: who copies nothing pays nothing. It knows
nothing of any container yet, and serves one copy alone. Called by `container_copies`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtime import oom_score
from runtime.supervisor import interpreter

SPARE_SECONDS = 30.0
_REPOSITORY = Path(__file__).resolve().parent.parent.parent
_COMMAND = (sys.executable, "-P", "-m", "runtime.copies.worker")
Process = subprocess.Popen[bytes]


class Spares:
    """For the event loop's thread: the workers live as long as it does."""

    def __init__(self) -> None:
        self._spare: tuple[Process, socket.socket] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    def begin(self, told: dict[str, Any], descriptors: Sequence[int]) -> Process:
        """A worker that has been told what to do. The caller ends and reaps it."""
        spare, self._spare = self._spare, None
        if spare is not None and spare[0].poll() is not None:
            spare[1].close()
            spare = None
        process, channel = spare or _spawn()
        with channel, contextlib.suppress(BrokenPipeError):  # who reads its lines sees that it has ended
            line = json.dumps(told).encode() + b"\n"
            sent = socket.send_fds(channel, [line], list(descriptors))
            channel.sendall(line[sent:])
        return process

    def prepare(self) -> None:
        """Begin the next one, if there is none: a copy may follow. It is kept for a while from now on."""
        if self._is_closed:
            return
        if self._spare is None:
            self._spare = _spawn()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(SPARE_SECONDS, self.end)

    def close(self) -> None:
        """For good."""
        self._is_closed = True
        self.end()

    def end(self) -> None:
        """Of the spare."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._spare is not None:
            (process, channel), self._spare = self._spare, None
            channel.close()
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def _spawn() -> tuple[Process, socket.socket]:
    environment = {
        "PYTHONPATH": str(_REPOSITORY), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8",
        **interpreter.environment(),
    }  # fmt: skip
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with theirs:
        process = subprocess.Popen(
            _COMMAND, stdin=theirs.fileno(), stdout=subprocess.PIPE, env=environment, bufsize=0
        )
    oom_score.unprotect(process.pid)
    return process, ours
