"""`setpoint plan`: what the agent would do now, or, with a directory, what it would do if that were
committed. Nothing is done. Exit codes: 0 nothing to do, 2 changes, 1 error.
"""

from __future__ import annotations

import base64
import sys
from argparse import Namespace
from typing import Any

from agent.cli import output
from agent.cli.connect import connect
from agent.cli.parser import Parser
from agent.cli.status import error_line

CHANGES = 2
SIGNS = {"create": ("+", "green"), "start": ("+", "green"), "delete": ("-", "red"), "stop": ("-", "red"),
         "forget": ("-", "grey"), "update": ("~", "yellow"), "repair": ("~", "yellow")}  # fmt: skip


def add_plan(parser: Parser) -> None:
    parser.add_argument(
        "directory", nargs="?", default="", metavar="DIR", help="as saved here, not what is followed"
    )
    parser.outputs("json", "yaml", "wide")
    parser.examples(
        "setpoint plan                        what happens at the next pass",
        "setpoint plan manifests/             what would happen if this were committed",
        "setpoint plan manifests/ -o json     actions with key, action, cause, file, line",
        "exit codes: 0 nothing to do, 2 changes, 1 error",
    )


def run_plan(arguments: Namespace) -> int:
    client = connect(arguments)
    answer = client.plan(_files(arguments.directory) if arguments.directory else None)
    actions, errors = list(answer.get("actions", [])), list(answer.get("errors", []))
    if arguments.output in ("json", "yaml"):
        output.print_data({"actions": actions, "errors": errors}, arguments.output)
    else:
        show(actions, errors, wide=arguments.output == "wide")
        if not actions and not errors and not arguments.directory:
            show_waiting(client.status())
    if errors:
        return 1
    return CHANGES if actions else 0


def _files(directory: str) -> dict[str, str]:
    from agent.cli.files import read_revision

    return {path: base64.b64encode(data).decode() for path, data in read_revision(directory).files.items()}


def show(actions: list[dict[str, Any]], errors: list[Any], *, wide: bool = False) -> None:
    for error in errors:
        print(output.clean(error_line(error)), file=sys.stderr)
    for action in actions:
        print(action_line(action, wide=wide))
    if not actions and not errors:
        print("nothing to do")
    if actions:
        objects = len({action["key"] for action in actions})
        plural = "" if objects == 1 else "s"
        print(f"{len(actions)} action{'' if len(actions) == 1 else 's'} on {objects} object{plural}")


def show_waiting(status: dict[str, Any]) -> None:
    """Nothing to do is not all well: what cannot be had now is said."""
    for item in status["objects"]:
        if not item["ready"]:
            print(
                output.clean(f"  {item['key']} is {item['phase']}: {item.get('message') or 'looked at next'}")
            )


def action_line(action: dict[str, Any], *, wide: bool = False) -> str:
    """`+ create shop/container/web#1 3f2a…: not there (shop/compose.yaml:3 @1a2b3c4)`."""
    sign, colour = SIGNS.get(str(action["action"]).split()[0], (" ", ""))
    if wide:
        return f"{output.paint(sign, colour)} {output.clean(action.get('text', action['key']))}"
    replica = f"#{action['replica']}" if action.get("replica") else ""
    place = f" ({action['file']}:{action['line']})" if action.get("file") else ""
    line = output.clean(f"{action['action']} {action['key']}{replica}: {action['cause']}{place}")
    return f"{output.paint(sign, colour)} {line}"
