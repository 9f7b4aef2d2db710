"""`setpoint image build` and `setpoint image builds`: build an image of a Dockerfile, and look at builds that
were. The agent builds; this reads what only the caller can (secrets, a Dockerfile from elsewhere), and shows.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from argparse import Namespace
from pathlib import Path
from typing import IO, Any

from agent.cli import output
from agent.cli.build_show import BuildOutput, show_log
from agent.cli.connect import connect
from agent.cli.parser import Commands
from runtime.errors import Invalid, NotFound

MAX_SECRET_BYTES = 500 * 1024  # as BuildKit has it


def add_commands(commands: Commands) -> None:
    build = commands.add("build", "build an image of a Dockerfile")
    build.add_argument(
        "context", metavar="CONTEXT", help="directory or repository that it takes files from; - reads a tar"
    )
    build.add_argument("-f", "--file", metavar="FILE", default="", help="the Dockerfile; - reads stdin")
    build.add_argument(
        "-t", "--tag", action="append", default=[], metavar="NAME", help="name[:tag] to give it"
    )
    build.add_argument("--target", default="", metavar="STAGE", help="build up to this stage")
    build.add_argument("--build-arg", action="append", default=[], metavar="NAME[=VALUE]", help="for ARG")
    build.add_argument("--label", action="append", default=[], metavar="NAME=VALUE", help="on the image")
    build.add_argument("--secret", action="append", default=[], metavar="id=ID,src=FILE|env=NAME",
                       help="for RUN --mount=type=secret; it is in no layer, log or cache")  # fmt: skip
    build.add_argument("--ssh", action="append", default=[], metavar="ID[=SOCKET]",
                       help="an ssh agent for RUN --mount=type=ssh ($SSH_AUTH_SOCK)")  # fmt: skip
    build.add_argument("--network", choices=("default", "none", "host"), default="default",
                       help="of RUN steps: default, none or host")  # fmt: skip
    build.add_argument(
        "--platform", default="", metavar="OS/ARCH", help="what it is for; only this machine's"
    )
    build.add_argument("--check", action="store_true",
                       help="tell what is wrong with the Dockerfile, and build nothing")  # fmt: skip
    build.add_argument("--no-cache", action="store_true", help="run every step")
    build.add_argument("--cache-from", action="append", default=[], metavar="NAME",
                       help="an image that --cache-to pushed: its steps are not run again")  # fmt: skip
    build.add_argument("--cache-to", default="", metavar="NAME", help="push what steps came to, for others")
    build.add_argument("--pull", action="store_true", help="ask the registry for base images that are here")
    build.add_argument("-m", "--memory", type=_bytes, default=None, metavar="SIZE", help="of each RUN step")
    build.add_argument("--cpus", type=float, default=None, metavar="N", help="of each RUN step")
    build.add_argument("--iidfile", default="", metavar="FILE", help="write the image's id to it")
    build.add_argument("-q", "--quiet", action="store_true", help="print only the image's id")
    build.add_argument(
        "--progress", choices=("auto", "plain", "tty"), default="auto", help="auto, plain or tty"
    )
    build.examples(
        "setpoint image build -t lab/web:1 .",
        "setpoint image build --target test --build-arg VERSION=1.2 .",
        "setpoint image build --secret id=token,src=token.txt -t lab/web:1 web/",
        "SOURCE_DATE_EPOCH=0 setpoint image build -t lab/web:1 .   # the same digest each time",
        "git archive HEAD | setpoint image build -t lab/web:1 -",
        "setpoint image build -t lab/web:1 https://example.org/shop.git#v1.2:web",
        "setpoint image build --check .   # every mistake with its line, without building",
    )
    builds = commands.add("builds", "list builds, or print what one said")
    builds.add_argument("id", nargs="?", default="", metavar="BUILD", help="print this one's output")
    builds.outputs("json", "yaml")
    builds.examples("setpoint image builds", "setpoint image builds 3fa4")


def build(arguments: Namespace) -> int:
    if arguments.check:
        from agent.cli.build_check import check

        return check(arguments, dict(_argument(text) for text in arguments.build_arg))
    order = _order(arguments)
    client = connect(arguments)
    plain = arguments.progress == "plain" or (arguments.progress == "auto" and not sys.stderr.isatty())
    shown = BuildOutput(plain=plain, quiet=arguments.quiet)
    image: dict[str, Any] = {}
    try:
        for line in client.build_image(order, _context(arguments, order)):
            if "images" in line:
                image = dict(output.mapping(line["images"][0]))
            elif "kind" in line:
                shown.show(line)
    finally:
        shown.close()
    if arguments.iidfile:
        Path(arguments.iidfile).write_text(str(image.get("id", "")))
    if arguments.quiet:
        print(output.clean(str(image.get("id", ""))))
    else:
        names = ", ".join(image.get("names") or ())
        print(output.clean(f"built {names or 'an image without a name'} {str(image.get('id', ''))[7:19]}"))
    return 0


def builds(arguments: Namespace) -> int:
    client = connect(arguments)
    if arguments.id:
        show_log(line for line in client.build_log(arguments.id))
        return 0
    found = client.builds()
    if arguments.output:
        output.print_data(found, arguments.output)
        return 0
    rows = [
        (
            str(each.get("id", ""))[:12],
            ", ".join(each.get("tags") or ()) or "<none>",
            str(each.get("state", "")),
            f"{each.get('run', 0)} run, {each.get('cached', 0)} cached" if "run" in each else "",
            output.ago(each.get("started_at")),
            str(each.get("error", "")).split("\n", 1)[0],
        )
        for each in found
    ]
    print(output.table(("BUILD", "NAME", "STATE", "STEPS", "BEGAN", "WHY"), rows))
    return 0


# --- the order ------------------------------------------------------------------------------------


def _order(arguments: Namespace) -> dict[str, Any]:
    order: dict[str, Any] = {
        "tags": arguments.tag,
        "target": arguments.target,
        "arguments": dict(_argument(text) for text in arguments.build_arg),
        "labels": dict(_pair("--label", text) for text in arguments.label),
        "network": arguments.network,
        "no_cache": arguments.no_cache,
        "pull": arguments.pull,
        "platform": arguments.platform,
        "secrets": dict(_secret(text) for text in arguments.secret),
        "ssh": dict(_ssh(text) for text in arguments.ssh),
        "epoch": _epoch(),
        "cache_from": arguments.cache_from,
        "cache_to": arguments.cache_to,
        "memory_bytes": arguments.memory,
        "cpus": arguments.cpus,
    }
    _add_context(order, arguments)
    return order


def _add_context(order: dict[str, Any], arguments: Namespace) -> None:
    if _is_repository(arguments.context):
        order |= {"context_kind": "git", "context": arguments.context, "dockerfile": arguments.file}
        return
    if arguments.context == "-":
        if arguments.file == "-":
            raise Invalid("build image", "-", "stdin cannot be both the context and the Dockerfile", "")
        order |= {"context_kind": "tar", "dockerfile": arguments.file}
        return
    directory = os.path.abspath(arguments.context)  # noqa: PTH100 - links are the agent's to resolve
    if not Path(directory).is_dir():
        raise NotFound("build image", arguments.context, "no such directory", "")
    is_local = os.geteuid() == 0 and not connect(arguments).is_remote
    order |= {"context_kind": "directory" if is_local else "tar", "context": directory}
    if arguments.file == "-":
        order |= {"dockerfile_text": sys.stdin.read()}
    elif arguments.file:
        _add_file(order, arguments.file, directory)


def _is_repository(text: str) -> bool:
    """`https://host/path[.git]#ref:directory`, `ssh://…`, `user@host:path`."""
    return "://" in text or (not Path(text).exists() and bool(re.match(r"[\w.-]+@[\w.-]+:\S", text)))


def _add_file(order: dict[str, Any], name: str, directory: str) -> None:
    """By its name in the context, or as text where it lies elsewhere. It is looked for from here."""
    path = Path(name)
    if not path.is_file() and not (path := Path(directory, name)).is_file():
        raise NotFound("build image", name, "no such Dockerfile", "")
    whole = os.path.abspath(path)  # noqa: PTH100
    if whole.startswith(f"{directory}/"):
        order["dockerfile"] = whole[len(directory) + 1 :]
    else:
        order |= {"dockerfile": path.name, "dockerfile_text": path.read_text(errors="surrogateescape")}


def _context(arguments: Namespace, order: dict[str, Any]) -> IO[bytes] | None:
    if order["context_kind"] != "tar":
        return None
    if arguments.context == "-":
        return sys.stdin.buffer
    from agent.cli.build_context import pack

    return pack(Path(arguments.context), str(order.get("dockerfile", "")))


def _argument(text: str) -> tuple[str, str]:
    """Without a value, the caller's variable of that name, as in other tools."""
    name, equals, value = text.partition("=")
    if not name:
        raise Invalid("build image", f"--build-arg {text}", "no name", "write NAME=VALUE")
    return name, value if equals else os.environ.get(name, "")


