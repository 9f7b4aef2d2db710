"""Setpoint as an instance of its own, following a git work tree, asked through its command line."""

from __future__ import annotations

import json
import os
import secrets
import signal
import sys
import time
from functools import cached_property
from pathlib import Path
from typing import Any

from image_rows import Tool
from measure import processes, run, timed, until

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / ".venv/bin/setpoint"
INSTANCE = f"bench{secrets.token_hex(3)}"
SERVICE = "  s{n}: {{image: 'busybox:latest', command: [sleep, '1000000'], stop_signal: SIGKILL}}\n"
HEALER = """services:
  heal:
    image: busybox:latest
    command: [sh, -c, "echo x >>/marks/heal; exec sleep 1000001"]
    restart: always
    volumes: ["{marks}:/marks"]
"""


def processes_of_instance() -> int:
    """The kernel's count in the instance's control group and below (pids.current, cgroups(7)): one read,
    so that asking costs what is measured next to nothing."""
    for place in ("pids", "", "unified"):
        counter = Path("/sys/fs/cgroup", place, INSTANCE, "pids.current")
        if counter.exists():
            return int(counter.read_text())
    return 0


class Setpoint:
    name = "setpoint"

    def __init__(self, scratch: Path, archive: Path) -> None:
        self.scratch = scratch / "setpoint"
        self.tree = self.scratch / "tree"
        self.marks = self.scratch / "marks"
        self.registries = self.scratch / "registries.yaml"
        self.archive = archive
        self.environment = {**os.environ, "SETPOINT_INSTANCE": INSTANCE, "GIT_CONFIG_GLOBAL": "/dev/null"}

    @cached_property
    def client(self) -> Any:
        """The library that the command line itself uses."""
        sys.path.insert(0, str(ROOT))
        from agent.client import Client

        return Client(f"/run/{INSTANCE}/setpoint.sock")

    def version(self) -> str:
        return self.setpoint("version").split()[1]

    def start(self) -> None:
        for folder in (self.tree / "bench", self.marks):
            folder.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        self.commit("services: {}\n")
        self._trust("127.0.0.1:1")
        self.setpoint(
            "agent", "--detach", "--watch", self.tree, "--metrics", "127.0.0.1:9499",
            "--registries", self.registries,
        )  # fmt: skip
        self.setpoint("image", "load", self.archive)

    def stop(self) -> None:
        self.setpoint("down", "--yes", "--data", check=False)

    def setpoint(self, *words: str | Path, check: bool = True) -> str:
        try:
            return run(PROGRAM, *words, env=self.environment, check=check)
        except RuntimeError as error:
            log = Path(f"/var/lib/{INSTANCE}/agent.log")
            raise RuntimeError(f"{error}\n{log.read_text()[-2000:] if log.exists() else ''}") from error

    def git(self, *words: str) -> str:
        who = ("-c", "user.name=bench", "-c", "user.email=bench@localhost")
        return run("git", *who, "-C", self.tree, *words, env=self.environment)

    def commit(self, text: str) -> None:
        (self.tree / "bench/compose.yaml").write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "bench")

    def objects(self) -> list[dict[str, Any]]:
        return list(json.loads(self.setpoint("status", "-o", "json"))["objects"])

    def up(self, count: int) -> float:
        """From before `git commit` until the kernel counts a process a container, each its own program."""
        text = "services:\n" + "".join(SERVICE.format(n=n) for n in range(count))
        (self.tree / "bench/compose.yaml").write_text(text)
        self.git("add", "-A")
        began = time.perf_counter()
        self.git("commit", "-q", "-m", "up")
        until(lambda: processes_of_instance() >= count, 120, f"{count} processes", pause=0.002)
        until(lambda: self.running() >= count, 10, f"{count} containers run", pause=0.005)
        seconds = time.perf_counter() - began
        self.setpoint("wait", "--for", "ready", "--timeout", "120s")
        return seconds

    def running(self) -> int:
        """By the kernel's word, not by the agent's."""
        return sum(1 for _, words in processes() if words == ["sleep", "1000000"])

    def down(self) -> float:
        (self.tree / "bench/compose.yaml").write_text("services: {}\n")
        self.git("add", "-A")
        began = time.perf_counter()
        self.git("commit", "-q", "-m", "down")
        # A removal of all waits for a yes: how long a person takes to say it is not ours to measure, but
        # the yes is a process of its own, and is in the number.
        self.setpoint("sync")
        self.setpoint("prune", "--yes")
        until(lambda: processes_of_instance() == 0, 60, "all removed", pause=0.002)
        self.setpoint("wait", "--for", "ready", "--timeout", "60s")
        return time.perf_counter() - began

    def engine_pids(self) -> list[int]:
        mine = f"/{INSTANCE}"
        return [
            pid
            for pid, words in processes()
            if words and "python" in words[0] and any(INSTANCE in w or mine in w for w in words)
        ]

    def start_healer(self) -> None:
        self.commit(HEALER.format(marks=self.marks))
        self.setpoint("sync")
        until(self.mark().exists, 30, "the first mark")
        self.setpoint("wait", "--for", "ready", "--timeout", "30s")

    def mark(self) -> Path:
        return self.marks / "heal"

    def kill_healer(self) -> None:
        os.kill(next(pid for pid, words in processes() if words == ["sleep", "1000001"]), signal.SIGKILL)

    def exec_true(self) -> float:
        return timed(lambda: self.setpoint("exec", "bench/heal", "true"))

    def exec_true_by_api(self) -> float | None:
        """Through the socket, without a client program; what it prints is read to its end."""

        def one() -> None:
            with self.client.exec("bench/container/heal", ["true"]) as session:
                code, _, errors = session.run()
            if code:
                raise RuntimeError(f"exec: {code} {errors.decode(errors='replace')}")

        return timed(one)

    def status(self) -> float:
        return timed(lambda: self.setpoint("status"))

    def images(self) -> Tool:
        return Tool(
            build=lambda context, name: self.setpoint("image", "build", "-q", "-t", name, context),
            push=lambda name: self.setpoint("image", "push", "-q", name),
            load=lambda archive: self.setpoint("image", "load", archive),
            remove=lambda name: self.setpoint("image", "rm", "--force", name),
            tag=lambda old, new: self.setpoint("image", "tag", old, new),
            trust=self._trust,
        )

    def _trust(self, host: str) -> None:
        """A registry without TLS, by its name. The file is read at each use."""
        head = "apiVersion: setpoint/v1\nkind: Registries\nregistries:\n"
        self.registries.write_text(f'{head}  "{host}": {{insecure: true}}\n')

    def docker_socket(self) -> Path | None:
        """Where its Docker Engine API is."""
        return Path(f"/run/{INSTANCE}/setpoint.sock")
