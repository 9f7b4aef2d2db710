"""From a bundle to a running process: FIFOs, fork, the child's channel, the answer to the starter.

    make FIFOs -> build -> (its client's `go`) -> fork (waits at its gate) -> write .state.json.new
                        -> open the gate -> rename it to state.json -> channel ends: running

The gate closes a hole: a child that no record names cannot run its program, for it waits for "start",
and sees the end of the channel when the supervisor is killed before that. state.json says that it was told.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time

from runtime.errors import Invalid, SetpointError, Temporary
from runtime.supervisor import launch, records, report
from runtime.supervisor.container import Container
from runtime.supervisor.loop import READ
from runtime.supervisor.protocol import error_from_json
from runtime.typed import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.supervisor.server import Connection, Supervisor

MAX_CONFIG_BYTES = 8 << 20
EXECUTE_SECONDS = 60.0  # from the fork to its program: after the root is built, it has one file to open
MAX_TOGETHER = 16  # built and not yet forked: some ten descriptors each, and a wait for the first of them


def config_signature(directory: str) -> tuple[int, ...]:
    """What is another one after each change of the config, which is replaced as a whole. Raises as
    `read_config` does."""
    path = f"{directory}/config.json"
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError as error:
        raise report.failure("read", path, error) from error
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def read_config(directory: str) -> dict[str, Any]:
    """The OCI config in a container's run directory. Invalid if there is none that makes sense; Temporary
    while this host cannot read it."""
    path = f"{directory}/config.json"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            # As much room as it needs: for MAX_CONFIG_BYTES the kernel is asked, and asked to take it back.
            config = json.loads(os.read(fd, min(os.fstat(fd).st_size, MAX_CONFIG_BYTES)))
        finally:
            os.close(fd)
    except OSError as error:
        raise report.failure("read", path, error) from error
    except ValueError as error:
        raise Invalid("start", directory, f"cannot read config.json: {error}") from error
    if not isinstance(config, dict):
        raise Invalid("start", directory, "config.json is not an object")
    return config


class Pending(NamedTuple):
    """A container that is built and waits for its fork. holder: who has to say `go` before that."""

    container: Container
    prepared: launch.Prepared
    stdio: tuple[int, int, int]
    holder: Connection | None


def start(server: Supervisor, container: Container, holder: Connection | None = None) -> None:
    """Build the container, and fork it at the end of a round of the loop, with a holder once that says so;
    `container.on_started` hears how it went. Raises what launch.build raises, with nothing left behind.

    Those that are asked for together are built one after the other and then forked one after the other:
    see launch.build.
    """
    if len(server.pending) >= MAX_TOGETHER:
        fork_pending(server)
    config = read_config(container.directory)
    container.is_tty = bool(config.get("process", {}).get("terminal"))
    container.cgroup = str(config.get("linux", {}).get("cgroupsPath", ""))
    stdio = make_fifos(container)
    try:
        request = launch.LaunchRequest(
            config=config, bundle=container.bundle, stdio=stdio, gate=True, says_ready=False
        )
        prepared = launch.build(request)
        if container.wants_root and prepared.built is not None:
            container.keep_root(prepared.built.root)
    except BaseException:
        container.close()
        close(stdio)
        raise
    server.containers[container.name] = container
    pending = Pending(container, prepared, stdio, holder)
    if holder is None:
        fork_soon(server, pending)
    else:
        server.prepared[container.name] = pending


def fork_soon(server: Supervisor, pending: Pending) -> None:
    """At the end of a round of the loop that brings no more."""
    if not server.pending:
        server.loop.call_later(0.0, lambda: _fork_unless_more(server, 1))
    server.pending.append(pending)


def give_up(server: Supervisor, pending: Pending) -> None:
    """What was prepared is not to run. All that there is of it are descriptors, and a control group."""
    container = pending.container
    server.prepared.pop(container.name, None)
    server.containers.pop(container.name, None)
    reason = "who asked for it has not made its network"
    container.tell_started(Temporary("start", container.name, reason, "it is tried again"))
    pending.prepared.close()
    close(pending.stdio)
    container.close()
    server.reexec_if_wanted()


def _fork_unless_more(server: Supervisor, before: int) -> None:
    """Fork, unless more was built in this round of the loop: then the next may bring more still. before: as
    many were there at its beginning."""
    count = len(server.pending)
    if before < count < MAX_TOGETHER:
        server.loop.call_later(0.0, lambda: _fork_unless_more(server, count))
    elif count:
        fork_pending(server)


def fork_pending(server: Supervisor) -> None:
    """The processes of all that was built, and then their gates: one kind of work at a time, for the
    pages that it touches."""
    pending, server.pending = server.pending, []
    outcomes = launch.fork_all([each.prepared for each in pending])
    channels = [_begin(server, *each) for each in zip(pending, outcomes, strict=True)]
    for channel in channels:
        if channel is not None:
            channel.open_gate()
    server.reexec_if_wanted()


def _begin(server: Supervisor, pending: Pending, outcome: launch.Launched | Exception) -> Channel | None:
    container = pending.container
    close(pending.stdio)
    if isinstance(outcome, Exception):
        tell_bug(outcome)
        server.containers.pop(container.name, None)
        container.close()
        container.tell_started(outcome)
        return None
    container.pid, container.pidfd = outcome.pid, outcome.pidfd
    container.is_child = True
    server.register(container)
    return Channel(server, container, outcome.channel, pending.prepared)


def tell_bug(error: Exception) -> None:
    """Its traceback for whoever mends it; the starter gets an answer all the same."""
    if not isinstance(error, (SetpointError, OSError)):
        sys.excepthook(type(error), error, error.__traceback__)


def close(stdio: tuple[int, int, int]) -> None:
    """The supervisor's copies of what the child has."""
    for fd in set(stdio) - {-1}:
        os.close(fd)


