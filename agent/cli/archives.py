"""`setpoint export`, `diff` and `commit`, and `setpoint image save`: what goes out of containers and images.

An archive is written beside its name and renamed when it is whole, so that what is there can be trusted.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from argparse import BooleanOptionalAction, Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from agent.cli import output
from agent.cli.connect import Client, connect
from agent.cli.image_progress import Progress
from agent.cli.parser import Commands, Parser
from runtime.errors import Conflict, Invalid

_SHOWN_SECONDS = 0.1
FORMATS = ("docker-archive", "oci-archive", "oci-layout")


def add_export(parser: Parser) -> None:
    _add_container(parser, nargs="?", default="")
    parser.add_argument("-o", "--output", default="", metavar="FILE", help="where to; - is stdout")
    parser.add_argument("--to", default="", metavar="DIR", help="write manifests of what is unmanaged there")
    parser.examples(
        "setpoint export                     the manifests of all that the Docker API made",
        "setpoint export --to .              written where they are watched: the next commit takes it over",
        "setpoint export shop/web -o web.tar",
        "setpoint export shop/web -o - | tar tv",
        "setpoint export shop/web -o - | setpoint image import - lab/web:1",
    )


def run_export(arguments: Namespace) -> int:
    client = connect(arguments)
    if not arguments.container:
        return _export_manifests(arguments, client)
    if arguments.to or not arguments.output:
        raise Invalid("export", arguments.container, "a container goes to a file", "-o FILE")
    return _write(arguments.output, client.export(arguments.container, arguments.replica))


def _export_manifests(arguments: Namespace, client: Client) -> int:
    """What `adopt --all` does."""
    from agent.cli.adopt import adopt

    if arguments.output:
        raise Invalid("export", "", "manifests go to a directory", "--to DIR")
    return adopt(Namespace(**vars(arguments), names=[], all=True, path="", project="", commit=False), client)


def add_diff(parser: Parser) -> None:
    _add_container(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.examples("setpoint diff shop/web", "setpoint diff shop/web --json")


def run_diff(arguments: Namespace) -> int:
    """A line for each: A added, C changed, D deleted; a deleted one that was made anew is D, its files A."""
    found = connect(arguments).diff(arguments.container, arguments.replica)
    if arguments.json:
        output.print_data(found, "json")
        return 0
    for change in found:
        print(output.clean(f"{change['kind']} {change['path']}"))
    return 0


def add_commit(parser: Parser) -> None:
    _add_container(parser)
    parser.add_argument("name", metavar="NAME", help="name[:tag] of the new image")
    parser.add_argument(
        "-c", "--change", action="append", default=[], metavar="INSTRUCTION",
        help="as in a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, "
        "USER, VOLUME, WORKDIR; may be repeated",
    )  # fmt: skip
    parser.add_argument("-m", "--message", default="", help="for the image's history")
    parser.add_argument("-a", "--author", default="", help="for the image's history")
    parser.add_argument(
        "--pause",
        action=BooleanOptionalAction,
        default=True,
        help="it stands still while it is read (default)",
    )
    parser.add_argument("--force", action="store_true", help="take the name from another image that has it")
    parser.examples(
        "setpoint commit shop/web lab/web:1",
        """setpoint commit shop/web lab/web:1 --change 'CMD ["nginx"]' --change 'ENV DEBUG=1'""",
        "setpoint commit shop/web lab/web:2 --no-pause -m 'before the update'",
    )


def run_commit(arguments: Namespace) -> int:
    """The image's own config stays: what the manifest gives the container is no part of the new one."""
    body = {
        "name": arguments.name, "changes": arguments.change, "message": arguments.message,
        "author": arguments.author, "pause": arguments.pause, "force": arguments.force,
    }  # fmt: skip
    return show(connect(arguments).commit(arguments.container, body, arguments.replica), "committed")


def add_save(commands: Commands) -> None:
    save = commands.add("save", "write images to an archive that other engines load")
    save.add_argument("names", nargs="+", metavar="NAME", help="name:tag or id")
    _add_output(save)
    save.add_argument(
        "--format", choices=FORMATS, default=FORMATS[0], metavar="FORM",
        help=f"{FORMATS[0]} (default; docker and podman load it), {FORMATS[1]}, or {FORMATS[2]}: a directory",
    )  # fmt: skip
    save.examples(
        "setpoint image save nginx:1.27 -o nginx.tar",
        "setpoint image save shop/web:1 shop/db:1 -o - | ssh host docker load",
        "setpoint image save nginx:1.27 --format oci-layout -o nginx/",
    )


def run_save(arguments: Namespace) -> int:
    client = connect(arguments)
    if arguments.format != FORMATS[2]:
        return _write(arguments.output, client.save_images(arguments.names, arguments.format))
    if arguments.output == "-":
        raise Invalid("save image", "", "a directory cannot go to stdout", f"--format {FORMATS[1]}")
    from agent.cli.layout import write_layout

    write_layout(Path(arguments.output), _watched(client.save_images(arguments.names, FORMATS[1])))
    return 0


def show(lines: Iterator[dict[str, Any]], done: str) -> int:
    """Progress on a terminal's one line; then the names of what was made."""
    watched, progress = sys.stderr.isatty(), Progress()
    try:
        for line in lines:
            if "images" in line:
                progress.clear(watched)
                for image in line["images"]:
                    print(output.clean(f"{done} {', '.join(image['names']) or image['id']}"))
            elif watched:
                progress.show(line)
    finally:
        progress.clear(watched)
    return 0


def _add_container(parser: Parser, **more: Any) -> None:
    parser.add_argument("container", metavar="CONTAINER", help="project/name or a key", **more)
    parser.add_argument("--replica", type=int, default=None, metavar="N", help="which replica (from 1)")


def _add_output(parser: Any) -> None:
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="where to; - is stdout")


def _write(name: str, pieces: Iterable[bytes]) -> int:
    """To a file, which is there when it is whole, or to stdout."""
    if name == "-":
        if sys.stdout.isatty():
            raise Invalid("write archive", "", "stdout is a terminal", "-o FILE, or pipe it on")
        for piece in _watched(pieces):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return 0
    with new_file(Path(name)) as file:
        for piece in _watched(pieces):
            file.write(piece)
    return 0


def _watched(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """With how much there is of it so far, and how fast, on a terminal."""
    if not sys.stderr.isatty():
        yield from pieces
        return
    began_at, shown_at, done = time.monotonic(), 0.0, 0
    try:
        for piece in pieces:
            done += len(piece)
            yield piece
            now = time.monotonic()
            if now - shown_at >= _SHOWN_SECONDS:
                shown_at = now
                speed = output.size(int(done / max(now - began_at, 0.001)))
                print(f"\r\x1b[K{output.size(done)}, {speed}/s", end="", file=sys.stderr, flush=True)
    finally:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """A file beside `path`, which takes its place at the end; nothing is left of it after an error. What is
    no regular file (/dev/null, a FIFO) is written to as it is."""
    if path.exists() and not path.is_file():
        if path.is_dir():
            raise Conflict("write archive", str(path), "it is a directory", "name a file")
        with path.open("wb") as file:
            yield file
        return
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as file:
            yield file
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
