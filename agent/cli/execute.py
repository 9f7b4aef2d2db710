"""`setpoint exec`: a command in a running container, with or without a terminal. Its exit code is ours.

Imports nothing that costs (see connect.py): `terminal` when there is one to care for.
"""

from __future__ import annotations

import sys

from agent import small_json as json
from agent.cli.connect import Plain, connect, instance_of
from agent.cli.output import write
from agent.wire import EXIT, STDERR, Session
from runtime.errors import Invalid, SetpointError

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without the cost of typing
if TYPE_CHECKING:
    from argparse import Namespace

    from agent.cli.parser import Parser


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
    parser.add_argument("command", nargs="...", metavar="COMMAND ...", help="and its arguments")
    parser.examples(
        "setpoint exec shop/web ls /",
        "setpoint exec -it shop/web sh",
        "setpoint exec -i shop/db psql <dump.sql",
    )


def plain_exec(words: list[str], instance: str) -> Plain | None:
    """As the parser would have it; None for words that it is to read."""
    if not words or words[0].startswith("-") or "--" in words:
        return None
    return Plain(
        instance=instance_of(instance), name=words[0], command=words[1:], interactive=False, tty=False,
        user="", workdir="", env=[], replica=1,
    )  # fmt: skip


def run_exec(arguments: Namespace | Plain) -> int:
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
    with session:
        return _talk(session, arguments) if arguments.tty or arguments.interactive else _receive(session)


def _talk(session: Session, arguments: Namespace | Plain) -> int:
    from agent.cli import terminal

    if arguments.interactive and not arguments.tty:
        terminal.pass_stdin_on(session)
        return _receive(session)
    with terminal.raw(session):
        if arguments.interactive:
            terminal.pass_stdin_on(session)
        return _receive(session, raw=True)


def _size() -> tuple[int, int]:
    from agent.cli import terminal

    return terminal.size()


def _receive(session: Session, *, raw: bool = False) -> int:
    while frame := session.receive():
        stream, content = frame
        if stream == EXIT:
            return int(json.loads(content)["exit_code"])
        write(2 if stream == STDERR else 1, content, raw=raw)
    raise SetpointError("exec", "", "the connection ended before the command did", "setpoint status")
