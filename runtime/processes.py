"""Processes that the engine starts in running containers: for probes, with captured output, and for
people, with pipes or a terminal. Used by `engine`; the supervisor forks them and tells how they end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from runtime.errors import Temporary
from runtime.model import ExecResult
from runtime.signals import parse_signal
from runtime.supervisor.client import Client
from runtime.supervisor.terminal import resize

if TYPE_CHECKING:
    from runtime.supervisor.client import Result
    from runtime.supervisor.protocol import Message

_LATE_SECONDS = 5.0  # after the time is over, for the kill to have its effect
_READ_BYTES = 65536


class Process:
    """A process that runs in a container. With a terminal stdin and stdout are the pty's master and
    stderr is -1; without, each is a pipe's end of ours, stdin -1 when none was asked for."""

    def __init__(self, client: Client, begun: Message, stdin: int, stdout: int, stderr: int) -> None:
        self.pid: int = begun["exec"]
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self._client = client
        self._exit: asyncio.Future[Message] = begun["exit"]

    async def wait(self) -> int:
        """Its exit code. Temporary when the supervisor went away meanwhile."""
        return int((await asyncio.shield(self._exit))["exit_code"])

    def when_ended(self, tell: Callable[[int | None], None]) -> None:
        """Without a task. Told its exit code; None when the supervisor went away meanwhile."""
        self._exit.add_done_callback(lambda exit: tell(_code_of(exit)))

    async def signal(self, name: str) -> None:
        await self._client.call("signal", exec=self.pid, signal=parse_signal(name))

    async def resize(self, rows: int, columns: int) -> None:
        """Nothing without a terminal."""
        if self.stderr < 0:
            with contextlib.suppress(OSError):
                resize(self.stdout, rows, columns)

    def close_stdin(self) -> None:
        """The process sees the end of its input. A terminal stays open."""
        if self.stdin >= 0 and self.stdin != self.stdout:
            os.close(self.stdin)
            self.stdin = -1

    def close(self) -> None:
        """Free the descriptors; kill the process if it still runs."""
        if not self._exit.done():
            with contextlib.suppress(Temporary):
                answer = self._client.send("signal", exec=self.pid, signal=9)
                answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.release()

    def release(self) -> None:
        """Free the descriptors; the process runs on."""
        self._exit.add_done_callback(lambda done: done.cancelled() or done.exception())
        for fd in {self.stdin, self.stdout, self.stderr} - {-1}:
            os.close(fd)
        self.stdin = self.stdout = self.stderr = -1


async def start_process(
    client: Client, id: str, process: dict[str, Any], *, terminal: bool, stdin: bool, output: bool = True
) -> Process:
    """Start and return as soon as the program runs. Raises why it cannot. Without output (and without a
    terminal) it has /dev/null for all three."""
    if terminal:
        result, fds = await client.call_fds("exec", name=id, process=process)
        return Process(client, result, fds[0], fds[0], -1)
    if not output:
        result = await client.call("exec", name=id, process=process)
        return Process(client, result, -1, -1, -1)
    ours: list[int] = []
    try:
        result, _fds = await _ask_with_pipes(client, id, process, ours, stdin=stdin)
    except BaseException:
        for fd in set(ours) - {-1}:
            os.close(fd)
        raise
    return Process(client, result, *ours)


def _ask_with_pipes(
    client: Client, id: str, process: dict[str, Any], ours: list[int], *, stdin: bool
) -> asyncio.Future[Result]:
    """Have it started on pipes. ours: takes our ends; the others are the supervisor's once it is asked."""
    theirs: list[int] = []
    try:
        if stdin:
            reader, writer = os.pipe2(os.O_CLOEXEC)
            theirs.append(reader)
            ours.append(writer)
        else:
            theirs.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
            ours.append(-1)
        for _ in ("stdout", "stderr"):
            reader, writer = os.pipe2(os.O_CLOEXEC)
            theirs.append(writer)
            ours.append(reader)
        return client.send("exec", name=id, process=process, fds=tuple(theirs))
    finally:
        for fd in theirs:
            os.close(fd)


def _code_of(exit: asyncio.Future[Message]) -> int | None:
    return None if exit.cancelled() or exit.exception() else int(exit.result()["exit_code"])


class _Capture:
    """The first `limit` bytes that come through a pipe; the rest is read and thrown away."""

    def __init__(self, fd: int, limit: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._limit = limit
        self._data = bytearray()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(fd, self.read)

    def read(self) -> bool:
        """One look. False: nothing more is there."""
        try:
            data = os.read(self._fd, _READ_BYTES)
        except OSError:
            return False
        if not data:
            self._loop.remove_reader(self._fd)
            return False
        self._data += data[: max(0, self._limit - len(self._data))]
        return True

    def finish(self) -> bytes:
        """What came until now. A child that keeps the pipe open is not waited for."""
        for _ in range(64):
            if not self.read():
                break
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        return bytes(self._data)


async def run_captured(
    client: Client, id: str, process: dict[str, Any], timeout_seconds: float, max_output_bytes: int
) -> ExecResult:
    """Run to the end, or to the timeout: then it is killed with its session."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    capture = _Capture(reader, max_output_bytes)
    try:
        answer = client.send(
            "exec", name=id, process=process, timeout_seconds=timeout_seconds, dies_with_client=True,
            fds=(null, writer, writer),
        )  # fmt: skip
    finally:
        os.close(null)
        os.close(writer)
    try:
        result, _fds = await answer
        async with asyncio.timeout(timeout_seconds + _LATE_SECONDS if timeout_seconds else None):
            ended = await result["exit"]
    except TimeoutError:
        raise Temporary("exec", id, "its process cannot be killed", "it waits in the kernel") from None
    finally:
        output = capture.finish()
    return ExecResult(int(ended["exit_code"]), output, bool(ended["timed_out"]))


def process_of(
    argv: Sequence[str], user: str, working_dir: str, environment: Sequence[str], inherited: Sequence[str]
) -> dict[str, Any]:
    """What differs from the container's own process, as OCI has it. "NAME" without a value takes it away."""
    process: dict[str, Any] = {"args": list(argv), "terminal": False}
    if environment:
        names = {entry.partition("=")[0] for entry in environment}
        kept = [entry for entry in inherited if entry.partition("=")[0] not in names]
        process["env"] = [*kept, *(entry for entry in environment if "=" in entry)]
    if user:
        process["user"] = {"uid": 0, "gid": 0, "username": user}
    if working_dir:
        process["cwd"] = working_dir
    return process
