"""One instance to be killed, over and over: its agent, its supervisor, and what it is to run.

    want(files)   the manifests are these now, and somebody asks for them to be applied
    settle()      wait until they are
    kill(...)     SIGKILL, and wait for the end

The agent is forked from a nursery; the supervisor is the agent's own, started as always.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agent.client import Client
from runtime.cleanup import remove_instance
from runtime.errors import SetpointError
from runtime.layout import Layout
from runtime.supervisor.interpreter import FAILPOINTS
from tests.faults.control import Control

SECONDS = float(os.environ.get("SETPOINT_PATIENCE_SECONDS", "40"))

LOOK_SECONDS = 1.0  # then it is asked again, and a mass prune is said yes to


def until(look: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
    """The first true thing that `look` gives."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.002)
    return found


class Victim:
    """A process to be killed, named by a pidfd: its number may be another's when it has ended."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def has_ended(self, seconds: float = 0.0) -> bool:
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        return bool(poller.poll(seconds * 1000))

    def close(self) -> None:
        os.close(self._pidfd)


class Instance:
    """scratch: for the control file, the manifests and the agent's log. port: for the shop."""

    def __init__(self, layout: Layout, scratch: Path, port: int) -> None:
        self.layout = layout
        self.port = port
        self.control = Control(scratch / "control")
        self.manifests = scratch / "manifests"
        self.manifests.mkdir()
        self.log = scratch / "agent.log"
        self.client = Client(layout.agent_socket, timeout_seconds=SECONDS + 10)
        self.agent: Victim | None = None
        self.complaints: list[str] = []
        self.deaths = 0
        self._agents: list[Victim] = []  # closed in the end: somebody may still look at one
        program = Path(__file__).with_name("nursery.py")
        self._nursery = subprocess.Popen(
            [sys.executable, program, layout.instance, self.manifests, self.log],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, FAILPOINTS: str(scratch / "control")},
        )  # fmt: skip

    # --- processes

    def start_agent(self) -> None:
        """Returns when it has been forked."""
        assert self._nursery.stdin is not None and self._nursery.stdout is not None
        self._nursery.stdin.write("start\n")
        self._nursery.stdin.flush()
        self.agent = Victim(int(self._nursery.stdout.readline()))
        self._agents.append(self.agent)

    def has_supervisor(self) -> bool:
        return _peer(self.layout.supervisor_socket) != 0

    def answers(self) -> bool:
        """Whether the present agent serves its socket."""
        if self.agent is None or self.agent.has_ended():
            raise AssertionError(f"the agent ended by itself:\n{self.tail()}")
        return _peer(self.layout.agent_socket) == self.agent.pid

    def supervisor(self) -> Victim | None:
        pid = _peer(self.layout.supervisor_socket)
        with contextlib.suppress(ProcessLookupError):
            return Victim(pid) if pid else None
        return None

    def kill(self, *, agent: bool, supervisor: bool, supervisor_pid: int = 0) -> None:
        """At once, and wait until they are gone. supervisor_pid: of one that does not serve yet."""
        self.deaths += 1
        found = Victim(supervisor_pid) if supervisor_pid else self.supervisor() if supervisor else None
        victims = [found] if supervisor else []
        if agent:
            assert self.agent is not None
            victims.insert(0, self.agent)
        for victim in victims:
            if victim is not None:
                victim.kill()
        for victim in victims:
            assert victim is None or victim.has_ended(SECONDS), "SIGKILL did not end it"
            if victim is not None and victim is not self.agent:
                victim.close()

    def close(self) -> None:
        """Everything of it goes."""
        self.control.release()
        if self.agent is not None:
            self.kill(agent=True, supervisor=False)
        for agent in self._agents:
            agent.kill()
        for agent in self._agents:
            assert agent.has_ended(SECONDS), "SIGKILL did not end an agent"
            agent.close()
        assert self._nursery.stdin is not None and self._nursery.stdout is not None
        self._nursery.stdin.close()
        self._nursery.stdout.close()
        self._nursery.wait(SECONDS)
        remove_instance(self.layout, with_data=True)

    # --- what is wanted

    def write(self, files: Mapping[str, str]) -> None:
        """These manifests and no others; each appears whole."""
        for path in self.manifests.iterdir():
            if path.name not in files and not path.name.startswith("."):
                shutil.rmtree(path)
        for project, text in files.items():
            path = self.manifests / project / "compose.yaml"
            path.parent.mkdir(exist_ok=True)
            if not path.exists() or path.read_text() != text:
                temporary = path.with_name(".new")
                temporary.write_text(text)
                temporary.rename(path)

    def ask(self) -> threading.Thread:
        """Have it looked at now, by somebody who does not mind that the agent dies meanwhile."""

        def ask() -> None:
            with contextlib.suppress(SetpointError, OSError, ValueError):
                self.client.sync()

        thread = threading.Thread(target=ask)
        thread.start()
        return thread

    def settle_until_death(self) -> None:
        """As `settle`, and no further than to the next kill: who killed settles what comes of it."""
        deaths = self.deaths
        with contextlib.suppress(AssertionError):
            self.settle(is_over=lambda: self.deaths != deaths)

    def settle(self, seconds: float = SECONDS, is_over: Callable[[], bool] = lambda: False) -> None:
        """Until all that is wanted is there and ready, and nothing is under way."""
        until(self.answers, "the agent answers", seconds)
        until(self.has_supervisor, "a supervisor serves", seconds)
        deadline = time.monotonic() + seconds
        last: Any = None
        while time.monotonic() < deadline and not is_over():
            with contextlib.suppress(SetpointError):
                last = self.client.sync(wait=True, timeout_seconds=LOOK_SECONDS)
                if last["ready"]:
                    return
                if "say yes" in last["message"]:
                    self.client.acknowledge_prune(last["revision"])
            time.sleep(0.002)
        raise AssertionError(
            f"it does not settle within {seconds:g} s: {last}\n{self._unready()}\n{self.tail()}"
        )

    def _unready(self) -> str:
        """All of those that are not as they are wanted; `last` tells of the first alone."""
        with contextlib.suppress(SetpointError):
            return "\n".join(str(each) for each in self.client.status()["objects"] if not each["ready"])
        return "and the agent does not answer"

    def containers(self, project: str) -> dict[str, dict[str, Any]]:
        """name of the object -> its one container, as the agent tells it."""
        found = {}
        for each in self.client.status()["objects"]:
            owner, kind, name = each["key"].split("/")
            if owner == project and kind == "container":
                assert len(each["containers"]) == 1, each
                found[name] = {**each["containers"][0], "restarts": each["restarts"]}
        return found

    def tail(self) -> str:
        said = self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""
        errors = self.layout.run / "supervisor.err"
        return said + (f"\nsupervisor: {errors.read_text()[-2000:]}" if errors.exists() else "")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _peer(path: Path) -> int:
    """Who listens there, 0 when nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(os.fspath(path))
        except OSError:
            return 0
        pid, _, _ = struct.unpack("=iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(pid)
