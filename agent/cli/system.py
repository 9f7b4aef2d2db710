"""`setpoint system df` and `setpoint system prune`: what takes room, and what of it may go, each with its
reason. Nothing goes before a yes.
"""

from __future__ import annotations

import argparse
import sys
from argparse import Namespace
from typing import Any

from agent.cli import output
from agent.cli.connect import connect
from agent.cli.parser import Parser, seconds
from runtime.errors import Invalid


def add_system(parser: Parser) -> None:
    commands = parser.commands()
    use = commands.add("df", "what takes room on the disk, by kind")
    use.add_argument(
        "--count", type=seconds, metavar="TIME", default=2.0,
        help="how long containers and volumes are counted (2s); what is not done by then is more",
    )  # fmt: skip
    use.outputs()
    use.examples(
        "setpoint system df                 by kind",
        "setpoint system df -o wide         each image, container and volume, and why it is kept",
        "setpoint system df -o json --count 60s",
    )
    prune = commands.add("prune", "remove what nothing needs; asks first")
    prune.add_argument("--all", action="store_true", help="images with a name too, if nothing needs them")
    prune.add_argument(
        "--volumes", action="store_true", help="volumes that nothing wants, too: their data are gone then"
    )
    prune.add_argument(
        "--filter", action="append", default=[], type=until, metavar="until=TIME",
        help="only what was not used for so long",
    )  # fmt: skip
    prune.add_argument("--dry-run", action="store_true", help="say what would go and what stays; ask nothing")
    prune.add_argument("-y", "--yes", action="store_true", help="do not ask")
    prune.outputs("json", "yaml")
    prune.examples(
        "setpoint system prune                          images without a name, content of no image",
        "setpoint system prune --all --dry-run          what would go, and why the others stay",
        "setpoint system prune --all --filter until=240h --yes",
    )
    parser.examples("setpoint system df", "setpoint system prune --dry-run")


def until(text: str) -> float:
    name, _, value = text.partition("=")
    if name != "until" or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is no filter; write until=24h")
    return seconds(value)


def run_system(arguments: Namespace) -> int:
    return {"df": _use, "prune": _prune}[arguments.command](arguments)


# --- df -------------------------------------------------------------------------------------------


def _use(arguments: Namespace) -> int:
    found = connect(arguments).disk_use(arguments.count)
    if arguments.output in ("json", "yaml"):
        output.print_data(found, arguments.output)
        return 0
    print("\n".join(use_lines(found)))
    if arguments.output == "wide":
        print("\n" + "\n".join(item_lines(found)))
    return 0


def use_lines(found: dict[str, Any]) -> list[str]:
    images, containers, volumes = found["images"], found["containers"], found["volumes"]
    rows = [
        ("images", images["count"], images["in_use"], output.size(images["bytes"]),
         output.size(images["reclaimable_bytes"])),
        ("build cache", found["build_cache"]["count"], "-", output.size(found["build_cache"]["bytes"]),
         output.size(found["build_cache"]["bytes"])),
        ("containers", containers["count"], containers["in_use"], _at_least(containers), "-"),
        ("volumes", volumes["count"], "-", _at_least(volumes), "-"),
        ("logs", found["logs"]["count"], "-", output.size(found["logs"]["bytes"]), "-"),
        ("database", found["database"]["count"], "-", output.size(found["database"]["bytes"]), "-"),
        ("ballast", found["ballast"]["count"], "-", output.size(found["ballast"]["bytes"]), "-"),
    ]  # fmt: skip
    lines = [output.table(("WHAT", "COUNT", "IN USE", "SIZE", "MAY GO"), rows), ""]
    lines.append(
        f"images: {output.size(images['layer_bytes'])} in {images['layers']} unpacked layers, "
        f"{output.size(images['packed_bytes'])} packed; {output.size(images['shared_bytes'])} of it is shared"
    )
    if images["litter_bytes"]:
        lines.append(f"{output.size(images['litter_bytes'])} of content belongs to no image")
    if not (containers["is_whole"] and volumes["is_whole"]):
        lines.append("not all trees were counted to the end: `--count 60s` takes longer")
    disk = found["disk"]
    lines.append(f"disk: {output.size(disk['free_bytes'])} of {output.size(disk['total_bytes'])} free")
    return lines


