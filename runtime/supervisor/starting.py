"""From a bundle to a running process: FIFOs, fork, the child's channel, the answer to the starter.

    make FIFOs -> launch (fork, gate) -> write state.json -> open the gate -> channel ends -> running

The gate closes a hole: a child that no record names cannot run its program, for it waits for "start",
and sees the end of the channel when the supervisor is killed before that.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import time

from runtime.errors import Invalid, SetpointError, Temporary
from runtime.supervisor import launch, records
from runtime.supervisor.container import Container
from runtime.supervisor.loop import READ
from runtime.supervisor.protocol import error_from_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.supervisor.server import Supervisor

MAX_CONFIG_BYTES = 8 << 20
_oom_score: int | None = None


def read_config(bundle: str) -> dict[str, Any]:
    """The bundle's OCI config. Invalid if there is none that can be read."""
    path = f"{bundle}/config.json"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            config = json.loads(os.read(fd, MAX_CONFIG_BYTES))
        finally:
            os.close(fd)
    except (OSError, ValueError) as error:
        raise Invalid("start", bundle, f"cannot read config.json: {error}") from error
    if not isinstance(config, dict):
        raise Invalid("start", bundle, "config.json is not an object")
    return config


def start(server: Supervisor, container: Container) -> None:
    """Fork the container's first process; `container.on_started` hears how it went. Raises what
    launch raises, with nothing left behind."""
    config = read_config(container.bundle)
    container.is_tty = bool(config.get("process", {}).get("terminal"))
    container.cgroup = str(config.get("linux", {}).get("cgroupsPath", ""))
    _keep_oom_score(config)
    stdio = _make_fifos(container)
    try:
        launched = launch.launch(
            launch.LaunchRequest(config=config, bundle=container.bundle, stdio=stdio, gate=True)
        )
    except BaseException:
        container.close()
        raise
    finally:
        for fd in set(stdio) - {-1}:
            os.close(fd)
    container.pid, container.pidfd = launched.pid, launched.pidfd
    container.is_child = True
    server.register(container)
    Channel(server, container, launched.channel).open_gate()


def _keep_oom_score(config: dict[str, Any]) -> None:
    """What protects the supervisor from an out-of-memory kill is not for the containers."""
    process = config.get("process")
    if isinstance(process, dict) and "oomScoreAdj" not in process and _own_oom_score() != 0:
        process["oomScoreAdj"] = 0


def _own_oom_score() -> int:
    global _oom_score  # set once, by `main`, before the first start
    if _oom_score is None:
        with open("/proc/self/oom_score_adj", "rb") as file:
            _oom_score = int(file.read())
    return _oom_score


def _make_fifos(container: Container) -> tuple[int, int, int]:
    try:
        return container.make_fifos()
    except OSError as error:
        container.close()
        reason = f"make FIFOs in {container.directory}: {os.strerror(error.errno or 0)}"
        if error.errno in (errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EDQUOT):
            raise Temporary("start", container.name, reason) from error
        raise SetpointError("start", container.name, reason) from error


class Channel:
    """The messages of a child on its way to its program."""

    def __init__(self, server: Supervisor, container: Container, channel: socket.socket) -> None:
        self._server = server
        self._container = container
        self._channel = channel
        self._error: Exception | None = None
        channel.setblocking(False)
        container.read_channel_to_end = self.read
        server.loop.watch(channel.fileno(), READ, lambda _events: self.read())

    def open_gate(self) -> None:
        """Let the child go on, now that a record names it."""
        container = self._container
        container.start_time = records.start_time(container.pid) or 0
        container.started_at = time.time()
        records.write(container.directory, records.STATE, container.to_record())
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it failed: its message says why
            self._channel.send(b"start", socket.MSG_NOSIGNAL)

    def read(self) -> None:
        """All messages that are there; the end of them means that the program runs, or that the child
        has failed."""
        container = self._container
        if container.is_running or self._channel.fileno() < 0:
            return
        while True:
            try:
                message = launch.receive(self._channel)
            except BlockingIOError:
                return
            except ConnectionResetError:
                continue  # it ended with "start" unread; what it said before is still there
            if message is None:
                break
            if "console" in message.body:
                container.set_console(message.descriptor)
            elif "error" in message.body:
                self._error = error_from_json(dict(message.body["error"]))
            elif "warning" in message.body:
                container.warnings.append(str(message.body["warning"]))
        self._end()

    def _end(self) -> None:
        self._server.loop.forget(self._channel.fileno())
        self._channel.close()
        container = self._container
        if self._error is None:
            container.is_running = True
            container.read_outputs()
        callbacks, container.on_started = container.on_started, []
        for callback in callbacks:
            callback(self._error)
        self._server.reexec_if_wanted()
