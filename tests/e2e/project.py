"""One project of a story: what its containers are, by the kernel's word. For the tests of single fields,
which share one instance: each module commits a project of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.layout import Layout
from tests.e2e.story import Story, eventually

BASE = """\
x-base: &base
  image: busybox:latest
  command: [sleep, "1000"]
  stop_signal: SIGKILL
"""


class Project:
    """name: the project, which is its directory's name too."""

    def __init__(self, story: Story, name: str) -> None:
        self.story = story
        self.name = name
        self.directory = story.tree / name
        self._objects: dict[str, dict[str, Any]] = {}

    # --- doing

    def commit(self, compose: str | None, files: Mapping[str, str | None] = {}) -> None:
        """files: beside compose.yaml. None removes one."""
        named = {f"{self.name}/{name}": text for name, text in files.items()}
        self.story.commit({f"{self.name}/compose.yaml": compose, **named})
        self.story.setpoint("sync")

    def apply(
        self, compose: str, files: Mapping[str, str | None] = {}, *, unready: tuple[str, ...] = ()
    ) -> None:
        """Commit, and wait until all is ready but the containers named in unready."""
        self.commit(compose, files)
        self.settle(unready=unready)

    def settle(self, *, unready: tuple[str, ...] = ()) -> None:
        def pending() -> list[str]:
            found = self.refresh().values()
            return [
                f"{one['key']} {one['phase']} {one['message']}"
                for one in found
                if one.get("deleting")
                or (
                    one["key"].rpartition("/")[2] not in unready
                    and (not one["ready"] or one["generation"] != one["observed_generation"])
                )
            ]

        last: list[list[str]] = []

        def is_settled() -> bool:
            last[:] = [pending()]
            return not last[0]

        try:
            eventually(is_settled, f"project {self.name} is settled")
        except AssertionError as error:
            raise AssertionError(f"{error}; pending: {last}") from None

    def run(self, name: str, *command: str, code: int | None = 0, options: tuple[str, ...] = ()) -> str:
        """A command's output inside a container."""
        return self.story.setpoint("exec", *options, f"{self.name}/{name}", *command, code=code)

    def sh(self, name: str, script: str, code: int | None = 0) -> str:
        return self.run(name, "sh", "-c", script, code=code)

    # --- looking

    def refresh(self) -> dict[str, dict[str, Any]]:
        """This project's objects by kind/name, as they are now."""
        prefix = f"{self.name}/"
        objects = self.story.status()["objects"]
        self._objects = {o["key"].removeprefix(prefix): o for o in objects if o["key"].startswith(prefix)}
        return self._objects

    def object(self, name: str, kind: str = "container") -> dict[str, Any]:
        """As it was at the last refresh."""
        return self._objects[f"{kind}/{name}"]

    def container(self, name: str, replica: int = 1) -> dict[str, Any]:
        found: dict[str, Any] = self.object(name)["containers"][replica - 1]
        return found

    def pid(self, name: str, replica: int = 1) -> int:
        return int(self.container(name, replica)["pid"])

    def proc(self, name: str, replica: int = 1) -> Path:
        """/proc of its first process."""
        return Path(f"/proc/{self.pid(name, replica)}")

    def root(self, name: str, path: str) -> Path:
        """A file inside, through the host's eyes; not for links that lead to absolute paths."""
        return self.proc(name) / "root" / path.lstrip("/")

    def environ(self, name: str) -> dict[str, str]:
        entries = (self.proc(name) / "environ").read_text().split("\0")
        return dict(entry.split("=", 1) for entry in entries if entry)

    def process_status(self, name: str) -> dict[str, str]:
        lines = (self.proc(name) / "status").read_text().splitlines()
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}

    def namespace(self, name: str, kind: str, replica: int = 1) -> str:
        return str((self.proc(name, replica) / "ns" / kind).readlink())

    def mounts(self, name: str) -> dict[str, tuple[set[str], str, set[str]]]:
        """target -> (the mount's options, file system, its propagation and the file system's options)."""
        found = {}
        for line in (self.proc(name) / "mountinfo").read_text().splitlines():
            before, _, after = line.partition(" - ")
            fields, rest = before.split(), after.split()
            found[fields[4]] = (set(fields[5].split(",")), rest[0], {*fields[6:], *rest[2].split(",")})
        return found

    def cgroup(self, name: str, controller: str, v1_file: str, v2_file: str) -> str:
        """The content of a limit's file, in whichever hierarchy has the controller."""
        return cgroup_value(self.pid(name), controller, v1_file, v2_file)

    def logs(self, name: str, *options: str) -> str:
        """Both streams, without the names before each line."""
        told = self.story.setpoint("logs", f"{self.name}/{name}", *options) + self.story.said
        return "".join(line.partition(" | ")[2] for line in told.splitlines(keepends=True))

    def events(self, name: str) -> list[dict[str, Any]]:
        return list(json.loads(self.story.setpoint("events", f"{self.name}/{name}", "-o", "json")))


def cgroup_value(pid: int, controller: str, v1_file: str, v2_file: str) -> str:
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        directory = Path(f"/sys/fs/cgroup/{controller}{path}")
        if controller in names.split(",") and directory.is_dir():
            return (directory / v1_file).read_text().strip()
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return Path(f"/sys/fs/cgroup{line[3:]}/{v2_file}").read_text().strip()
    raise AssertionError(f"no cgroup has {controller}")


def has_v1(controller: str) -> bool:
    return Path(f"/sys/fs/cgroup/{controller}").is_dir()


def has_capability(number: int) -> bool:
    """Whether this host may do it at all."""
    lines = Path("/proc/self/status").read_text().splitlines()
    bounding = next(line for line in lines if line.startswith("CapBnd:")).split()[1]
    return bool(int(bounding, 16) >> number & 1)


def firewall(layout: Layout) -> str:
    listed = ["nft", "list", "table", "inet", layout.nft_table]
    return subprocess.run(listed, capture_output=True, text=True, check=True).stdout
