"""`setpoint image hold`, `release` and `leases`: keep an image for a time although nothing needs it."""

from __future__ import annotations

import getpass
import time
from argparse import Namespace

from agent.cli import output
from agent.cli.connect import connect
from agent.cli.parser import Commands, seconds
from agent.client import Client


def add(commands: Commands) -> None:
    hold = commands.add("hold", "keep an image for a time, whoever needs it")
    hold.add_argument("name", metavar="NAME", help="name:tag or id")
    hold.add_argument("--for", dest="time", type=seconds, metavar="TIME", default=3600.0, help="(1h)")
    hold.add_argument("--id", metavar="ID", default="", help="make this lease longer, not a new one")
    hold.examples("setpoint image hold nginx:1.27 --for 12h")
    release = commands.add("release", "end a lease")
    release.add_argument("id", metavar="ID", help="as `hold` and `leases` say it")
    release.examples("setpoint image release 3f2a9c1e00aa77b2")
    leases = commands.add("leases", "who holds images, and until when")
    leases.outputs("json", "yaml")


def run(arguments: Namespace) -> int:
    client = connect(arguments)
    if arguments.command == "release":
        client.release_image(arguments.id)
        print(f"released {output.clean(arguments.id)}")
        return 0
    if arguments.command == "hold":
        hold(client, arguments.name, arguments.time, arguments.id)
        return 0
    found = client.image_leases()
    if arguments.output:
        output.print_data(found, arguments.output)
    else:
        rows = [
            (
                each["id"],
                each["image"][7:19],
                each["owner"],
                f"in {output.span(each['expires_at'] - time.time())}",
            )
            for each in found
        ]
        print(output.table(("ID", "IMAGE", "OWNER", "ENDS"), rows))
    return 0


def hold(client: Client, name: str, length: float, id: str = "") -> None:
    """Ask for a lease, in the name of who runs this."""
    lease = client.hold_image(name, length, f"{getpass.getuser()} by hand", id)
    print(f"held {output.clean(name)} until {output.clock(lease['expires_at'])}: lease {lease['id']}")