def item_lines(found: dict[str, Any]) -> list[str]:
    images = [
        (", ".join(item["names"]) or item["id"][7:19], output.size(item["bytes"]),
         output.size(item["unshared_bytes"]), output.ago(item["used_at"]), item["why"])
        for item in sorted(found["images"]["items"], key=lambda item: -item["bytes"])
    ]  # fmt: skip
    trees = [
        (kind, item["name"], _at_least(item))
        for kind in ("containers", "volumes")
        for item in sorted(found[kind]["items"], key=lambda item: -item["bytes"])
    ]
    return [
        output.table(("IMAGE", "SIZE", "UNSHARED", "USED", "WHY IT IS KEPT"), images),
        "",
        output.table(("KIND", "NAME", "SIZE"), trees),
    ]


def _at_least(item: dict[str, Any]) -> str:
    size = output.size(item["bytes"])
    return size if item["is_whole"] else f"over {size}"


# --- prune ----------------------------------------------------------------------------------------


def _prune(arguments: Namespace) -> int:
    client = connect(arguments)
    wishes = {"all": arguments.all, "volumes": arguments.volumes, "until": max(arguments.filter, default=0.0)}
    is_data = arguments.output in ("json", "yaml")
    if is_data and not (arguments.dry_run or arguments.yes):
        raise Invalid("prune", "", "it would ask, and the answer is to be data", "add --yes or --dry-run")
    if not arguments.yes or arguments.dry_run:
        planned = client.plan_prune(**wishes)
        if is_data:
            output.print_data(planned, arguments.output)
            return 0
        print("\n".join(plan_lines(planned, with_staying=arguments.dry_run)))
        if arguments.dry_run or not any(thing["goes"] for thing in planned["things"]) or not _is_yes():
            return 0
    done = client.prune_system(**wishes)
    if is_data:
        output.print_data(done, arguments.output)
    else:
        print("\n".join(done_lines(done)))
    return 1 if any(thing["error"] for thing in done["things"]) else 0


def plan_lines(planned: dict[str, Any], *, with_staying: bool) -> list[str]:
    going = [thing for thing in planned["things"] if thing["goes"]]
    staying = [thing for thing in planned["things"] if not thing["goes"]]
    lines = [f"{output.paint('-', 'red')} {thing_line(thing)}" for thing in going]
    if with_staying:
        lines += [f"  {thing_line(thing)} (stays)" for thing in staying]
    if not going:
        kept = f"; {len(staying)} stay (--dry-run says why)" if staying and not with_staying else ""
        return [*lines, f"nothing to remove{kept}"]
    return [*lines, f"{len(going)} would go, {output.size(planned['bytes'])}; {len(staying)} stay"]


def done_lines(done: dict[str, Any]) -> list[str]:
    lines = [f"removed {thing_line(thing)}" for thing in done["things"] if thing["goes"]]
    lines += [
        output.clean(f"not removed: {thing['kind']} {thing['name']}: {thing['error']}")
        for thing in done["things"]
        if thing["error"]
    ]
    return [*lines, f"{output.size(done['bytes'])} freed"]


def thing_line(thing: dict[str, Any]) -> str:
    name = thing["name"] or str(thing["id"]).removeprefix("sha256:")[:12]
    label = f"{thing['kind']} {name}" if name else str(thing["kind"])
    return output.clean(f"{label}, {output.size(thing['bytes'])}: {thing['why']}")


def _is_yes() -> bool:
    """On a terminal alone: a script says --yes."""
    if not sys.stdin.isatty():
        raise Invalid("prune", "", "nobody is here to be asked", "add --yes")
    return input("Remove these? [y/N] ").strip().lower() in ("y", "yes")
