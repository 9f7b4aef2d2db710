"""`setpoint drill`: breaks on purpose what Setpoint keeps, on an instance of its own, and times the repairs.

Options, and what is printed; `agent.drill` does the work. Exit code 1 when something was not put back in
time, or a container was restarted that had no need.
"""

from __future__ import annotations

import os
import signal
from argparse import Namespace
from dataclasses import asdict
from typing import TYPE_CHECKING

from agent.cli import output
from agent.cli.connect import check_instance
from agent.cli.output import Cell
from agent.cli.parser import Parser, seconds
from runtime.errors import Invalid

if TYPE_CHECKING:
    from agent.drill.run import Result


def add_drill(parser: Parser) -> None:
    parser.add_argument(
        "--only", action="append", default=[], metavar="KIND", help="this kind; may be repeated"
    )
    parser.add_argument(
        "--host", action="store_true", help="also what concerns the whole host: its ruleset, forwarding"
    )
    parser.add_argument("--keep", action="store_true", help="leave the drill's instance running, to look at")
    parser.add_argument(
        "--limit", type=seconds, default=5.0, metavar="TIME", help="a repair may take this long (5s)"
    )
    parser.add_argument("--list", action="store_true", help="print the kinds, and break nothing")
    parser.outputs("json", "yaml")
    parser.examples(
        "setpoint drill                            on an instance of its own; yours is not touched",
        "setpoint drill --only table --only veth",
        "setpoint drill --host                     flushes this host's ruleset, and puts it back",
        "setpoint drill --keep                     then: setpoint --instance setpoint-drill status",
    )


def run_drill(arguments: Namespace) -> int:
    from agent.drill.instance import opened
    from agent.drill.kinds import KINDS
    from agent.drill.run import chosen, run
    from runtime.layout import drill_layout

    if arguments.list:
        print("\n".join(kind.name + ("   (--host)" if kind.at_host else "") for kind in KINDS))
        return 0
    kinds = chosen(arguments.only, at_host=arguments.host)
    layout = drill_layout(check_instance(arguments.instance))
    if os.geteuid() != 0:
        raise Invalid("drill", layout.instance, "needs root", "sudo setpoint drill")
    signal.signal(signal.SIGTERM, _interrupt)  # so that what was made is removed
    results = []
    with opened(layout, keep=arguments.keep) as drill:
        for result in run(drill, kinds, arguments.limit):
            results.append(result)
            if not arguments.output:
                print(line(result), flush=True)
    if arguments.output:
        output.print_data([asdict(result) for result in results], arguments.output)
    else:
        print(total(results))
    return 0 if results and all(result.is_good for result in results) else 1


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def line(result: Result) -> str:
    took = "not repaired" if result.seconds is None else f"{result.seconds * 1000:.0f} ms"
    state = Cell("ok" if result.is_good else "FAILED", "green" if result.is_good else "red")
    notes = [f"noticed by {result.noticed}"] if result.noticed else []
    notes += ["no event tells of it"] if result.seconds is not None and not result.noticed else []
    notes += [f"restarted {', '.join(result.restarted)}"] if result.restarted else []
    notes += [result.error] if result.error else []
    what = "; ".join(part for part in (result.broken, ", ".join(notes)) if part)
    head = output.paint(f"{state:<6}", state.colour)
    return f"{head}  {result.kind:<18} {took:>12}  {output.clean(what)}"


def total(results: list[Result]) -> str:
    good = [result.seconds for result in results if result.is_good and result.seconds is not None]
    slowest = f"; the slowest took {max(good) * 1000:.0f} ms" if good else ""
    return f"{len(good)} of {len(results)} put back as they should be{slowest}"