def _pair(option: str, text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not name:
        raise Invalid("build image", f"{option} {text}", "no name", "write NAME=VALUE")
    return name, value


def _secret(text: str) -> tuple[str, str]:
    """(id, content in base64). `id=ID,src=FILE`, `id=ID,env=NAME`, or `id=ID`: a variable of that name."""
    import base64

    words = dict(_pair("--secret", word) for word in text.split(","))
    name = words.get("id", "")
    source = words.get("src") or words.get("source")
    if not name:
        raise Invalid("build image", f"--secret {text}", "no id", "--secret id=ID,src=FILE")
    variable = words.get("env") or ("" if source else name)
    if variable and variable in os.environ:
        content = os.environb[os.fsencode(variable)]
    elif source:
        try:
            content = Path(source).read_bytes()
        except OSError as error:
            raise NotFound("read secret", source, error.strerror or str(error), "") from error
    else:
        raise NotFound("read secret", name, "there is no variable of that name", "--secret id=ID,src=FILE")
    if len(content) > MAX_SECRET_BYTES:
        raise Invalid("read secret", name, f"longer than {MAX_SECRET_BYTES} bytes")
    return name, base64.b64encode(content).decode()


def _ssh(text: str) -> tuple[str, str]:
    name, _, path = text.partition("=")
    path = path or os.environ.get("SSH_AUTH_SOCK", "")
    if not path:
        raise Invalid(
            "build image", f"--ssh {text}", "there is no ssh agent", "start one, or --ssh ID=SOCKET"
        )
    return name or "default", os.path.abspath(path)  # noqa: PTH100


def _epoch() -> int | None:
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not text.isdecimal():
        raise Invalid("build image", "SOURCE_DATE_EPOCH", f"{text[:40]!r} is no count of seconds", "")
    return int(text)


def _bytes(text: str) -> int:
    units = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
    number, unit = text.rstrip("bBkKmMgG"), text[len(text.rstrip("bBkKmMgG")) :].lower()
    if not number.isdecimal() or unit not in units:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 512m or 2g")
    return int(number) * units[unit]
