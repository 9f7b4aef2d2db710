"""Where workers for copies come from: a process that has their program in memory, and forks one ahead.

    prepare ─ "." ─> worker.main ─ fork ─> a spare, which waits    its pidfd and its socket <─┘
    begin({"verb": …}, [descriptors]) ─ by the spare's socket ─> it works           "." for the next one

The start of an interpreter would be most of a small copy, and a fork is much of what is left. The process
knows nothing of any container, and a spare nothing until it is told; both begin with the first copy, and end
a while after the latest: who copies nothing pays nothing. A worker has one container, once. Called by
`container_copies` and `container_files`, in the event loop's thread.
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
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from runtime import oom_score
from runtime.errors import Temporary
from runtime.fence import Fence
from runtime.supervisor import interpreter

IDLE_SECONDS = 1800.0  # a cold start is a tenth of a second, and several on a busy host; it takes 12 MB
_NEXT_SECONDS = 0.02  # after which there is another, unless the worker has ended before: not in its way
SPARE, LOADS = b".", (b"c", b"C")  # one more; what commits need, and those with changes
_REPOSITORY = Path(__file__).resolve().parent.parent.parent
# Told where packages are: to look for them (`site`) would be an eighth of the start.
_PROGRAM = """import sys
sys.path[:] = {paths!r}
from runtime.copies.worker import main
sys.exit(main())
"""


class Worker:
    """One that lives, or did. To be ended, by `Nursery.ending`. gone: done when it is."""

    def __init__(self, pidfd: int) -> None:
        self.pidfd = pidfd
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def kill(self) -> None:
        if self.pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def close(self) -> None:
        os.close(self.pidfd)
        self.pidfd = -1


class _Spare(NamedTuple):
    """A worker that waits to be told. It ends when its socket does."""

    worker: Worker
    channel: socket.socket

    def tell(self, told: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        """BrokenPipeError when it has ended."""
        with self.channel:
            line = json.dumps(told).encode() + b"\n"
            sent = socket.send_fds(self.channel, [line], list(descriptors))
            if sent < len(line):  # else it may have all of it, and have closed its end
                self.channel.sendall(line[sent:])

    def close(self) -> None:
        self.channel.close()
        self.worker.kill()
        self.worker.close()


class Nursery:
    """For good: `close`. The workers end with the process that forked them, and are in its control groups."""

    def __init__(self, fence: Fence | None = None) -> None:
        self.fence = fence or Fence()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._spare: _Spare | None = None
        self._coming: asyncio.Future[None] | None = None  # the spare that was asked for
        self._loaded = b""  # what the process has been told to load
        self._lock = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._leaving: set[Worker] = set()
        self._living = 0
        self._is_closed = False

    async def start(self, told: dict[str, Any], passed: Mapping[str, int]) -> tuple[int, Worker]:
        """A worker that has been told what to do, and where its lines come from. passed: descriptors that it
        is given, too, by name. To be ended by `ending`."""
        reading, writing = os.pipe2(os.O_CLOEXEC)
        try:
            whole = {**passed, "lines": writing}
            return reading, await self.begin({**told, "descriptors": list(whole)}, list(whole.values()))
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)

    async def begin(self, told: dict[str, Any], descriptors: Sequence[int]) -> Worker:
        """A worker that has been told what to do, with descriptors that stay the caller's. A spare that has
        ended meanwhile is not the caller's fault: there is a second one."""
        loads = LOADS[bool(told.get("has_changes"))] if told["verb"] == "commit" else b""
        async with self._lock:
            for _ in range(2):
                spare = await self._take(loads)
                if spare is None:
                    continue
                try:
                    spare.tell(told, descriptors)
                except ConnectionError:
                    spare.close()
                    continue
                self._living += 1
                self._load(loads)
                asyncio.get_running_loop().call_later(_NEXT_SECONDS, self.prepare)
                return spare.worker
        raise Temporary("copy", told["name"], "its worker did not start", "do it again")

    async def _take(self, loads: bytes) -> _Spare | None:
        if self._is_closed:
            raise Temporary("copy", "", "given up: the agent stops", "ask again when it runs")
        if self._process is None:
            self._spawn()
            self._load(loads)
        self.prepare()
        if self._coming is not None:
            await asyncio.shield(self._coming)
        spare, self._spare = self._spare, None
        return spare

    @contextlib.asynccontextmanager
    async def ending(self, worker: Worker) -> AsyncIterator[None]:
        """It is ended with the block. One that has said its last line is not waited for; one that is given up
        does nothing more when this is left."""
        try:
            yield
        except BaseException:
            self._release(worker)
            await asyncio.shield(worker.gone)
            raise
        self._release(worker)

    def is_leaving(self, worker: object) -> bool:
        """Whether it is being ended, and is not gone yet."""
        return worker in self._leaving

    def _release(self, worker: Worker) -> None:
        worker.kill()
        self._leaving.add(worker)
        asyncio.get_running_loop().add_reader(worker.pidfd, self._on_gone, worker)

    def _on_gone(self, worker: Worker) -> None:
        asyncio.get_running_loop().remove_reader(worker.pidfd)
        self._leaving.discard(worker)
        worker.close()
        worker.gone.set_result(None)
        self._living -= 1
        self.prepare()

    def prepare(self) -> None:
        """Begin, unless it is there: a copy may follow. It stays for a while from now on."""
        if self._is_closed:
            return
        if self._process is None or self._process.poll() is not None:
            self._spawn()
        if self._spare is None and self._coming is None:
            self._coming = asyncio.get_running_loop().create_future()
            self._say(SPARE)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._on_idle)

    def _spawn(self) -> None:
        self.end()
        self._process, self._channel = _spawn(self.fence)
        asyncio.get_running_loop().add_reader(self._channel, self._on_spare)

    def _load(self, what: bytes) -> None:
        """For the workers that are yet to be forked."""
        if what and what not in self._loaded:
            self._loaded += what
            self._say(what)

    def _say(self, word: bytes) -> None:
        if self._channel is not None:
            with contextlib.suppress(ConnectionError):  # then there is no answer: `_on_spare`
                self._channel.send(word)

    def _on_spare(self) -> None:
        assert self._channel is not None
        found: list[int] = []
        with contextlib.suppress(ConnectionError):
            _, found, _, _ = socket.recv_fds(self._channel, 1, 2)
        if len(found) != 2:
            self.end()
            return
        self._spare = _Spare(Worker(found[0]), socket.socket(fileno=found[1]))
        self._arrived()

    def _arrived(self) -> None:
        if self._coming is not None:
            self._coming.set_result(None)
            self._coming = None

    def _on_idle(self) -> None:
        if self._living:
            self.prepare()
        else:
            self.end()

    def close(self) -> None:
        self._is_closed = True
        self.end()  # and with the process all workers
        for worker in tuple(self._leaving):
            self._on_gone(worker)
        self.fence.close()

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._channel is not None:
            asyncio.get_running_loop().remove_reader(self._channel)
            self._channel.close()
            self._channel = None
        if self._spare is not None:
            self._spare.close()
            self._spare = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._loaded = b""
        self._arrived()


def _spawn(fence: Fence) -> tuple[subprocess.Popen[bytes], socket.socket]:
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8",
        **interpreter.environment(), **fence.environment(),
    }  # fmt: skip
    program = _PROGRAM.format(paths=[str(_REPOSITORY), *filter(None, sys.path)])
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with theirs:
        process = subprocess.Popen(
            (sys.executable, "-I", "-S", "-c", program), stdin=theirs.fileno(), env=environment
        )
    oom_score.unprotect(process.pid)
    return process, ours
