"""The instance that is soaked: its agent as our child, its work tree, and whether it has settled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from agent import checker
from agent.checker import kernel
from agent.checker.disk import read_disk
from runtime.layout import Layout
from tests.e2e.story import ROOT, Story
from tests.soak.churn import State

SETTLE_SECONDS = 60.0


class Instance:
    """One instance and its agent's process."""

    def __init__(self, layout: Layout, place: Path) -> None:
        self.layout = layout
        self.story = Story(layout, place / "tree")
        self.story.tree.mkdir(parents=True)
        self.story.git("init", "-q", "-b", "main")
        self.story.git("config", "gc.auto", "0")
        self.story.git("commit", "-q", "--allow-empty", "-m", "Begin")
        self._log = (place / "agent.err").open("ab")
        self._agent: subprocess.Popen[bytes] | None = None
        self._asked: list[subprocess.Popen[bytes]] = []

    # --- the agent

    def start_agent(self) -> None:
        """Started, and not waited for: it may be killed before it is up."""
        command = [
            sys.executable, "-I", "-m", "agent.cli", "--instance", self.layout.instance, "agent",
            "--watch", self.story.tree, "--metrics", "",
        ]  # fmt: skip
        self._agent = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=self.story.environment,
        )

    @property
    def agent_pid(self) -> int:
        return self._agent.pid if self._agent is not None else 0

    def kill_agent(self) -> bool:
        """False when it had ended by itself, which it must not."""
        assert self._agent is not None
        was_alive = self._agent.poll() is None
        self._agent.kill()
        self._agent.wait()
        return was_alive

    def kill_supervisor(self) -> bool:
        """Whether there was one: it may be on its way up."""
        found = kernel.read_kernel(self.layout).supervisors
        for process in found:
            os.kill(process.pid, signal.SIGKILL)
        return bool(found)

    def wait_for_agent(self, seconds: float = SETTLE_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not self._answers():
            if time.monotonic() > deadline:
                raise AssertionError(f"the agent does not answer within {seconds:g} s")
            time.sleep(0.02)

    def _answers(self) -> bool:
        """It has taken the newest commit in."""
        if self._agent is None or self._agent.poll() is not None:
            raise AssertionError(f"the agent ended by itself, see {self._log.name}")
        done = subprocess.run(
            [*self._words(), "sync"], env=self.story.environment, capture_output=True, check=False
        )
        return done.returncode == 0

    # --- people at prompts

    def ask(self, *words: str) -> None:
        """Run a verb beside everything else, whatever comes of it. Three at a time."""
        self._asked = [each for each in self._asked if each.poll() is None]
        if len(self._asked) < 3:
            self._asked.append(
                subprocess.Popen(
                    [*self._words(), *words],
                    env=self.story.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )

    def stop_asking(self) -> None:
        for each in self._asked:
            each.kill()
            each.wait()
        self._asked.clear()

    def _words(self) -> list[str]:
        return [str(ROOT / ".venv/bin/setpoint")]

    # --- settled?

    def settle(
        self, wanted: State, before: checker.Snapshot | None = None, seconds: float = SETTLE_SECONDS
    ) -> list[str]:
        """Wait until the wanted state is there and all invariants hold; what does not by then, in words."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.missing(wanted)
            if not found:
                found = [str(each) for each in checker.check(self.layout, before)]
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.05)

    def missing(self, wanted: State) -> list[str]:
        """How the churned project differs from the newest commit, by the bundles."""
        there: dict[str, list[tuple[str, bool]]] = {}
        for bundle in read_disk(self.layout).bundles.values():
            project, _, name = bundle.config.labels.get("setpoint.key", "").split("/")
            if project == "churn":
                there.setdefault(name, []).append((bundle.config.environment.get("MARK", ""), bundle.is_live))
        found = [f"lost churn/{name}: it is still there" for name in there.keys() - wanted.services.keys()]
        for name, service in wanted.services.items():
            replicas = there.get(name, [])
            if len(replicas) != service.scale or any(mark != str(service.mark) for mark, _ in replicas):
                found.append(
                    f"lost churn/{name}: wanted {service.scale} of mark {service.mark}, found {replicas}"
                )
            elif service.runs and not all(is_live for _, is_live in replicas):
                found.append(f"lost churn/{name}: not all of {replicas} run")
        return found

    def broken_logs(self) -> list[str]:
        """Containers of the steady project whose lines do not count up by one."""
        found = []
        for bundle in read_disk(self.layout).bundles.values():
            if bundle.config.labels.get("setpoint.key", "").startswith("steady/"):
                gap = _gap(self.layout.containers / bundle.id / "log")
                if gap:
                    found.append(f"lost log of {bundle.name}: {gap}")
        return found

    def end(self) -> None:
        self.stop_asking()
        if self._agent is not None:
            self.kill_agent()
        self._log.close()


def _gap(directory: Path) -> str:
    """What is wrong with the count in a log, "" when each line is one more than the one before."""
    files = sorted(directory.glob("log*"), key=lambda path: -int(path.suffix[1:] or 0))
    last = 0
    for path in files:
        for line in path.read_bytes().splitlines():
            number = int(line.rpartition(b" ")[2])
            if last and number != last + 1:
                return f"{number} follows {last}"
            last = number
    return ""
