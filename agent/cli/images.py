"""`setpoint image`: pull, load, import, ls, rm. Archives are read by the agent where it can see them, so that
nothing is copied through a socket for the usual case.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.cli import (
    archives,
    build,
    image_details,
    image_leases,
    image_lock,
    image_registry,
    image_update,
    output,
)
from agent.cli.connect import connect
from agent.cli.image_progress import Progress
from agent.cli.parser import Parser, seconds
from agent.wire import AgentDown
from runtime.errors import NotFound, SetpointError

_FORCE = "take names from other images that have them"


def add_image(parser: Parser) -> None:
    commands = parser.commands()
    load = commands.add("load", "take images from an OCI or docker archive, or an OCI layout")
    load.add_argument("file", metavar="FILE", help="archive or directory; - reads stdin")
    load.add_argument("--force", action="store_true", help=_FORCE)
    load.examples("setpoint image load busybox.tar", "docker save nginx | setpoint image load -")
    archives.add_save(commands)
    pull = commands.add("pull", "fetch images from their registries")
    pull.add_argument(
        "names", nargs="+", metavar="NAME", help="name[:tag][@digest]; a host before it, or the hub's"
    )
    pull.add_argument("--platform", default="", metavar="OS/ARCH", help="linux/arm64, …; this host's")
    pull.add_argument("--lease", type=seconds, metavar="TIME", default=0.0, help="keep it for this time")
    pull.examples("setpoint image pull nginx:1.27", "setpoint image pull ghcr.io/org/app@sha256:…")
    take = commands.add("import", "make an image of a root file system's tar")
    take.add_argument("file", metavar="FILE", help="tar, also packed; - reads stdin")
    take.add_argument("image", metavar="NAME", help="name[:tag] to give it")
    take.add_argument(
        "-c", "--change", action="append", default=[], metavar="INSTRUCTION",
        help="as in a Dockerfile (CMD, ENV, USER, …), for its config; may be repeated",
    )  # fmt: skip
    take.add_argument("--force", action="store_true", help=_FORCE)
    take.examples(
        "setpoint image import rootfs.tar.gz lab/base:1",
        "mmdebstrap stable - | setpoint image import - lab/debian:1 --change 'CMD bash'",
    )
    listing = commands.add("ls", "list images")
    listing.add_argument(
        "names", nargs="*", metavar="NAME", help="only these; exit code 1 when one is missing"
    )
    listing.add_argument("-q", "--quiet", action="store_true", help="only ids")
    listing.outputs()
    listing.examples("setpoint image ls", "setpoint image ls -q busybox:latest")
    check = commands.add("check", "compare images with their digests")
    check.add_argument("names", nargs="*", metavar="NAME", help="only these; exit code 1 when one is damaged")
    check.add_argument("--repair", action="store_true", help="unpack again, or pull again, what is damaged")
    check.examples("setpoint image check", "setpoint image check --repair nginx:1.27")
    remove = commands.add("rm", "remove images")
    remove.add_argument("names", nargs="+", metavar="NAME", help="name:tag or id")
    remove.add_argument("--force", action="store_true", help="also when objects want it")
    remove.examples("setpoint image rm lab/base:1")
    build.add_commands(commands)
    image_leases.add(commands)
    image_lock.add_commands(commands)
    image_update.add_commands(commands)
    image_details.add_commands(commands)
    image_registry.add_commands(commands)
    parser.examples("setpoint image load busybox.tar", "setpoint image ls")


def run_image(arguments: Namespace) -> int:
    verbs = {"pull": _pull, "load": _load, "import": _import, "ls": _list, "rm": _remove, "check": _check}
    verbs |= dict.fromkeys(("hold", "release", "leases"), image_leases.run)
    verbs |= {"lock": image_lock.lock, "update": image_update.update}
    verbs |= {"push": image_registry.push, "search": image_registry.search, "tags": image_registry.tags}
    verbs |= {"inspect": image_details.inspect, "history": image_details.history, "tag": image_details.tag}
    verbs |= {"save": archives.run_save}
    verbs |= {"build": build.build, "builds": build.builds}
    return verbs[arguments.command](arguments)


def _pull(arguments: Namespace) -> int:
    client = connect(arguments)
    for name in arguments.names:
        _show(client.pull_image(name, platform=arguments.platform), "pulled")
        if arguments.lease:
            image_leases.hold(client, name, arguments.lease)
    return 0


def _load(arguments: Namespace) -> int:
    client = connect(arguments)
    if arguments.file == "-":
        return _show(client.load_image(sys.stdin.buffer, force=arguments.force))
    return _show(client.load_image(_existing("load image", arguments.file), force=arguments.force))


def _import(arguments: Namespace) -> int:
    client = connect(arguments)
    source = sys.stdin.buffer if arguments.file == "-" else _existing("import image", arguments.file)
    return _show(client.import_image(source, arguments.image, arguments.change, force=arguments.force))


def _check(arguments: Namespace) -> int:
    from agent.cli.image_check import check

    return check(connect(arguments), arguments.names, repair=arguments.repair)


def _existing(op: str, name: str) -> str:
    if not Path(name).exists():
        raise NotFound(op, name, "no such file", "")
    return name


def _show(lines: Iterator[dict[str, Any]], done: str = "loaded") -> int:
    """Progress on a terminal's one line; then what was taken."""
    watched, progress = sys.stderr.isatty(), Progress()
    try:
        for line in lines:
            if "images" in line:
                progress.clear(watched)
                for image in line["images"]:
                    print(f"{done} {names_of(image)}")
            elif watched:
                progress.show(line)
    finally:
        progress.clear(watched)
    return 0


def names_of(image: Any) -> str:
    data = output.mapping(image)
    if not data:
        return output.clean(image)
    return output.clean(", ".join(data.get("names") or ()) or short_id(str(data.get("id", ""))))


def _list(arguments: Namespace) -> int:
    images = connect(arguments).images()
    if arguments.names:
        images = [_named(images, name) for name in arguments.names]
    if arguments.output in ("json", "yaml"):
        output.print_data(images, arguments.output)
    elif arguments.quiet:
        print("\n".join(output.clean(image["id"]) for image in images))
    else:
        rows = [
            (
                name,
                short_id(image["id"]),
                output.size(image.get("size_bytes")),
                output.ago(image.get("created_at")),
                f"unhealthy: {image['damage']}" if image.get("damage") else "",
            )
            for image in images
            for name in image.get("names") or ["<none>"]
        ]
        print(output.table(("NAME", "ID", "SIZE", "MADE", ""), rows))
    return 0


def _named(images: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """The image with that name (its registry, library/ and :latest may be left out) or id."""
    full = name if ":" in name.rpartition("/")[2] or "@" in name else f"{name}:latest"
    for image in images:
        names = list(image.get("names") or ())
        if full in names or any(n.endswith("/" + full) for n in names):
            return image
        if (
            str(image["id"]).removeprefix("sha256:").startswith(name.removeprefix("sha256:"))
            and len(name) >= 6
        ):
            return image
    raise NotFound("find image", name, "not in the store", f"setpoint image pull {name}")


def short_id(identity: str) -> str:
    return identity.removeprefix("sha256:")[:12]


def _remove(arguments: Namespace) -> int:
    client = connect(arguments)
    failed = False
    for name in arguments.names:
        try:
            client.remove_image(name, force=arguments.force)
        except AgentDown:
            raise
        except SetpointError as error:  # one that cannot go keeps none of the others
            output.print_error(error)
            failed = True
            continue
        print(f"removed {output.clean(name)}")
    return int(failed)
