"""An agent as a process of its own, on the real engine, with the busybox image and one project."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.client import Client
from agent.wire import AgentDown
from runtime.cleanup import remove_instance
from runtime.layout import Layout
from tests.native import PATIENCE_SECONDS

REPOSITORY = Path(__file__).resolve().parents[3]
COMPOSE = """\
services:
  web:
    image: busybox:latest
    command: [sh, -c, 'trap "exit 0" TERM; while :; do sleep 0.1; done']
    scale: 2
    stop_grace_period: 1s
"""


class AgentProcess:
    """Starts, asks, ends and kills an agent; its containers are the instance's, not this object's."""

    def __init__(self, layout: Layout, manifests: Path) -> None:
        self.layout, self.manifests = layout, manifests
        self.process: subprocess.Popen[bytes] | None = None
        self.log = manifests.parent / "agent.err"

    def command(self, *options: str) -> list[str]:
        program = [sys.executable, "-m", "agent.cli", "--instance", self.layout.instance, "agent"]
        return [*program, "--watch", str(self.manifests), "--metrics", "127.0.0.1:0", *options]

    def start(self, *options: str, environment: dict[str, str] | None = None) -> AgentProcess:
        with self.log.open("ab") as file:
            self.process = subprocess.Popen(
                self.command(*options), cwd=REPOSITORY, stderr=file, env={**os.environ, **(environment or {})}
            )
        until(self.answers)
        return self

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        try:
            self.client.version()
        except AgentDown:
            return False
        return True

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(30)

    @property
    def client(self) -> Client:
        return Client(self.layout.agent_socket, timeout_seconds=2 * PATIENCE_SECONDS)

    def pids(self) -> list[int]:
        """Of the running containers, as the agent knows them."""
        objects = self.client.status()["objects"]
        return sorted(c["pid"] for o in objects for c in o["containers"] if c["pid"])

    def entries(self) -> list[dict[str, Any]]:
        """What it logged."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


def until(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


@pytest.fixture
def agent(instance: Layout, tmp_path: Path) -> Iterator[AgentProcess]:
    """Not started yet."""
    manifests = tmp_path / "manifests"
    (manifests / "shop").mkdir(parents=True)
    (manifests / "shop" / "compose.yaml").write_text(COMPOSE)
    made = AgentProcess(instance, manifests)
    try:
        yield made
    finally:
        if made.process is not None and made.process.poll() is None:
            made.end(signal.SIGKILL)
        remove_instance(instance, with_data=True)
        shutil.rmtree(manifests)


@pytest.fixture
def ready(agent: AgentProcess, busybox_archive: Path) -> AgentProcess:
    """Started, and everything Ready."""
    agent.start()
    list(agent.client.load_image(busybox_archive))
    assert agent.client.wait(timeout_seconds=PATIENCE_SECONDS)["met"], agent.client.status()
    return agent
