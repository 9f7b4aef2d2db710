"""Upgrade in place: the supervisor executes its own program anew and keeps its pid, its children, its
clients and every descriptor that holds bytes.

    freeze: server -> {listener, connections, containers, execs} with descriptor numbers -> memfd
    execve(python, main.py, --resume MEMFD)
    thaw: the same numbers are open on the other side

Done only while no child is on its way to its program (`Supervisor.reexec_if_wanted`).
"""

from __future__ import annotations

import base64
import json
import os
import socket

from runtime.supervisor import interpreter
from runtime.supervisor.attach import Attachment
from runtime.supervisor.container import Container
from runtime.supervisor.execs import Exec
from runtime.supervisor.server import Connection, Reply, Supervisor
from runtime.supervisor.terminal import Console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FORMAT = 1


def reexecute(server: Supervisor, arguments: list[str], lock: int) -> None:
    """Does not return, unless the new program cannot be executed: then all goes on as it was."""
    server.wants_reexec = False
    state, fds = freeze(server)
    fds.append(lock)
    memory = os.memfd_create("supervisor", 0)
    os.write(memory, json.dumps(state).encode())
    os.lseek(memory, 0, os.SEEK_SET)
    for fd in fds:
        os.set_inheritable(fd, True)
    try:
        # With all that it was started with: a service manager's socket and watchdog are in it.
        interpreter.execute([*arguments, "--resume", str(memory)], os.environ)
    except OSError:
        for fd in fds:
            os.set_inheritable(fd, False)
        os.close(memory)


def freeze(server: Supervisor) -> tuple[dict[str, Any], list[int]]:
    """Everything that must survive, and the descriptors in it."""
    fds: list[int] = []
    connections = list(server.connections.values())
    state = {
        "format": FORMAT,
        "listener": _keep(fds, server.listener.fileno() if server.listener else -1),
        "started_at": server.started_at,
        "connections": [_freeze_connection(fds, connection) for connection in connections],
        "containers": [_freeze_container(fds, server, c, connections) for c in server.containers.values()],
        "execs": [_freeze_exec(fds, running, connections) for running in server.execs.values()],
    }
    return state, fds


def _keep(fds: list[int], fd: int) -> int:
    if fd >= 0:
        fds.append(fd)
    return fd


def _freeze_connection(fds: list[int], connection: Connection) -> dict[str, Any]:
    wire = connection.wire
    return {
        "fd": _keep(fds, wire.sock.fileno()),
        "received": base64.b64encode(bytes(wire.received)).decode(),
        "received_fds": [_keep(fds, fd) for fd in wire.received_fds],
        "queued": base64.b64encode(wire.unsent()).decode(),
        "is_subscribed": connection.is_subscribed,
    }


def _freeze_container(
    fds: list[int], server: Supervisor, container: Container, connections: list[Connection]
) -> dict[str, Any]:
    waits = [reply for reply in container.waiting if reply.connection in connections]
    return {
        "record": container.to_record(),
        "pidfd": _keep(fds, container.pidfd),
        "is_child": container.is_child,
        "console": _keep(fds, container.console_fd),
        "pending": _pending(container),
        "stdin": _keep(fds, container.stdin_fd) if container.stdin_fd != container.console_fd else -1,
        "outputs": {o.stream.decode(): _keep(fds, o.fd) for o in container.outputs if not container.is_tty},
        "attachments": [_freeze_attachment(fds, attachment) for attachment in container.attachments],
        "input": base64.b64encode(container.pending_input).decode(),
        "waits": [[connections.index(reply.connection), reply.id] for reply in waits],
    }


def _pending(container: Container) -> str:
    """A terminal's line without an end; a FIFO's is in its spool."""
    pieces = [output.pending for output in container.outputs if isinstance(output, Console)]
    return base64.b64encode(b"".join(pieces)).decode()


