"""`setpoint doctor --leaks`: what is lost, wrong, doubled, leaked or stuck of an instance.

The looks are `agent.checker`'s; this file prints them. Needs root and no agent; changes nothing.
"""

from __future__ import annotations

import os
from argparse import Namespace

from agent.cli import output
from agent.cli.output import Cell
from runtime.errors import Invalid

COLOURS = {"lost": "red", "wrong": "red", "doubled": "red", "leaked": "yellow", "stuck": "yellow"}


def run_leaks(arguments: Namespace) -> int:
    """0 when nothing is amiss, 1 when something is."""
    if os.geteuid() != 0:
        raise Invalid("look for leaks of", arguments.instance, "needs root", "sudo setpoint doctor --leaks")
    from agent.checker import check
    from runtime.layout import Layout

    found = check(Layout(arguments.instance))
    if arguments.output:
        rows = [{"kind": f.kind, "subject": f.subject, "message": f.message, "hint": f.hint} for f in found]
        output.print_data(rows, arguments.output)
    elif not found:
        print(f"{arguments.instance}: nothing is lost, wrong, doubled, leaked or stuck")
    else:
        cells = [
            (Cell(f.kind, COLOURS.get(f.kind, "")), f.subject, f.message + (f" → {f.hint}" if f.hint else ""))
            for f in found
        ]
        print(output.table(("KIND", "WHAT", "FOUND"), cells, width=0))
    return 1 if found else 0
