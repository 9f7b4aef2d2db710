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

    views = [event_view(e) for e in read_events(database_path(arguments.instance), None, 10_000)]
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
    for event in events:
        print(event_line(event))


def event_line(event: dict[str, Any], *, with_key: bool = True) -> str:
    """`2026-05-01 12:00:00  shop/container/web  Exited  code 137 (because …)`."""
    colour = "yellow" if event.get("type") == "Warning" else ""
    parts = (
        [output.clock(event["at"]), output.clean(event["key"])] if with_key else [output.clock(event["at"])]
    )
    parts.append(output.paint(output.clean(event["reason"]), colour))
    cause = event.get("cause") or []
    message = output.clean(event.get("message", ""))
    if cause and with_key:
        message += f" ({output.clean(cause[-1])})" if str(cause[-1]) not in message else ""
    return "  ".join([*parts, message]).rstrip()
