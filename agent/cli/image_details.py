"""`setpoint image inspect`, `history` and `tag`: what an image is, how it came to be, what it is called."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Mapping
from typing import Any

from agent.cli import output
from agent.cli.connect import connect
from agent.cli.parser import Commands

MAX_SHOWN = 70  # characters of a step


def add_commands(commands: Commands) -> None:
    inspect = commands.add("inspect", "all that is known of an image")
    inspect.add_argument("names", nargs="+", metavar="NAME", help="name[:tag][@digest], or an id")
    inspect.add_argument("--remote", action="store_true", help="as its registry has it now; pulls nothing")
    inspect.add_argument("--platform", default="", metavar="OS/ARCH", help="with --remote: not this host's")
    inspect.outputs("json", "yaml")
    inspect.examples(
        "setpoint image inspect nginx:1.27",
        "setpoint image inspect --remote ghcr.io/org/app:2 --platform linux/arm64",
    )
    history = commands.add("history", "how an image came to be, newest step first")
    history.add_argument("name", metavar="NAME", help="name[:tag][@digest], or an id")
    history.add_argument("--no-trunc", action="store_true", help="steps in full")
    history.outputs("json", "yaml")
    history.examples("setpoint image history nginx:1.27")
    tag = commands.add("tag", "give an image another name")
    tag.add_argument("source", metavar="IMAGE", help="name or id")
    tag.add_argument("names", nargs="+", metavar="NAME", help="name[:tag] that it is to have, too")
    tag.examples("setpoint image tag app:1 registry.example.com/team/app:1")


def inspect(arguments: Namespace) -> int:
    client = connect(arguments)
    options = {"remote": arguments.remote, "platform": arguments.platform}
    found = [client.inspect_image(name, **options) for name in arguments.names]
    output.print_data(found if len(found) > 1 else found[0], arguments.output or "yaml")
    return 0


def history(arguments: Namespace) -> int:
    image = connect(arguments).inspect_image(arguments.name)
    steps = steps_of(image)
    if arguments.output:
        output.print_data(steps, arguments.output)
        return 0
    rows = [
        (
            output.ago(step["created_at"]) if step["created_at"] else "",
            output.size(step["size_bytes"]) if step["layer"] else "",
            shown(step["created_by"] or "(not said)", full=arguments.no_trunc),
            step["comment"],
        )
        for step in steps
    ]
    print(output.table(("MADE", "SIZE", "STEP", "COMMENT"), rows, width=0 if arguments.no_trunc else None))
    return 0


def steps_of(image: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Newest first, each with the bytes that it added."""
    sizes = {layer["diff_id"]: layer["size_bytes"] for layer in _mappings(image.get("layers"))}
    steps = [dict(step) for step in _mappings(image.get("history"))]
    return [{**step, "size_bytes": sizes.get(step["layer"], 0)} for step in reversed(steps)]


def shown(text: str, *, full: bool) -> str:
    """One line, without what Docker's builders put before each step."""
    line = " ".join(text.split())
    for prefix in ("/bin/sh -c #(nop) ", "/bin/sh -c "):
        line = line.removeprefix(prefix)
    return line if full or len(line) <= MAX_SHOWN else line[: MAX_SHOWN - 1] + "…"


def _mappings(value: Any) -> Iterable[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def tag(arguments: Namespace) -> int:
    client = connect(arguments)
    for name in arguments.names:
        done = client.tag_image(arguments.source, name)
        print(f"tagged {output.clean(done.get('reference', name))}")
    return 0
