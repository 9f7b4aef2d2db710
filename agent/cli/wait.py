"""`setpoint wait`: exit 0 when it is so, 1 when the time is over. For scripts, CI and `ops/up`."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from typing import Any

from agent.cli import output
from agent.cli.connect import Client, connect
from agent.cli.parser import Parser, seconds

SLICE_SECONDS = 1.0  # how often a terminal is shown how far it is; without one, one question is asked


def add_wait(parser: Parser) -> None:
    parser.add_argument(
        "name", nargs="?", default="", metavar="KEY", help="project/name or a key (default: all)"
    )
    parser.add_argument(
        "--for", dest="condition", default="ready", metavar="CONDITION", help="ready (default)"
    )
    parser.add_argument(
        "--timeout", type=seconds, default=60.0, metavar="TIME", help="how long (default 60s)"
    )
    parser.examples(
        "setpoint wait --for ready --timeout 60s",
        "setpoint wait --for ready shop/web && curl http://127.0.0.1:8080/",
    )


def run_wait(arguments: Namespace) -> int:
    client = connect(arguments)
    key = arguments.name
    answer = _wait(client, key, arguments.condition.lower(), arguments.timeout)
    if answer.get("met"):
        return 0
    print_missing(output.mapping(answer.get("status")), key, arguments)
    return 1


def _wait(client: Client, key: str, condition: str, timeout: float) -> dict[str, Any]:
    """One long question, or, for somebody who watches, short ones with a line of progress."""
    if not sys.stderr.isatty():
        return client.wait(key, condition, timeout)
    deadline = time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        answer = client.wait(key, condition, max(0.0, min(SLICE_SECONDS, left)))
        if answer.get("met") or left <= SLICE_SECONDS:
            sys.stderr.write("\r\x1b[K")
            return answer
        objects = list(output.mapping(answer.get("status")).get("objects", []))
        good = sum(1 for o in objects if o["ready"])
        sys.stderr.write(f"\r\x1b[Kwaiting: {good} of {len(objects)} ready")
        sys.stderr.flush()


def print_missing(status: Any, key: str, arguments: Namespace) -> None:
    """On stderr: what is not ready, one line each."""
    print(f"not {output.clean(arguments.condition)} after {arguments.timeout:g} s", file=sys.stderr)
    for item in status.get("objects", []):
        if not item["ready"] and key in ("", item["key"]):
            reason = item.get("message") or "no reason known yet"
            print(f"  {output.clean(item['key'])}: {item['phase']}: {output.clean(reason)}", file=sys.stderr)
