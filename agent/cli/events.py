"""`setpoint events`: what was seen, decided and done, oldest first; -f goes on. Falls back on the store
when the agent is down."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from agent.cli import output
from agent.cli.connect import AgentDown, connect, database_path
from agent.cli.logs import moment
from agent.cli.parser import Parser


def add_events(parser: Parser) -> None:
    parser.add_argument(
        "name", nargs="?", default="", metavar="NAME", help="only this object, or this project"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on as they happen")
    parser.add_argument("-n", "--limit", type=int, default=50, metavar="N", help="the last N (default 50)")
    parser.add_argument("--since", type=moment, default=None, metavar="TIME", help="10m, 2h or a date")
    parser.add_argument("--until", type=moment, default=None, metavar="TIME", help="as --since")
    parser.outputs("json", "yaml")
    parser.examples("setpoint events shop/web", "setpoint events -f", "setpoint events --since 1h -o json")


def run_events(arguments: Namespace) -> int:
    query: dict[str, Any] = {"limit": arguments.limit, "since": arguments.since, "until": arguments.until}
    query["key" if "/" in arguments.name else "project"] = arguments.name or None
    if arguments.follow:
        return _follow(arguments, query)
    try:
        events = connect(arguments).events(**query)
    except AgentDown:
        events = _stored(arguments)
    if arguments.output:
        output.print_data(events, arguments.output)
    else:
        print_lines(events)
    return 0


def _follow(arguments: Namespace, query: dict[str, Any]) -> int:
    import json

    for event in connect(arguments).follow_events(**query):
        print(json.dumps(event) if arguments.output == "json" else event_line(event), flush=True)
    return 0


def _stored(arguments: Namespace) -> list[dict[str, Any]]:
    from agent.api.views import event_view
    from store.reader import read_events

    found = read_events(database_path(arguments.instance), None, 10_000)
    views: list[dict[str, Any]] = [{**event_view(e)} for e in found]
    return list(_matching(views, arguments))[-arguments.limit :]


def _matching(views: list[dict[str, Any]], arguments: Namespace) -> Iterator[dict[str, Any]]:
    words = arguments.name.split("/") if arguments.name else []
    for view in views:
        project, kind, name = view["key"].split("/")
        fits = words in ([], [project], [project, name], [project, kind, name])
        after = arguments.since is None or view["at"] >= arguments.since
        if fits and after and (arguments.until is None or view["at"] <= arguments.until):
            yield view


def print_lines(events: list[dict[str, Any]]) -> None:
    print(output.table(("TIME", "OBJECT", "EVENT", "WHAT"), map(_row, events)) if events else "no events")


def _row(event: dict[str, Any]) -> tuple[object, ...]:
    return output.clock(event["at"]), event["key"], _reason(event), what(event)


def _reason(event: dict[str, Any]) -> output.Cell:
    return output.Cell(event["reason"], "yellow" if event.get("type") == "Warning" else "")


def event_line(event: dict[str, Any], *, with_key: bool = True) -> str:
    """One event alone, as `--follow` and `describe` show it, in columns that fit most."""
    reason = _reason(event)
    parts = [output.clock(event["at"])]
    parts += [f"{output.clean(event['key']):<28}"] if with_key else []
    parts.append(output.paint(reason, reason.colour) + " " * (16 - len(reason)))
    return "  ".join([*parts, output.clean(what(event))]).rstrip()


def what(event: dict[str, Any], *, with_cause: bool = True) -> str:
    """The message without what stands beside it already: the object, and the verb that did it.

    >>> what({"key": "a/container/b", "message": "start a/container/b#1 12ab: was created to run (x.yaml:3)"})
    '#1 12ab: was created to run (x.yaml:3)'
    """
    message, key = str(event.get("message", "")), str(event["key"])
    before, found, after = message.partition(key)
    if found and before.count(" ") <= 1:
        message = after.lstrip(": ")
    cause = str((event.get("cause") or [""])[-1])
    if cause and not with_cause:
        message = message.partition(f": {cause}")[0] if not message.startswith(cause) else ""
    elif cause and cause not in message:
        message += f" ({cause})" if message else cause
    return message
