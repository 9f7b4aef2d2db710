"""`setpoint import docker`: what a Docker daemon runs, as manifests. Reads the daemon's API and writes files;
the daemon is not changed. With --volumes and --images the data comes along.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import struct
import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlencode

from agent.cli import output
from agent.cli.connect import connect, socket_path
from agent.cli.parser import Parser
from runtime.errors import Conflict, Invalid, NotFound, Temporary

DEFAULT_HOST = "unix:///var/run/docker.sock"
SECONDS = 60.0
SECRET = re.compile(r"PASS|SECRET|TOKEN|KEY|CREDENTIAL|AUTH|PRIVATE|_URL$|DSN", re.IGNORECASE)
HIDDEN = "(not shown)"


def add_import(parser: Parser) -> None:
    parser.add_argument("engine", choices=("docker",), metavar="docker", help="whose containers")
    parser.add_argument(
        "names",
        nargs="*",
        default=[],
        metavar="NAME",
        help="only these containers; all when none is named",
    )
    parser.add_argument(
        "--host", default="", metavar="URL", help=f"its socket ($DOCKER_HOST, {DEFAULT_HOST})"
    )
    parser.add_argument("--to", default="", metavar="DIR", help="write a file for each project there")
    parser.add_argument(
        "--project", default="", metavar="NAME", help="for what no compose project has (imported)"
    )
    parser.add_argument(
        "--volumes", action="store_true", help="copy the data of their volumes into this engine"
    )
    parser.add_argument("--images", action="store_true", help="copy images that no registry has")
    parser.examples(
        "setpoint import docker                                 print manifests of all",
        "setpoint import docker --to manifests/                 write PROJECT/compose.yaml for each project",
        "setpoint import docker web db --to manifests/ --volumes --images   two, with their data",
        "What cannot be said is a comment in the file, and a warning. Values of secrets are only in files.",
    )


def run_import(arguments: Namespace) -> int:
    """0 when all was said; what was left out is on stderr, and in the files."""
    from agent.imports.docker import import_docker
    from agent.manifest.writer.check import differences
    from agent.manifest.writer.documents import write_compose

    daemon = Daemon(arguments.host or os.environ.get("DOCKER_HOST", "") or DEFAULT_HOST)
    if daemon.is_at(socket_path(arguments.instance)):
        raise Invalid(
            "import", "", "$DOCKER_HOST is this very engine",
            f"--host {DEFAULT_HOST}, or setpoint export for what Docker's clients made here",
        )  # fmt: skip
    dump = daemon.dump()
    missing = set(arguments.names) - {str(c["Name"]).removeprefix("/") for c in dump.containers}
    missing -= {str(c["Id"])[:12] for c in dump.containers}
    if missing:
        raise NotFound(
            "import", ", ".join(sorted(missing)), "the daemon has no such container", "docker ps -a"
        )
    found = import_docker(dump, arguments.names, arguments.project)
    if not found.objects:
        print("nothing to import")
        return 0
    for project in sorted({key.project for key in found.objects}):
        path, notes = f"{project}/compose.yaml", found.notes.get(project, [])
        objects = found.of(project)
        text = write_compose(objects, path, [*notes] and ["Left out of what Docker has:", *notes])
        notes = [*notes, *(f"reads otherwise: {each}" for each in differences(objects, path, text))]
        for note in notes:
            print(output.clean(f"warning: {project}: {note}"), file=sys.stderr)
        if arguments.to:
            _write(Path(arguments.to) / path, text)
        else:
            hidden = {key: _without_secrets(spec) for key, spec in objects.items()}
            sys.stdout.write(f"# {path}\n{write_compose(hidden, path, notes)}\n")
    if arguments.volumes:
        _copy_volumes(arguments, daemon, dump, found.volumes)
    _images(arguments, daemon, dump, found.images)
    return 0


def _write(path: Path, text: str) -> None:
    """For root alone, since environments hold secrets."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise Conflict(
            "import", str(path), "the file is there already", "another --to, or --project"
        ) from None
    with open(fd, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
        file.write(text)
    print(output.clean(str(path)))


def _without_secrets(spec: Any) -> Any:
    environment = getattr(spec, "environment", None)
    if not environment:
        return spec
    shown = {name: HIDDEN if SECRET.search(name) else value for name, value in environment.items()}
    return spec.model_copy(update={"environment": shown})


def check_source(name: str, path: str, uid: int) -> None:
    """Root copies what the daemon says is its volume: Invalid for a daemon that is not root's, whose word
    could be any directory, and for a path that is no volume's. uid: of the daemon's process."""
    if uid != 0:
        raise Invalid(
            "import volumes", name, f"the daemon is user {uid}'s, not root's", "copy its files by hand"
        )
    if not path.startswith("/") or not path.endswith(f"/{name}/_data") or ".." in path.split("/"):
        raise Invalid(
            "import volume", name, f"the daemon has it in {path[:200] or 'no directory'}", "copy it by hand"
        )


def _copy_volumes(arguments: Namespace, daemon: Daemon, dump: Any, volumes: Mapping[str, str]) -> None:
    client = connect(arguments)
    users = {
        mount.get("Name"): str(c["Name"]).removeprefix("/")
        for c in dump.containers
        if (c.get("State") or {}).get("Running")
        for mount in c.get("Mounts") or ()
    }
    for name, ours in sorted(volumes.items()):
        source = str((dump.volumes.get(name) or {}).get("Mountpoint", ""))
        check_source(name, source, daemon.uid)
        if name in users:
            print(
                output.clean(f"warning: volume {name}: {users[name]} runs, and may write while it is copied"),
                file=sys.stderr,
            )
        for device in client.import_volume(ours, source).get("left_out", ()):
            words = f"warning: volume {ours}: the device {device} is left out: a volume is data"
            print(output.clean(words), file=sys.stderr)
        print(output.clean(f"volume {ours}: copied from {name}"))


def _images(arguments: Namespace, daemon: Daemon, dump: Any, names: set[str]) -> None:
    """Those that no registry has, or that is not known of."""
    local = {
        str(tag): image
        for image in dump.images.values()
        if not image.get("RepoDigests")
        for tag in image.get("RepoTags") or ()
    }
    for name in sorted(names):
        full = name if ":" in name.rpartition("/")[2] else f"{name}:latest"
        if full not in local:
            continue
        if not arguments.images:
            print(
                output.clean(f"warning: image {name} came from no registry: --images copies it"),
                file=sys.stderr,
            )
            continue
        with daemon.stream("/images/get?" + urlencode({"names": full})) as archive:
            for _line in connect(arguments).load_image(archive):
                pass
        print(output.clean(f"image {name}: copied"))


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("docker", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Daemon:
    """A Docker daemon on this host, only read. uid: whose process answers, after the first question."""

    def __init__(self, host: str) -> None:
        if not host.startswith("unix:///"):
            raise Invalid(
                "import", host[:100], "not a socket on this host", "--host unix:///var/run/docker.sock"
            )
        self._path = host.removeprefix("unix://")
        self.uid = -1

    def is_at(self, path: str) -> bool:
        return os.path.realpath(self._path) == os.path.realpath(path)

    def stream(self, path: str) -> IO[bytes]:
        connection = _Connection(self._path)
        try:
            connection.request("GET", path)
            credentials = connection.sock.getsockopt(
                socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
            )
            self.uid = struct.unpack("3i", credentials)[1]
            answer = connection.getresponse()
        except OSError as error:
            connection.close()
            why = error.strerror or str(error)
            raise Temporary("import", self._path, why, "is the Docker daemon running?") from error
        if answer.status != 200:
            raise Temporary("import", path[:100], f"the daemon answers {answer.status}: {answer.read(200)!r}")
        return answer

    def get(self, path: str) -> Any:
        with self.stream(path) as answer:
            return json.loads(answer.read())

    def dump(self) -> Any:
        from agent.imports.docker import Dump

        ids = [each["Id"] for each in self.get("/containers/json?all=1")]
        containers = tuple(self.get(f"/containers/{quote(id)}/json") for id in ids)
        images = {}
        for id in {str(container["Image"]) for container in containers}:
            try:
                images[id] = self.get(f"/images/{quote(id, safe='')}/json")
            except Temporary:  # removed while a container is made of it
                images[id] = {}
        networks = {each["Name"]: each for each in self.get("/networks")}
        volumes = {each["Name"]: each for each in self.get("/volumes").get("Volumes") or ()}
        return Dump(containers, images, networks, volumes)
