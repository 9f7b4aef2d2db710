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
        "--for",
        dest="condition",
        default="ready",
        choices=("ready", "healthy"),
        type=str.lower,
        help="ready (default)",
    )
    parser.add_argument(
        "--timeout", type=seconds, default=60.0, metavar="TIME", help="how long (default 60s)"
    )
    parser.examples(
        "setpoint wait --for ready --timeout 60s",
        "setpoint wait --for ready shop/web && curl http://127.0.0.1:8080/",
    )


def run_wait(arguments: Namespace) -> int:
    answer = _wait(connect(arguments), arguments)
    if answer.get("met"):
        return 0
    reason = answer.get("message") or "no reason known yet"
    print(output.clean(f"not {arguments.condition} after {arguments.timeout:g} s: {reason}"), file=sys.stderr)
    return 1


def _wait(client: Client, arguments: Namespace) -> dict[str, Any]:
    """One long question, or, for somebody who watches, short ones with a line of progress."""
    if not sys.stderr.isatty():
        return client.wait(arguments.name, arguments.condition, arguments.timeout)
    deadline = time.monotonic() + arguments.timeout
    while True:
        left = deadline - time.monotonic()
        answer = client.wait(arguments.name, arguments.condition, max(0.0, min(SLICE_SECONDS, left)))
        sys.stderr.write("\r\x1b[K")
        if answer.get("met") or left <= SLICE_SECONDS:
            return answer
        line = output.clean(f"waiting: {answer.get('message', '')}")
        sys.stderr.write(line[: max(20, output.terminal_width() - 1)])
        sys.stderr.flush()
