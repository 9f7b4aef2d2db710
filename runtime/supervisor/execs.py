"""Further processes in running containers. Their stdio is the client's own descriptors (or a pty whose
master the client gets), so the supervisor only forks, watches and tells how they ended.

The client that asked hears {"event": "exec_exit", "exec": <pid>, "exit_code": N, "timed_out": false}.
A process that outlives its time, or (when asked) its client, is killed with its session.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

from runtime.errors import Conflict
from runtime.supervisor import launch, starting
from runtime.supervisor.exec_plan import plan_exec, with_command
from runtime.supervisor.loop import READ, Timer
from runtime.supervisor.protocol import error_from_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

    from runtime.supervisor.container import Container
    from runtime.supervisor.exec_plan import ExecPlan
    from runtime.supervisor.protocol import Message
    from runtime.supervisor.server import Connection, Reply, Supervisor

_PLAIN = frozenset(("args", "terminal"))


class Exec:
    """One process, from its fork to its end."""

    def __init__(self, server: Supervisor, connection: Connection | None, pid: int, pidfd: int) -> None:
        self.server = server
        self.connection = connection
        self.pid = pid
        self.pidfd = pidfd
        self.is_running = False
        self.timed_out = False
        self.dies_with_client = False
        self.timer: Timer | None = None
        self.reply: Reply | None = None
        self._channel: socket.socket | None = None
        self._console = -1
        self._error: Exception | None = None
        self._ends_at = 0.0

    def read_channel(self, channel: socket.socket) -> None:
        """Follow the child on its way to its program."""
        channel.setblocking(False)
        self._channel = channel
        self.server.loop.watch(channel.fileno(), READ, lambda _events: self.read_channel_to_end())

    def read_channel_to_end(self) -> None:
        """The child's messages; at their end the program runs, or has failed."""
        channel = self._channel
        if channel is None:
            return
        while True:
            try:
                message = launch.receive(channel)
            except BlockingIOError:
                return
            if message is None:
                break
            if "console" in message.body:
                self._console = message.descriptor
            elif "error" in message.body:
                self._error = error_from_json(dict(message.body["error"]))
        self._channel = None
        self._answer()  # first of all: it is waited for
        self.server.loop.forget(channel.fileno())
        channel.close()
        self.server.reexec_if_wanted()

    def _answer(self) -> None:
        self.is_running = True
        reply, self.reply = self.reply, None
        fds = (self._console,) if self._console >= 0 else ()
        if reply is not None:
            if self._error is not None:
                reply.error(self._error)
            else:
                reply.result({"exec": self.pid, "pid": self.pid}, fds)
        for fd in fds:
            os.close(fd)

    def limit_time(self, seconds: float) -> None:
        """Kill it when it still runs after so many seconds."""
        self._ends_at = time.monotonic() + seconds
        self.timer = self.server.loop.call_later(seconds, self._on_timeout)

    def seconds_left(self) -> float | None:
        return max(0.0, self._ends_at - time.monotonic()) if self.timer is not None else None

    def leave(self) -> None:
        """Its client is gone."""
        self.connection = None
        if self.dies_with_client:
            self.kill(signal.SIGKILL)

    def _on_timeout(self) -> None:
        self.timed_out = True
        self.kill(signal.SIGKILL)

    def kill(self, number: int) -> None:
        """The process, and with SIGKILL the session it leads, which its children are in by default."""
        if number == signal.SIGKILL:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def finish(self, code: int) -> None:
        """It has ended, and is there to be reaped still. Its client hears of it first of all."""
        if self.connection is not None and self._error is None:
            event = {
                "event": "exec_exit", "exec": self.pid, "exit_code": code, "timed_out": self.timed_out,
            }  # fmt: skip
            self.server.send(self.connection, event)
        if self.timer is not None:
            self.timer.cancel()
        os.close(self.pidfd)


def start(server: Supervisor, container: Container, message: Message, fds: list[int], reply: Reply) -> None:
    """Fork; the reply comes when the program runs. Without three descriptors (and without a terminal)
    stdio is /dev/null. Raises what launch_exec raises."""
    if not container.is_running:
        raise Conflict("exec", container.name, "the container is still starting")
    plan = _plan(container, message["process"])
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC) if len(fds) != 3 else -1
    try:
        stdio = (fds[0], fds[1], fds[2]) if null < 0 else (null, null, null)
        launched = launch.launch_exec(launch.ExecRequest(container.pid, container.pidfd, plan, stdio))
    finally:
        if null >= 0:
            os.close(null)
    running = Exec(server, reply.connection, launched.pid, launched.pidfd)
    running.reply = reply
    running.read_channel(launched.channel)
    running.dies_with_client = bool(message.get("dies_with_client"))
    server.execs[running.pid] = running
    if seconds := float(message.get("timeout_seconds") or 0):
        running.limit_time(seconds)


def _plan(container: Container, wanted: Message) -> ExecPlan:
    """Of a process that is the container's own but for what is wanted. Kept while the config is the same one,
    for those that want another command alone: see `exec_plan`."""
    signature = starting.config_signature(container.directory)
    is_plain = wanted.keys() <= _PLAIN and not wanted.get("terminal")
    if is_plain and container.exec_plan is not None and container.exec_plan[0] == signature:
        return with_command(container.exec_plan[1], wanted["args"])
    config = starting.read_config(container.directory)
    process = {**config.get("process", {}), **wanted}
    if not process.get("terminal"):
        process.pop("consoleSize", None)
    plan = plan_exec(config, process)
    if is_plain:
        container.exec_plan = (signature, plan)
    return plan
