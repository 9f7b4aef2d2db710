"""`setpoint down`: stop and remove everything this instance runs, out of the kernel, and with --data off the
disk. Works with an agent and without one, after a crash too, and may be repeated.

The agent is ended first: nobody may put back what is being removed. Then the runtime alone is asked,
which goes by what is there and not by what anybody remembers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import struct
import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from agent.cli import output
from agent.cli.connect import check_instance
from agent.cli.parser import Parser
from runtime.errors import Invalid, Temporary

if TYPE_CHECKING:
    from runtime.layout import Layout

END_SECONDS = 10.0


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
    from runtime.layout import Layout

    layout = Layout(check_instance(arguments.instance))
    if os.geteuid() != 0:
        raise Invalid("down", layout.instance, "needs root", "sudo setpoint down")
    if not layout.data.exists() and not layout.run.exists():
        print(f"nothing of {layout.instance} is here")
        return 0
    if not arguments.yes and not confirmed(layout, arguments.data):
        print("nothing was done")
        return 1
    if stop_agent(layout.instance):
        print("agent stopped")
    removed = asyncio.run(remove(layout))
    remove_directories(layout, with_data=arguments.data)
    print(
        f"{removed} things removed"
        + ("; the data too" if arguments.data else f"; data stays in {layout.data}")
    )
    return 0


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


async def remove(layout: Layout) -> int:
    """Containers, namespaces, networks; then the supervisor. How many things went."""
    from agent.daemon import instance_lock, make_native_engine, prepare
    from agent.down import remove_everything

    prepare(layout)
    count = 0
    with instance_lock(layout):
        engine = await make_native_engine(layout)
        try:
            async for line in remove_everything(engine):
                count += 1
                if output.is_colourful():
                    print(f"removed {output.clean(line)}")
            await end_supervisor(layout)
        finally:
            await engine.close()
    return count


async def end_supervisor(layout: Layout) -> None:
    """Ask it to end, which it does only when it holds no container, and wait until it is gone."""
    from runtime.supervisor import starter
    from runtime.supervisor.client import Client

    found = await asyncio.to_thread(starter.connect, layout)
    if found is None:
        return
    pid = struct.unpack("3i", found.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
    found.close()
    handle = os.pidfd_open(pid)
    client = Client(layout, lambda _event: None)
    await client.open()
    try:
        await client.call("stop")
        ended, _, _ = await asyncio.to_thread(select.select, [handle], [], [], END_SECONDS)
    finally:
        await client.close()
        os.close(handle)
    if not ended:
        raise Temporary(
            "stop", f"supervisor {pid}", f"it did not end within {END_SECONDS:g} s", f"kill {pid}"
        )


def remove_directories(layout: Layout, *, with_data: bool) -> None:
    """/run/NAME, and with data /var/lib/NAME; before that, whatever is left of them in the kernel."""
    from runtime import cgroups
    from runtime.network.remove import remove_all
    from runtime.removal import remove_tree

    remove_all(layout)
    cgroups.delete(layout.cgroup_parent)
    places = [layout.run, layout.data]
    for place in places:
        unmount_below(str(place))
    for place in places if with_data else places[:1]:
        with contextlib.suppress(FileNotFoundError):
            remove_tree(place)


def unmount_below(place: str) -> None:
    """Nothing may be mounted in a tree that is removed: what is there is somebody else's. OSError."""
    from runtime.syscalls import MNT_DETACH, umount2

    with open("/proc/self/mountinfo") as file:  # noqa: PTH123
        targets = [line.split()[4] for line in file]
    for target in reversed(targets):
        if target.startswith(f"{place}/"):
            umount2(target.encode().decode("unicode_escape"), MNT_DETACH)