def _freeze_attachment(fds: list[int], attachment: Attachment) -> dict[str, Any]:
    return {
        "fd": _keep(fds, attachment.sock.fileno()),
        "streams": [stream.decode() for stream in attachment.streams],
        "framed": attachment.framed,
        "closes_stdin": attachment.closes_stdin,
        "has_ended_input": attachment.has_ended_input,
        "queued": base64.b64encode(attachment.unsent()).decode(),
    }


def _freeze_exec(fds: list[int], running: Exec, connections: list[Connection]) -> dict[str, Any]:
    connection = running.connection
    return {
        "pid": running.pid,
        "pidfd": _keep(fds, running.pidfd),
        "connection": connections.index(connection) if connection in connections and connection else -1,
        "timed_out": running.timed_out,
        "dies_with_client": running.dies_with_client,
        "seconds": running.seconds_left(),
    }


# --- the other side


def thaw(server: Supervisor, memory: int) -> socket.socket:
    """Take everything up again from the memfd; returns the listening socket."""
    with open(memory, "rb") as file:
        state = json.loads(file.read())
    connections = [_thaw_connection(server, entry) for entry in state["connections"]]
    server.started_at = state["started_at"]
    for entry in state["containers"]:
        _thaw_container(server, entry, connections)
    for entry in state["execs"]:
        _thaw_exec(server, entry, connections)
    for connection in connections:
        server.add_connection(connection)
        server.resume_connection(connection)
    return socket.socket(fileno=_own(state["listener"]))


def _own(fd: int) -> int:
    """A descriptor that came over execve must not go to the containers."""
    if fd >= 0:
        os.set_inheritable(fd, False)
    return fd


def _thaw_connection(_server: Supervisor, entry: dict[str, Any]) -> Connection:
    connection = Connection(socket.socket(fileno=_own(entry["fd"])))
    connection.is_subscribed = entry["is_subscribed"]
    connection.wire.received += base64.b64decode(entry["received"])
    connection.wire.received_fds.extend(_own(fd) for fd in entry["received_fds"])
    connection.wire.requeue(base64.b64decode(entry["queued"]))
    return connection


def _thaw_container(server: Supervisor, entry: dict[str, Any], connections: list[Connection]) -> None:
    record = entry["record"]
    container = Container(server.loop, record, f"{server.run_directory}/{record['name']}")
    container.is_running = True
    container.is_child = entry["is_child"]
    container.pidfd = _own(entry["pidfd"])
    container.stdin_fd = _own(entry["stdin"])
    container.pending_input = base64.b64decode(entry["input"])
    if entry["console"] >= 0:
        container.set_console(_own(entry["console"]), base64.b64decode(entry["pending"]))
    for stream, fd in entry["outputs"].items():
        container.add_output_fd(_own(fd), stream)
    for attached in entry["attachments"]:
        container.attach(_thaw_attachment(server, attached))
    for index, number in entry["waits"]:
        reply = Reply(server, connections[index], {"id": number, "op": "wait", "name": container.name})
        container.waiting.append(reply)
    server.register(container)
    container.read_outputs()
    container.resume_input()
    if not container.is_child:
        server.watch_adopted(container)


def _thaw_attachment(server: Supervisor, entry: dict[str, Any]) -> Attachment:
    streams = frozenset(stream.encode() for stream in entry["streams"])
    sock = socket.socket(fileno=_own(entry["fd"]))
    attachment = Attachment(server.loop, sock, streams, framed=entry["framed"])
    attachment.closes_stdin = entry["closes_stdin"]
    attachment.has_ended_input = entry["has_ended_input"]
    attachment.requeue(base64.b64decode(entry["queued"]))
    return attachment


def _thaw_exec(server: Supervisor, entry: dict[str, Any], connections: list[Connection]) -> None:
    connection = connections[entry["connection"]] if entry["connection"] >= 0 else None
    running = Exec(server, connection, entry["pid"], _own(entry["pidfd"]))
    running.is_running = True
    running.timed_out = entry["timed_out"]
    running.dies_with_client = entry["dies_with_client"]
    server.execs[running.pid] = running
    if entry["seconds"] is not None:
        running.limit_time(entry["seconds"])
