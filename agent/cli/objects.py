"""`setpoint network ls` and `setpoint volume ls|rm`: what the engine has, wanted or kept."""

from __future__ import annotations

from argparse import Namespace

from agent.cli import output
from agent.cli.connect import connect
from agent.cli.parser import Parser


def add_network(parser: Parser) -> None:
    listing = parser.commands().add("ls", "list networks")
    listing.outputs()
    listing.examples("setpoint network ls")
    parser.examples("setpoint network ls", "Networks are made and removed by manifests.")


def run_network(arguments: Namespace) -> int:
    networks = connect(arguments).networks()
    if arguments.output in ("json", "yaml"):
        output.print_data(networks, arguments.output)
        return 0
    rows = [
        (n["name"], n.get("subnet", "-"), n.get("gateway", "-"), n.get("bridge", "-"),
         "yes" if n.get("internal") else "no")
        for n in networks
    ]  # fmt: skip
    print(output.table(("NAME", "SUBNET", "GATEWAY", "BRIDGE", "INTERNAL"), rows))
    return 0


def add_volume(parser: Parser) -> None:
    commands = parser.commands()
    listing = commands.add("ls", "list volumes, those kept after their manifest went too")
    listing.outputs()
    listing.examples("setpoint volume ls")
    remove = commands.add("rm", "remove volumes AND THEIR DATA; refused while something wants them")
    remove.add_argument("names", nargs="+", metavar="NAME")
    remove.examples("setpoint volume rm shop_data")
    parser.examples("setpoint volume ls", "setpoint volume rm shop_data")


def run_volume(arguments: Namespace) -> int:
    client = connect(arguments)
    if arguments.command == "rm":
        for name in arguments.names:
            client.remove_volume(name)
            print(f"removed {output.clean(name)}")
        return 0
    volumes = client.volumes()
    if arguments.output in ("json", "yaml"):
        output.print_data(volumes, arguments.output)
        return 0
    rows = [
        (v["name"], v.get("key") or "-", output.ago(v.get("created_at")), v.get("path", "-")) for v in volumes
    ]
    print(output.table(("NAME", "OBJECT", "MADE", "PATH"), rows))
    return 0
