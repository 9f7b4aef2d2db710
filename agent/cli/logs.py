"""`setpoint logs`: what a container prints, its two streams kept apart."""

from __future__ import annotations

import re
import time
from argparse import ArgumentTypeError, Namespace
from datetime import datetime

from agent.cli import output
from agent.cli.connect import connect
from agent.cli.parser import Parser, seconds

# Colours are harmless, and most of what programs print to be seen.
_COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")


def add_logs(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", help="project/name or a key")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as more is printed")
    parser.add_argument("-n", "--tail", type=int, default=None, metavar="N", help="only the last N lines")
    parser.add_argument(
        "--since", type=moment, default=None, metavar="TIME", help="10m, 2h, or 2026-05-01T12:00:00"
    )
    parser.add_argument("--until", type=moment, default=None, metavar="TIME", help="as --since")
    parser.add_argument("-t", "--timestamps", action="store_true", help="when each line was printed")
    parser.add_argument("--replica", type=int, default=None, metavar="N", help="only one replica (from 1)")
    parser.add_argument("--raw", action="store_true", help="on a terminal: every byte as it was printed")
    parser.examples(
        "setpoint logs shop/web -f --tail 20",
        "setpoint logs shop/web --since 10m -t",
        "On a terminal, control characters other than colours are shown escaped; --raw passes them.",
    )


def run_logs(arguments: Namespace) -> int:
    client = connect(arguments)
    frames = client.logs(
        arguments.name,
        follow=arguments.follow,
        tail=arguments.tail,
        since=arguments.since,
        until=arguments.until,
        timestamps=arguments.timestamps,
        replica=arguments.replica,
        prefix=arguments.replica is None,
    )
    for stream, content in frames:
        output.write(2 if stream == 2 else 1, content, raw=arguments.raw)
    return 0


def harmless(text: str) -> str:
    """Text with colours, tabs and line breaks kept, everything else that steers escaped."""
    lines = text.replace("\r\n", "\n").split("\n")
    return "\n".join(_harmless_line(line) for line in lines)


def _harmless_line(line: str) -> str:
    if line.isascii() and line.isprintable():
        return line
    pieces = _COLOUR.split(line)
    kept = [piece if _COLOUR.fullmatch(piece) else _keep_tabs(piece) for piece in pieces]
    return "".join(kept) + ("\x1b[0m" if len(pieces) > 1 and output.is_colourful() else "")


def _keep_tabs(piece: str) -> str:
    return "\t".join(output.clean(part) for part in piece.split("\t"))


def moment(text: str) -> float:
    """Unix seconds of "10m" (ago) or of a date and time."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        pass
    try:
        return time.time() - seconds(text)
    except ArgumentTypeError:
        raise ArgumentTypeError(f"{text!r} is no time; write 10m, 2h or 2026-05-01T12:00:00") from None