def make_fifos(container: Container) -> tuple[int, int, int]:
    """The container's ends of its stdio. Temporary, SetpointError; then the container is closed."""
    try:
        return container.make_fifos()
    except OSError as error:
        container.close()
        reason = f"make FIFOs in {container.directory}: {os.strerror(error.errno or 0)}"
        if error.errno in report.PASSING:
            raise Temporary("start", container.name, reason) from error
        raise SetpointError("start", container.name, reason) from error


class Channel:
    """The messages of a child on its way to its program. built: what it was made of, which is freed when the
    child has let go of the memory that it shares with this process: before, each page of it would be copied.
    """

    def __init__(
        self, server: Supervisor, container: Container, channel: socket.socket, built: launch.Prepared
    ) -> None:
        self._built: launch.Prepared | None = built
        self._server = server
        self._container = container
        self._channel = channel
        self._error: Exception | None = None
        self._deadline = server.loop.call_later(EXECUTE_SECONDS, self._on_deadline)
        channel.setblocking(False)
        container.read_channel_to_end = lambda: self.read(is_last=True)
        server.loop.watch(channel.fileno(), READ, lambda _events: self.read())

    def open_gate(self) -> None:
        """Let the child go on, now that a record names it. It is the container's only once the child was
        told: see `adoption.has_begun`."""
        try:
            self._open_gate()
        except Exception as error:
            self._give_up(error)

    def _open_gate(self) -> None:
        container = self._container
        container.start_time = records.start_time(container.pid) or 0
        container.started_at = time.time()
        try:
            records.prepare(container.directory, records.STATE, container.to_record())
        except OSError as error:  # a full run directory: what nobody could adopt is not begun
            reason = f"write its record in {container.directory}: {os.strerror(error.errno or 0)}"
            self._error = Temporary("start", container.name, reason, "make room in the run directory")
            self._channel.shutdown(socket.SHUT_WR)
            return
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it failed: its message says why
            self._channel.send(b"start", socket.MSG_NOSIGNAL)
        records.publish(container.directory, records.STATE)

    def _on_deadline(self) -> None:
        reason = f"its program was not executed within {EXECUTE_SECONDS:.0f} s"
        hint = "it is tried again; does the file system of its program answer?"
        self._give_up(Temporary("start", self._container.name, reason, hint))

    def _give_up(self, error: Exception) -> None:
        """End a child that nobody will call a container, and say why."""
        tell_bug(error)
        self._error = error
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self._container.pidfd, signal.SIGKILL)
        self._end()

    def read(self, is_last: bool = False) -> None:
        """All messages that are there; the end of them means that the program runs, or that the child
        has failed. is_last: the child has ended, and only another's copy keeps its channel open."""
        if self._container.is_running or self._channel.fileno() < 0:
            return
        try:
            is_over = self._take_messages() or is_last
        except Exception as error:
            self._give_up(error)
            return
        if is_over:
            self._end()

    def _take_messages(self) -> bool:
        """Whether there will be no more."""
        container = self._container
        while True:
            try:
                message = launch.receive(self._channel)
            except BlockingIOError:
                return False
            except ConnectionResetError:
                continue  # it ended with "start" unread; what it said before is still there
            if message is None:
                return True
            if "console" in message.body:
                container.set_console(message.descriptor)
            elif "error" in message.body:
                self._error = error_from_json(dict(message.body["error"]))
            elif "warning" in message.body:
                container.warnings.append(str(message.body["warning"]))

    def _end(self) -> None:
        container = self._container
        container.is_running = self._error is None
        container.tell_started(self._error)  # first of all: it is waited for
        self._deadline.cancel()
        self._server.loop.forget(self._channel.fileno())
        self._channel.close()
        self._built = None
        if self._error is None:
            container.begin()
        self._server.reexec_if_wanted()
