"""`setpoint exec`: a command in a running container, with or without a terminal. Its exit code is ours.

One thread reads stdin and sends it; the main thread writes what comes, so that neither waits for the
other. The terminal is put back whatever happens.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import termios
import threading
import tty
from argparse import REMAINDER, Namespace
from collections.abc import Iterator

from agent.cli.connect import connect
from agent.cli.logs import write
from agent.cli.parser import Parser
from agent.client import EXIT, STDERR, Session
from runtime.errors import Invalid, SetpointError


def add_exec(parser: Parser) -> None:
    parser.usage = "setpoint exec [OPTION ...] NAME COMMAND [ARGUMENT ...]"
    parser.add_argument("-i", "--interactive", action="store_true", help="pass stdin on")
    parser.add_argument("-t", "--tty", action="store_true", help="give it a terminal")
    parser.add_argument("-u", "--user", default="", help="name or number[:group]")
    parser.add_argument("-w", "--workdir", default="", metavar="DIR", help="where it starts")
    parser.add_argument(
        "-e", "--env", action="append", default=[], metavar="NAME=VALUE", help="may be repeated"
    )
    parser.add_argument("--replica", type=int, default=1, metavar="N", help="which replica (from 1)")
    parser.add_argument("name", metavar="NAME", help="project/name or a key")
    parser.add_argument("command", nargs=REMAINDER, metavar="COMMAND ...", help="and its arguments")
    parser.examples(
        "setpoint exec shop/web ls /",
        "setpoint exec -it shop/web sh",
        "setpoint exec -i shop/db psql <dump.sql",
    )


def run_exec(arguments: Namespace) -> int:
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        raise Invalid("exec in", arguments.name, "no command", "setpoint exec shop/web ls /")
    if arguments.tty and not sys.stdin.isatty():
        raise Invalid("exec in", arguments.name, "-t needs a terminal and stdin is none", "leave out -t")
    client = connect(arguments)
    session = client.exec(
        arguments.name,
        command,
        tty=arguments.tty,
        stdin=arguments.interactive,
        user=arguments.user,
        working_dir=arguments.workdir,
        environment=(*(("TERM=xterm",) if arguments.tty else ()), *arguments.env),
        replica=arguments.replica,
        size=_size() if arguments.tty else None,
    )
    with session, _raw_terminal(session, arguments.tty):
        if arguments.interactive:
            threading.Thread(target=_send_stdin, args=(session,), daemon=True).start()
        return _receive(session, raw=arguments.tty)


def _receive(session: Session, *, raw: bool) -> int:
    while frame := session.receive():
        stream, content = frame
        if stream == EXIT:
            return int(json.loads(content)["exit_code"])
        write(2 if stream == STDERR else 1, content, raw=raw)
    raise SetpointError("exec", "", "the connection ended before the command did", "setpoint status")


def _send_stdin(session: Session) -> None:
    # The other end may be gone already: the main thread knows its exit code.
    with contextlib.suppress(OSError):
        while content := os.read(0, 65536):
            session.send_stdin(content)
        session.close_stdin()


@contextlib.contextmanager
def _raw_terminal(session: Session, is_wanted: bool) -> Iterator[None]:
    """Every key goes to the container's terminal, and its size follows ours."""
    if not is_wanted:
        yield
        return
    before = termios.tcgetattr(0)
    resized = signal.signal(signal.SIGWINCH, lambda *_: session.resize(*_size()))
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSAFLUSH, before)
        signal.signal(signal.SIGWINCH, resized)


def _size() -> tuple[int, int]:
    """(rows, columns)."""
    columns, rows = os.get_terminal_size(0)
    return rows, columns
