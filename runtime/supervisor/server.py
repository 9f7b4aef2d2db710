"""The supervisor: parent of every container of one instance. It starts, watches and writes down, and
decides nothing: no restarts, no policy.

Single-threaded. No request waits for another: a start answers when its child has executed its program
or failed, and any number are on their way. `operations` holds what the requests do.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import struct
import sys
import time

from runtime.errors import SetpointError
from runtime.supervisor import adoption, records, report, starting
from runtime.supervisor.container import Container
from runtime.supervisor.loop import READ, WRITE, Loop
from runtime.supervisor.protocol import Closed, Wire, error_to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runtime.supervisor.execs import Exec
    from runtime.supervisor.protocol import Message
    from runtime.supervisor.starting import Pending

MAX_CONNECTIONS = 64
ACCEPT_AGAIN_SECONDS = 0.5
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class Connection:
    """One client, and which of its wishes outlive a request."""

    def __init__(self, sock: socket.socket) -> None:
        self.wire = Wire(sock)
        self.is_subscribed = False
        self.is_open = True


class Reply:
    """How one request is answered, now or later."""

    __slots__ = ("_connection", "_server", "id", "op", "subject")

    def __init__(self, server: Supervisor, connection: Connection, message: Message) -> None:
        self._server = server
        self._connection = connection
        self.id = message.get("id", 0)
        self.op = str(message.get("op", ""))
        self.subject = str(message.get("label") or message.get("name", ""))[:80]

    @property
    def connection(self) -> Connection:
        return self._connection

    def result(self, result: Message, fds: tuple[int, ...] = ()) -> None:
        self._server.send(self._connection, {"id": self.id, "result": result}, fds)

    def error(self, error: BaseException, fds: tuple[int, ...] = ()) -> None:
        body = error_to_json(error, self.op, self.subject)
        self._server.send(self._connection, {"id": self.id, "error": body}, fds)


class Supervisor:
    """State of the one process; `run_directory` is layout.run_containers."""

    def __init__(self, loop: Loop, run_directory: str) -> None:
        self.loop = loop
        self.run_directory = run_directory
        self.started_at = self.executed_at = time.time()
        self.containers: dict[str, Container] = {}
        self.pending: list[Pending] = []
        self.prepared: dict[str, Pending] = {}
        self.execs: dict[int, Exec] = {}
        self.tools: dict[int, Callable[[int], None]] = {}  # programs of the host, and who hears of their ends
        self.by_pid: dict[int, Container] = {}
        self.early_attachments: dict[str, list[Any]] = {}
        self.connections: dict[int, Connection] = {}
        self.listener: socket.socket | None = None
        self.operations: dict[str, Callable[[Supervisor, Message, list[int], Reply], None]] = {}
        self.reexecute: Callable[[], None] = lambda: None
        self.is_outdated: Callable[[], bool] = lambda: False
        self.wants_reexec = False

    # --- connections

    def listen(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self.listener = listener
        self.loop.watch(listener.fileno(), READ, lambda _events: self._accept(listener))

    def stop_listening(self) -> None:
        """Clients that are connected stay."""
        if self.listener is not None:
            self.loop.forget(self.listener.fileno())
            self.listener.close()
            self.listener = None

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in report.PASSING:
                raise
            self._accept_later(listener)
            return
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        _, uid, _ = struct.unpack("=iII", credentials)
        if uid != os.geteuid() or len(self.connections) >= MAX_CONNECTIONS:
            sock.close()
            return
        self.add_connection(Connection(sock))

    def _accept_later(self, listener: socket.socket) -> None:
        """Without descriptors who asks waits, and is not asked about over and over meanwhile."""
        self.loop.forget(listener.fileno())

        def listen_again() -> None:
            if self.listener is listener:
                self.listen(listener)

        self.loop.call_later(ACCEPT_AGAIN_SECONDS, listen_again)

    def add_connection(self, connection: Connection) -> None:
        fd = connection.wire.sock.fileno()
        self.connections[fd] = connection
        self.loop.watch(fd, READ, lambda events: self._on_ready(connection, events))

    def _on_ready(self, connection: Connection, events: int) -> None:
        try:
            if events & WRITE and connection.wire.flush():
                self.loop.modify(connection.wire.sock.fileno(), READ)
            if events & ~WRITE:
                for message, fds in connection.wire.receive():
                    self._dispatch(connection, message, fds)
        except Closed:
            self.close_connection(connection)

    def resume_connection(self, connection: Connection) -> None:
        """After a re-execution: send what waited, and do what was asked but not yet done."""
        try:
            if not connection.wire.flush():
                self.loop.modify(connection.wire.sock.fileno(), READ | WRITE)
            for message, fds in connection.wire.waiting():
                self._dispatch(connection, message, fds)
        except Closed:
            self.close_connection(connection)

    def close_connection(self, connection: Connection) -> None:
        if not connection.is_open:
            return
        connection.is_open = False
        fd = connection.wire.sock.fileno()
        self.connections.pop(fd, None)
        self.loop.forget(fd)
        connection.wire.close()
        for running in list(self.execs.values()):
            if running.connection is connection:
                running.leave()
        for pending in list(self.prepared.values()):
            if pending.holder is connection:
                starting.give_up(self, pending)

    def send(self, connection: Connection, message: Message, fds: tuple[int, ...] = ()) -> None:
        """To one client; one that is gone or does not read is let go."""
        if not connection.is_open:
            return
        try:
            if not connection.wire.send(message, fds):
                self.loop.modify(connection.wire.sock.fileno(), READ | WRITE)
        except Closed:
            self.close_connection(connection)

    def publish(self, event: Message) -> None:
        for connection in list(self.connections.values()):
            if connection.is_subscribed:
                self.send(connection, event)

    def _dispatch(self, connection: Connection, message: Message, fds: list[int]) -> None:
        """Descriptors that an operation keeps it takes out of fds; the others are closed here."""
        reply = Reply(self, connection, message)
        try:
            operation = self.operations.get(reply.op)
            if operation is None:
                reply.error(ValueError("no such operation"))
                return
            operation(self, message, fds, reply)
        except Exception as error:  # whatever it is: who gets no answer waits for ever
            if not isinstance(error, (SetpointError, OSError, ValueError, KeyError, TypeError)):
                sys.excepthook(type(error), error, error.__traceback__)
            reply.error(error)
        finally:
            for fd in fds:
                os.close(fd)

    # --- children

    def register(self, container: Container) -> None:
        """From here on its end is noticed."""
        self.containers[container.name] = container
        self.by_pid[container.pid] = container
        event = {"event": "stdin_closed", "name": container.name}
        container.on_stdin_closed = lambda: self.publish(event)

    def reap(self) -> None:
        """After SIGCHLD: every child that ended. Signals merge, so look until there is none."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                self._tell_stopped()
                return
            self._reap_one(found.si_pid, _code_of(found))

    def _tell_stopped(self) -> None:
        """Of containers whose first process was stopped by a signal: somebody may want it to go on."""
        with contextlib.suppress(ChildProcessError):
            while found := os.waitid(os.P_ALL, 0, os.WSTOPPED | os.WNOHANG):
                container = self.by_pid.get(found.si_pid)
                if container is not None:
                    self.publish({"event": "stopped", "name": container.name})

    def _reap_one(self, pid: int, code: int) -> None:
        container = self.by_pid.get(pid)
        running_exec = self.execs.get(pid)
        tool = self.tools.pop(pid, None)
        if container is not None and not container.is_running:
            container.read_channel_to_end()  # it says whether the program ever ran
        elif running_exec is not None:
            running_exec.read_channel_to_end()
        if running_exec is not None:
            del self.execs[pid]
            running_exec.finish(code)
        if container is not None:
            self.finish(container, code, pid)
        else:
            os.waitpid(pid, 0)
        if tool is not None:
            tool(code)
        self.reexec_if_wanted()

    def watch_adopted(self, container: Container) -> None:
        """A container that is not our child: its pidfd tells when it ends."""

        def on_exit(_events: int) -> None:
            adoption.find_exit_code(self.loop, container, lambda code: self.finish(container, code))

        self.loop.watch(container.pidfd, READ, on_exit)

    def finish(self, container: Container, code: int | None, zombie: int = 0) -> None:
        """The container's process is gone: write the record, tell everybody, forget it. zombie: to be
        reaped, once it is written down how it ended: nobody can ask the kernel after that."""
        self.by_pid.pop(container.pid, None)
        self.containers.pop(container.name, None)
        if not container.is_running:  # it never ran: the starter was told why
            container.close()
            records.remove(container.directory, records.STATE)
            _reap(zombie)
            return
        record = self._exit_record(container, code)
        container.close()
        self._write_exit(container, record)
        _reap(zombie)
        for reply in container.waiting:
            reply.result(record)
        self.publish({"event": "exit", **record})

    def _exit_record(self, container: Container, code: int | None) -> Message:
        now = time.clock_gettime(time.CLOCK_BOOTTIME)  # the wall clock may have been set meanwhile
        return {
            "name": container.name,
            "pid": container.pid,
            "start_time": container.start_time,
            "exit_code": code,
            "oom_killed": code not in (0, None) and container.was_oom_killed(),
            "started_at": container.started_at,
            "finished_at": time.time(),
            "finished_boot_seconds": now,
            "ran_seconds": max(0.0, now - container.start_time / _TICKS_PER_SECOND),
            "boot_id": records.boot_id(),
        }

    def _write_exit(self, container: Container, record: Message) -> None:
        """On disk, else (a full or read-only disk) in the run directory."""
        for directory in (container.bundle, container.directory):
            try:
                records.write(directory, records.EXIT, record)
                break
            except OSError:
                continue
        records.remove(container.directory, records.STATE)

    # --- upgrade

    def reexec_if_wanted(self) -> None:
        """Once no child is between its fork and its program: what its channel says cannot be carried. Nor who
        waits for a tool's end."""
        if not self.wants_reexec or self.tools:
            return
        if all(container.is_running for container in self.containers.values()) and all(
            running.is_running for running in self.execs.values()
        ):
            self.reexecute()


def _code_of(found: os.waitid_result) -> int:
    """How a child ended, as shells have it: 128 and the signal's number when a signal ended it."""
    return found.si_status if found.si_code == os.CLD_EXITED else 128 + found.si_status


def _reap(zombie: int) -> None:
    if zombie:
        os.waitpid(zombie, 0)


def send_signal(pidfd: int, number: int) -> bool:
    """False when the process is gone."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except OSError as error:
        if error.errno == errno.ESRCH:
            return False
        raise
    return True
