"""What a client can ask of the supervisor: one function an operation, `OPERATIONS` names them.

Each gets the server, the request, its descriptors and a Reply; it answers now, or keeps the Reply.
An error it raises is the answer. See `protocol` for the framing.
"""

from __future__ import annotations

import os
import signal
import socket

from runtime.errors import Conflict, Invalid, NotFound
from runtime.supervisor import execs, starting
from runtime.supervisor.attach import Attachment
from runtime.supervisor.container import Container
from runtime.supervisor.log_file import stamp_now
from runtime.supervisor.server import send_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runtime.supervisor.protocol import Message
    from runtime.supervisor.server import Connection, Reply, Supervisor
    from runtime.supervisor.starting import Pending

    Operation = Callable[[Supervisor, Message, list[int], Reply], None]


def ping(server: Supervisor, _message: Message, _fds: list[int], reply: Reply) -> None:
    """{} -> {pid, started_at, executed_at, containers, is_outdated, can_prepare}. is_outdated: its program is
    another on the disk by now. can_prepare: it knows `prepare`, which came later than the rest."""
    can = {"can_prepare": True}
    times = {"started_at": server.started_at, "executed_at": server.executed_at}
    counted = {"containers": len(server.containers), "is_outdated": server.is_outdated()}
    reply.result({"pid": os.getpid(), **times, **counted, **can})


def start(server: Supervisor, message: Message, _fds: list[int], reply: Reply) -> None:
    """{name, bundle, stdin, log_bytes, log_files, hold, root, restore} -> the container, once its program
    runs.

    Answers at once for one that runs. With hold the answer carries the descriptors `held` names. With root,
    too, that of its root, which an error comes with as well: see `runtime.roots`.
    warnings: what this host did not allow, and the program runs without. restore: {program, images, mounts,
    files} of a checkpoint that it begins from.
    """
    _start(server, message, reply, None)


def prepare(server: Supervisor, message: Message, _fds: list[int], reply: Reply) -> None:
    """As `start`, and answered as that is, but there is no process before this client says `go`, and none at
    all, which is the answer, when it says `drop` or goes away. Not for what has to be restored."""
    _start(server, message, reply, reply.connection)


def go(server: Supervisor, message: Message, _fds: list[int], reply: Reply) -> None:
    """{name} and no answer: `prepare` has one."""
    pending = _prepared(server, message, reply)
    if pending is not None:
        del server.prepared[pending.container.name]
        starting.fork_soon(server, pending)


def drop(server: Supervisor, message: Message, _fds: list[int], reply: Reply) -> None:
    """{name} and no answer: `prepare` has one."""
    pending = _prepared(server, message, reply)
    if pending is not None:
        starting.give_up(server, pending)


def _prepared(server: Supervisor, message: Message, reply: Reply) -> Pending | None:
    """None for what could not be, and what another has prepared."""
    pending = server.prepared.get(_name(message))
    return pending if pending is not None and pending.holder is reply.connection else None


def _start(server: Supervisor, message: Message, reply: Reply, holder: Connection | None) -> None:
    name = _name(message)
    is_held = bool(message.get("hold"))
    container = server.containers.get(name)
    if container is not None and (container.is_running or container.failure is not None):
        _answer_started(container, reply, container.failure, is_held)
        return
    if container is None:
        container = Container(server.loop, message, f"{server.run_directory}/{name}")
        for attachment in server.early_attachments.pop(name, ()):
            container.attach(attachment)
        if message.get("restore"):
            from runtime.supervisor import checkpointing  # late: few ever need it

            checkpointing.restore(server, container, message["restore"])
        else:
            starting.start(server, container, holder)
    started = container
    started.on_started.append(lambda error: _answer_started(started, reply, error, is_held))


def _answer_started(container: Container, reply: Reply, error: BaseException | None, is_held: bool) -> None:
    root = {"root": container.root_fd} if container.root_fd >= 0 else {}
    if error is not None:
        reply.error(error, tuple(root.values()))
        return
    held = {**container.held_fds(), **root} if is_held else {}
    answer = {**container.to_record(), "held": list(held), "warnings": container.warnings}
    reply.result(answer, tuple(held.values()))


def checkpoint(server: Supervisor, message: Message, _fds: list[int], reply: Reply) -> None:
    """{name, program, images, freezer, mounts} of a frozen container -> {files} or {failure}."""
    from runtime.supervisor import checkpointing  # late: few ever need it

    checkpointing.checkpoint(server, _running(server, message), message, reply)


def hold(server: Supervisor, message: Message, _fds: list[int], reply: Reply) -> None:
    """{name} -> {held: kinds} and their descriptors: a copy that the client keeps."""
    held = _running(server, message).held_fds()
    reply.result({"held": list(held)}, tuple(held.values()))


def give_console(server: Supervisor, message: Message, fds: list[int], reply: Reply) -> None:
    """{name} and a pty master: a client gives back the terminal of an adopted container."""
    container = _running(server, message)
    if container.is_tty and container.console_fd < 0 and len(fds) == 1:
        container.set_console(fds.pop())
        container.read_outputs()
    reply.result({})


