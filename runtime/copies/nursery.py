"""Where workers for copies come from: a process that has their program in memory, and forks one for each.

    Nursery.begin({"verb": …}, [descriptors]) ─ a socket in place of stdin ─> worker.main ─ fork ─> a worker
                                   a pidfd of it <─┘

The start of an interpreter would be most of a small copy. The process knows nothing of any container, begins
with the first copy, and ends a while after the latest: who copies nothing pays nothing. Called by
`container_copies`, in the event loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime import oom_score
from runtime.errors import SetpointError, Temporary
from runtime.fence import Fence
from runtime.supervisor import interpreter

IDLE_SECONDS = 300.0
_REPOSITORY = Path(__file__).resolve().parent.parent.parent
_COMMAND = (sys.executable, "-P", "-m", "runtime.copies.worker")


class Worker:
    """One that lives, or did. To be ended."""

    def __init__(self, pidfd: int) -> None:
        self._pidfd = pidfd

    def kill(self) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def end(self) -> None:
        """Kill it, and be back when it is gone."""
        self.kill()
        try:
            await _readable(self._pidfd)
        finally:
            os.close(self._pidfd)
            self._pidfd = -1


class Nursery:
    """For good: `close`. The workers end with the process that forked them, and are in its control groups."""

    def __init__(self, fence: Fence | None = None) -> None:
        self.fence = fence or Fence()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._lock = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._living = 0
        self._is_closed = False

    async def start(self, told: dict[str, Any], passed: Mapping[str, int]) -> tuple[int, Worker]:
        """A worker that has been told what to do, and where its lines come from. passed: descriptors that it
        is given, too, by name. To be ended by `end_of`."""
        reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            whole = {**passed, "lines": writing}
            return reading, await self.begin({**told, "descriptors": list(whole)}, list(whole.values()))
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)

    async def end_of(self, worker: Worker) -> None:
        await worker.end()
        self.left()

    async def begin(self, told: dict[str, Any], descriptors: Sequence[int]) -> Worker:
        """A worker that has been told what to do. `left` has to be called when it has ended."""
        async with self._lock:
            channel = self._send(told, descriptors)
            answer = asyncio.ensure_future(self._answer(channel, told["name"]))
            try:
                return await asyncio.shield(answer)
            except asyncio.CancelledError:
                with contextlib.suppress(
                    SetpointError
                ):  # the answer is waited for: the next one is another's
                    await (await answer).end()
                    self.left()
                raise

    def _send(self, told: dict[str, Any], descriptors: Sequence[int]) -> socket.socket:
        """At once: the caller closes the descriptors when it is given up."""
        self.prepare()
        if self._channel is None:
            raise Temporary("copy", told["name"], "given up: the agent stops", "ask again when it runs")
        with contextlib.suppress(BrokenPipeError):  # then there is no answer
            line = json.dumps(told).encode() + b"\n"
            sent = socket.send_fds(self._channel, [line], list(descriptors))
            self._channel.sendall(line[sent:])
        return self._channel

    async def _answer(self, channel: socket.socket, name: str) -> Worker:
        found: list[int] = []
        with contextlib.suppress(ConnectionError):
            await _readable(channel.fileno())
            _, found, _, _ = socket.recv_fds(channel, 1, 1)
        if not found:
            self.end()
            raise Temporary("copy", name, "its worker did not start", "do it again")
        self._living += 1
        return Worker(found[0])

    def left(self) -> None:
        """A worker has ended."""
        self._living -= 1
        self.prepare()

    def prepare(self) -> None:
        """Begin, unless it is there: a copy may follow. It stays for a while from now on."""
        if self._is_closed:
            return
        if self._process is None or self._process.poll() is not None:
            self.end()
            self._process, self._channel = _spawn(self.fence)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._on_idle)

    def _on_idle(self) -> None:
        if self._living:
            self.prepare()
        else:
            self.end()

    def close(self) -> None:
        self._is_closed = True
        self.end()
        self.fence.close()

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _spawn(fence: Fence) -> tuple[subprocess.Popen[bytes], socket.socket]:
    environment = {
        "PYTHONPATH": str(_REPOSITORY), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8",
        **interpreter.environment(), **fence.environment(),
    }  # fmt: skip
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with theirs:
        process = subprocess.Popen(_COMMAND, stdin=theirs.fileno(), env=environment)
    oom_score.unprotect(process.pid)
    return process, ours


async def _readable(descriptor: int) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
