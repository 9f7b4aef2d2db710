"""`setpoint image push`, `search` and `tags`: what is done with registries beside pulls."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from agent.cli import output
from agent.cli.connect import connect
from agent.cli.image_progress import Progress
from agent.cli.parser import Commands

MAX_SHOWN = 60  # characters of a description


def add_commands(commands: Commands) -> None:
    push = commands.add("push", "bring images to the registries of their names")
    push.add_argument("names", nargs="+", metavar="NAME", help="HOST/name[:tag]; without a host the hub's")
    push.add_argument("-q", "--quiet", action="store_true", help="only the digest")
    push.examples(
        "setpoint image tag app:1 registry.example.com/team/app:1",
        "setpoint image push registry.example.com/team/app:1",
    )
    search = commands.add("search", "find repositories in a registry")
    search.add_argument("word", metavar="[HOST/]WORD", help="HOST/ alone lists what a registry has")
    search.add_argument("--limit", type=int, default=25, metavar="N", help="at most so many (25)")
    search.outputs("json", "yaml")
    search.examples("setpoint image search postgres", "setpoint image search registry.example.com/")
    tags = commands.add("tags", "list the tags that a registry has of an image")
    tags.add_argument("name", metavar="NAME", help="[HOST/]name")
    tags.add_argument("--limit", type=int, default=1000, metavar="N", help="at most so many (1000)")
    tags.examples("setpoint image tags nginx")


def push(arguments: Namespace) -> int:
    client = connect(arguments)
    for name in arguments.names:
        watched, progress = sys.stderr.isatty() and not arguments.quiet, Progress()
        try:
            for line in client.push_image(name):
                if "pushed" in line:
                    progress.clear(watched)
                    print(_done(line["pushed"], quiet=arguments.quiet))
                elif watched:
                    progress.show(line)
        finally:
            progress.clear(watched)
    return 0


def _done(pushed: Any, *, quiet: bool) -> str:
    data = output.mapping(pushed)
    digest = output.clean(data.get("digest", ""))
    if quiet:
        return digest
    counts = [(data.get(key), words) for key, words in _COUNTS]
    said = ", ".join(f"{count} {words}" for count, words in counts if count)
    size = f", {output.size(data.get('sent_bytes'))}" if data.get("sent") else ""
    return f"pushed {output.clean(data.get('name', ''))} {digest} ({said}{size})"


_COUNTS = (("sent", "sent"), ("mounted", "taken from other repositories"), ("there", "there already"))


def search(arguments: Namespace) -> int:
    domain, word = split_word(arguments.word)
    found = connect(arguments).search_images(word, registry=domain, limit=arguments.limit)
    if arguments.output:
        output.print_data(found, arguments.output)
        return 0
    has_stars = any(int(each.get("stars", -1)) >= 0 for each in found)
    headings = ("NAME", "STARS", "OFFICIAL", "DESCRIPTION") if has_stars else ("NAME", "DESCRIPTION")
    print(output.table(headings, [_row(each, has_stars=has_stars) for each in found]))
    return 0


def _row(found: Mapping[str, Any], *, has_stars: bool) -> tuple[str, ...]:
    text = str(found.get("description", ""))
    text = text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
    name, stars = str(found.get("name", "")), int(found.get("stars", -1))
    if not has_stars:
        return name, text
    return name, str(stars) if stars >= 0 else "", "yes" if found.get("is_official") else "", text


def split_word(text: str) -> tuple[str, str]:
    """`registry.example.com/app` is a registry's; `library/app` is the hub's."""
    first, slash, rest = text.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    return (first, rest) if is_host else ("", text)


def tags(arguments: Namespace) -> int:
    found = connect(arguments).image_tags(arguments.name, limit=arguments.limit)
    print("\n".join(output.clean(tag) for tag in found))
    return 0
