"""Verbs that ask the agent to do something: sync, restart, suspend, resume, prune. Each is one call;
what happens then is decided by the loop and shown by `status` and `events`.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from agent.cli import output
from agent.cli.connect import connect, match_keys
from agent.cli.parser import Parser, seconds
from runtime.errors import Invalid


def add_sync(parser: Parser) -> None:
    parser.add_argument("--wait", action="store_true", help="return when what it says is applied")
    parser.add_argument(
        "--timeout", type=seconds, default=300.0, metavar="TIME", help="how long to wait (300s)"
    )
    parser.outputs("json", "yaml")
    parser.examples(
        "setpoint sync            look at the source now", "setpoint sync --wait     … and wait for it"
    )


def run_sync(arguments: Namespace) -> int:
    answer = connect(arguments).sync(wait=arguments.wait, timeout_seconds=arguments.timeout)
    if arguments.output:
        output.print_data(answer, arguments.output)
    else:
        print(f"at revision {output.clean(output.short(answer.get('revision')) or 'none')}{_rest(answer)}")
    return 1 if answer.get("met") is False or answer.get("error") else 0


def _rest(answer: dict[str, Any]) -> str:
    note = answer.get("error") or answer.get("message") or answer.get("outcome") or ""
    return f": {output.clean(note)}" if note else ""


def add_restart(parser: Parser) -> None:
    _names(parser, "restart")
    parser.examples("setpoint restart shop/web", "setpoint restart shop        every container of a project")


def run_restart(arguments: Namespace) -> int:
    client = connect(arguments)
    return _each(arguments, client.restart, "restarting", only="container")


def add_suspend(parser: Parser) -> None:
    _names(parser, "suspend")
    parser.examples(
        "setpoint suspend shop/db     nothing is started, stopped, changed or removed until resumed"
    )


def run_suspend(arguments: Namespace) -> int:
    client = connect(arguments)
    return _each(arguments, client.suspend, "suspended")


def add_resume(parser: Parser) -> None:
    _names(parser, "resume")
    parser.examples("setpoint resume shop/db")


def run_resume(arguments: Namespace) -> int:
    client = connect(arguments)
    return _each(arguments, client.resume, "resumed")


def _names(parser: Parser, verb: str) -> None:
    parser.add_argument(
        "names", nargs="+", metavar="NAME", help=f"what to {verb}: project/name, a key or a project"
    )


def _each(arguments: Namespace, call: Callable[[str], Any], done: str, only: str = "") -> int:
    keys = [str(o["key"]) for o in connect(arguments).status()["objects"]]
    chosen = [k for k in match_keys(arguments.names, keys) if not only or k.split("/")[1] == only]
    if not chosen:
        raise Invalid(arguments.names[0], "", f"names no {only}", "setpoint get lists what there is")
    for key in chosen:
        call(key)
        print(f"{done} {output.clean(key)}")
    return 0


def add_prune(parser: Parser) -> None:
    parser.add_argument("--yes", action="store_true", help="yes: remove what the waiting revision removes")
    parser.add_argument(
        "--revision", default="", metavar="ID", help="only if this is the revision that waits"
    )
    parser.examples(
        "setpoint prune          what waits",
        "setpoint prune --yes    let it go on",
        "A removal of more than half of what runs waits for this yes.",
    )


def run_prune(arguments: Namespace) -> int:
    client = connect(arguments)
    if not arguments.yes:
        waiting = [a for a in client.plan().get("actions", []) if "prune" in str(a.get("waits", ""))]
        source = output.mapping(client.status().get("source"))
        count = source.get("prune_waiting") or len(waiting)
        print(f"{count} removals wait for a yes (setpoint prune --yes)" if count else "nothing waits")
        return 0
    answer = client.acknowledge_prune(arguments.revision)
    print(f"yes to revision {output.clean(output.short(answer.get('revision')) or 'now')}")
    return 0