def send(server: Supervisor, message: Message, _fds: list[int], reply: Reply) -> None:
    """{name, signal} -> {}: to the container's first process; {exec, signal}: to an exec."""
    number = signal.Signals(int(message["signal"])) if int(message["signal"]) < 32 else int(message["signal"])
    if "exec" in message:
        running = server.execs.get(message["exec"])
        if running is None:
            raise NotFound("signal", str(message["exec"]), "no such exec")
        running.kill(number)
    elif not send_signal(_running(server, message).pidfd, number):
        raise NotFound("signal", message["name"], "it has ended")
    reply.result({})


def execute(server: Supervisor, message: Message, fds: list[int], reply: Reply) -> None:
    """{name, process, timeout_seconds, dies_with_client} and stdin, stdout, stderr -> {exec, pid}.

    process: the fields of an OCI process that differ from the container's own. With a terminal the
    answer carries the pty's master.
    """
    execs.start(server, _running(server, message), message, fds, reply)


def attach(server: Supervisor, message: Message, _fds: list[int], reply: Reply) -> None:
    """{name, streams, framed, stdin, closes_stdin, early} -> {stamp} and a socket: see `attach`.

    early: the container may not have been started yet; it gets everything from the first byte.
    stamp: records of the log up to it are not on the socket, later ones are.
    """
    name = _name(message)
    container = server.containers.get(name)
    if container is None and not message.get("early"):
        raise NotFound("attach", name, "it does not run")
    ours, theirs = socket.socketpair()
    streams = frozenset(str(stream).encode() for stream in message.get("streams", ()))
    attachment = Attachment(server.loop, ours, streams, framed=bool(message.get("framed")))
    attachment.closes_stdin = bool(message.get("closes_stdin"))
    if container is not None:
        container.attach(attachment)
    else:
        _wait_for_start(server, name, attachment)
    reply.result({"stamp": stamp_now().decode()}, (theirs.fileno(),))
    theirs.close()


def _wait_for_start(server: Supervisor, name: str, attachment: Attachment) -> None:
    waiting = server.early_attachments.setdefault(name, [])
    waiting.append(attachment)

    def leave(attachment: Attachment) -> None:
        waiting.remove(attachment)
        if not waiting and server.early_attachments.get(name) is waiting:
            del server.early_attachments[name]  # of a container that may never start

    attachment.on_close = leave
    attachment.hold_input(held=True)


def resize(server: Supervisor, message: Message, _fds: list[int], reply: Reply) -> None:
    """{name, rows, columns} -> {}."""
    _running(server, message).resize(int(message["rows"]), int(message["columns"]))
    reply.result({})


def list_all(server: Supervisor, _message: Message, _fds: list[int], reply: Reply) -> None:
    """{} -> {containers: [record…]}: those that run."""
    running = (container for container in server.containers.values() if container.is_running)
    reply.result({"containers": [container.to_record() for container in running]})


def state(server: Supervisor, message: Message, _fds: list[int], reply: Reply) -> None:
    """{name} -> the container's record. NotFound when it does not run."""
    reply.result(_running(server, message).to_record())


def wait(server: Supervisor, message: Message, _fds: list[int], reply: Reply) -> None:
    """{name} -> its exit record, when it ends."""
    _running(server, message).waiting.append(reply)


def subscribe(_server: Supervisor, _message: Message, _fds: list[int], reply: Reply) -> None:
    """{} -> {}; from now on this client gets every exit."""
    reply.connection.is_subscribed = True
    reply.result({})


def reexec(server: Supervisor, _message: Message, _fds: list[int], reply: Reply) -> None:
    """{} -> {}; then this process becomes the program that is on disk now, with all its children."""
    reply.result({})
    server.wants_reexec = True
    server.reexec_if_wanted()


def stop(server: Supervisor, message: Message, _fds: list[int], reply: Reply) -> None:
    """{force} -> {}: end the supervisor. Conflict while containers run, unless forced: they run on."""
    if server.containers and not message.get("force"):
        raise Conflict("stop", "supervisor", f"{len(server.containers)} containers run")
    reply.result({})
    server.loop.is_running = False


def _name(message: Message) -> str:
    name = message.get("name")
    if not isinstance(name, str) or not name or "/" in name or name.startswith(".") or len(name) > 128:
        raise Invalid(str(message.get("op")), repr(name)[:80], "not a container's id")
    return name


def _running(server: Supervisor, message: Message) -> Container:
    container = server.containers.get(_name(message))
    if container is None or not container.is_running:
        raise NotFound(str(message.get("op")), message["name"], "it does not run")
    return container


OPERATIONS: dict[str, Operation] = {
    "ping": ping,
    "start": start,
    "prepare": prepare,
    "go": go,
    "drop": drop,
    "checkpoint": checkpoint,
    "hold": hold,
    "give_console": give_console,
    "signal": send,
    "exec": execute,
    "attach": attach,
    "resize": resize,
    "list": list_all,
    "state": state,
    "wait": wait,
    "subscribe": subscribe,
    "reexec": reexec,
    "stop": stop,
}
