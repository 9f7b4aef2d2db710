"""Verbs that ask the agent to do something: sync, restart, suspend, resume, prune. Each is one call;
what happens then is decided by the loop and shown by `status` and `events`.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any

from agent.cli import output
from agent.cli.connect import connect, match_objects
from agent.cli.parser import Parser, seconds
from agent.cli.status import error_line
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
    """0 when the source was read (and, with --wait, all is ready); 1 otherwise."""
    answer = connect(arguments).sync(wait=arguments.wait, timeout_seconds=arguments.timeout)
    source = output.mapping(answer.get("source"))
    if arguments.output:
        output.print_data(answer, arguments.output)
    else:
        show_sync(answer, source)
    failed = bool(source.get("error") or source.get("errors"))
    return 1 if failed or (arguments.wait and not answer.get("ready")) else 0


def show_sync(answer: dict[str, Any], source: Mapping[str, Any]) -> None:
    subject = f" ({source['subject']})" if source.get("subject") else ""
    errors = source.get("errors") or ()
    if answer.get("ready"):
        state = "ready"
    elif errors:  # each is said below
        state = f"{len(errors)} error{'s' if len(errors) > 1 else ''}; what cannot be read stays as it was"
    else:
        state = str(answer.get("message") or "under way").rstrip(": ")
    revision = output.short(answer.get("revision")) or "none"
    print(output.clean(f"revision {revision}{subject}: {state}"))
    if source.get("error"):
        print(output.clean(source["error"]), file=sys.stderr)
    for error in errors:
        print(output.clean(error_line(error)), file=sys.stderr)


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


OVERRIDES = ("start", "stop", "restart", "kill", "pause", "unpause")


def add_override(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", help="what a manifest owns: project/name or a key")
    parser.add_argument("what", choices=OVERRIDES, metavar="WHAT", help=", ".join(OVERRIDES))
    parser.add_argument(
        "--for",
        dest="time",
        type=seconds,
        required=True,
        metavar="TIME",
        help="how long: 30m, 1h, at most 168h",
    )
    parser.examples(
        "setpoint override shop/web --for 1h stop     then it is as its manifest says again",
        "setpoint resume shop/web                     … sooner",
        "Docker's clients do the same with the header X-Setpoint-Override: 1h",
    )


def run_override(arguments: Namespace) -> int:
    answer = connect(arguments).override(arguments.name, arguments.what, arguments.time)
    names = ", ".join(answer.get("containers", ())) or "no container"
    print(output.clean(f"{arguments.what} {names}; {answer['key']} is left alone for {arguments.time:g} s"))
    return 0


def _names(parser: Parser, verb: str) -> None:
    parser.set_defaults(verb=verb)
    parser.add_argument(
        "names", nargs="+", metavar="NAME", help=f"what to {verb}: project/name, a key or a project"
    )


def _each(arguments: Namespace, call: Callable[[str], Any], done: str, only: str = "") -> int:
    objects = connect(arguments).status()["objects"]
    chosen = [k for k in match_objects(arguments.names, objects) if not only or k.split("/")[1] == only]
    if not chosen:
        raise Invalid(
            arguments.verb, arguments.names[0], f"it is no {only}", "setpoint get lists what there is"
        )
    shown = {str(item["key"]): output.shown_key(item) for item in objects}
    for key in chosen:
        call(key)
        print(f"{done} {output.clean(shown.get(key, key))}")
    return 0


def add_prune(parser: Parser) -> None:
    parser.add_argument("--yes", action="store_true", help="yes: remove what the waiting revision removes")
    parser.add_argument(
        "--revision", default="", metavar="ID", help="only if this is the revision that waits"
    )
    parser.examples(
        "setpoint prune          what waits",
        "setpoint prune --yes    let it go on",
        "A removal of more than three containers, and over half of what runs, waits for this yes.",
    )


def is_held(item: Mapping[str, Any]) -> bool:
    return any(condition["reason"] == "PruneHeld" for condition in item.get("conditions", ()))


def run_prune(arguments: Namespace) -> int:
    client = connect(arguments)
    if not arguments.yes:
        waiting = [o for o in client.status()["objects"] if is_held(o)]
        for item in waiting:
            print(output.clean(f"{item['key']}: {item.get('message') or item['phase']}"))
        print("setpoint prune --yes removes them" if waiting else "nothing waits")
        return 0
    answer = client.acknowledge_prune(arguments.revision)
    revision = output.short(answer.get("revision")) or "now"
    print(output.clean(f"yes to revision {revision}: {answer.get('objects', 0)} objects"))
    return 0
