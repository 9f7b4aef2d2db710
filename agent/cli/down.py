"""`setpoint down`: stop and remove everything this instance runs, out of the kernel, and with --data off the
disk. Works with an agent and without one, after a crash too, and may be repeated.

The agent is ended first: nobody may put back what is being removed. Then the runtime alone is asked,
which goes by what is there and not by what anybody remembers.
"""

from __future__ import annotations

import asyncio
import os
import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from agent.cli import output
from agent.cli.connect import check_instance
from agent.cli.parser import Parser
from runtime.errors import Invalid, SetpointError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runtime.layout import Layout
    from store.records import Key, ObjectRecord


def add_down(parser: Parser) -> None:
    parser.add_argument(
        "--data", action="store_true", help="also /var/lib/NAME: images, logs, history and VOLUMES"
    )
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    parser.examples(
        "setpoint down               everything stops; volumes, images and history stay",
        "setpoint down --data        nothing stays",
    )


def run_down(arguments: Namespace) -> int:
    from agent.cli.agent import stop_agent
    from runtime.cleanup import remove_instance
    from runtime.layout import Layout

    layout = Layout(check_instance(arguments.instance))
    if os.geteuid() != 0:
        raise Invalid("down", layout.instance, "needs root", "sudo setpoint down")
    end_drill(layout.instance)
    if not os.path.lexists(layout.data) and not os.path.lexists(layout.run):
        print(f"nothing of {layout.instance} is here")
        return 0
    if not arguments.yes and not confirmed(layout, arguments.data):
        print("nothing was done")
        return 1
    if stop_agent(layout.instance):
        print("agent stopped")
    removed = stop_gracefully(layout)
    remove_instance(layout, with_data=arguments.data)
    print(
        f"{removed} things removed"
        + ("; the data too" if arguments.data else f"; data stays in {layout.data}")
    )
    return 0


def end_drill(instance: str) -> None:
    """What a drill that was killed has left; one that runs cleans up after itself."""
    from runtime.layout import drill_layout

    if not drill_layout(instance).data.exists():
        return
    from agent.drill.instance import end_left_over

    if end_left_over(instance):
        print("what a drill had left is removed")


def confirmed(layout: Layout, with_data: bool) -> bool:
    """A yes typed at a terminal; without one, --yes must say it."""
    if not sys.stdin.isatty():
        raise Invalid(
            "down", layout.instance, "it removes all containers, and nobody is there to ask", "add --yes"
        )
    what = (
        f"everything of {layout.instance} AND ITS VOLUMES"
        if with_data
        else f"all containers of {layout.instance}"
    )
    return input(f"Remove {what}? [y/N] ").strip().lower() in ("y", "yes")


def stop_gracefully(layout: Layout) -> int:
    """Ask containers to stop, and delete them, as the agent would. How many things went. What cannot be
    done is said, and left to `remove_instance`, which asks nobody."""
    try:
        return asyncio.run(_remove(layout))
    except (SetpointError, OSError) as error:  # on a disk that failed, too, all can be ended
        print(f"{output.clean(error)}; removing by force", file=sys.stderr)
        return 0


def remembered(layout: Layout) -> Mapping[Key, ObjectRecord]:
    """What the store knows of how containers are to end; nothing, when it cannot be read."""
    from store.errors import StoreError
    from store.reader import read_status

    try:
        found = read_status(layout.database)
    except StoreError as error:
        print(f"{output.clean(error)}; nobody knows who depends on whom", file=sys.stderr)
        return {}
    return found.objects if found else {}


async def _remove(layout: Layout) -> int:
    from agent.daemon import instance_lock, make_native_engine, prepare
    from agent.down import remove_everything

    prepare(layout)
    count = 0
    with instance_lock(layout):
        engine = await make_native_engine(layout)
        try:
            async for line in remove_everything(engine, remembered(layout)):
                count += 1
                if output.is_colourful():
                    print(f"removed {output.clean(line)}")
        finally:
            await engine.close()
    return count
