"""One instance, told as a story: commits go in, the world is looked at. Everything through the command line
and the kernel, nothing through the program's insides."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from runtime.layout import Layout
from tests import leaks

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / ".venv/bin/setpoint"
SECONDS = max(60.0, float(os.environ.get("SETPOINT_PATIENCE_SECONDS", "0")))
T = TypeVar("T")


def eventually(look: Callable[[], T], what: str, seconds: float = SECONDS) -> T:
    """The first true thing that `look` gives. Fails with what was waited for, and the last look."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}; last seen: {seen!r}")
        time.sleep(0.01)
    return seen


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def started_at(pid: int) -> int:
    """In clock ticks since the boot."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


class Story:
    """layout: the instance. tree: the git work tree that is followed."""

    def __init__(self, layout: Layout, tree: Path) -> None:
        self.layout = layout
        self.tree = tree
        self.environment = {
            **os.environ,
            "SETPOINT_INSTANCE": layout.instance,
            "GIT_CONFIG_GLOBAL": "/dev/null",
        }

    # --- doing

    def setpoint(
        self, *words: str | Path, code: int | None = 0, stdin: str = "", seconds: float = 90.0
    ) -> str:
        """Run a verb; its stdout. code: what it must exit with, None for whatever."""
        done = subprocess.run(
            [PROGRAM, *map(str, words)], input=stdin, env=self.environment, cwd="/",
            capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip
        self.said = done.stderr
        if code is not None and done.returncode != code:
            log = self.layout.data / "agent.log"
            tail = ""
            with contextlib.suppress(OSError):  # its disk may be what failed
                tail = log.read_text(errors="replace")[-3000:]
            verb = " ".join(map(str, words))
            raise AssertionError(
                f"setpoint {verb}: exit {done.returncode}\n{done.stdout}{done.stderr}\n{tail}"
            )
        assert "Traceback" not in done.stderr
        return done.stdout

    def git(self, *words: str) -> str:
        who = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "commit.gpgsign=false")
        done = subprocess.run(
            ["git", *who, "-C", self.tree, *words],
            env=self.environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    def commit(self, files: dict[str, str | None], message: str = "Change") -> str:
        """Write files (None removes one), commit, and give the commit's id."""
        for name, text in files.items():
            path = self.tree / name
            if text is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def start_agent(self, *words: str) -> None:
        self.setpoint("agent", "--detach", "--watch", self.tree, "--metrics", "127.0.0.1:0", *words)

    def take_down(self, *, is_whole: bool = True) -> None:
        """`setpoint down --data`, for the end of a test. Its containers are killed before: a first process
        that says nothing of SIGTERM never sees it (pid_namespaces(7)), and each such would be waited for ten
        seconds. is_whole: whether it must succeed."""
        for pid in leaks.agents(self.layout):  # it would start again what is killed
            os.kill(pid, signal.SIGTERM)
            eventually(lambda pid=pid: not is_alive(pid), "the agent ends")
        leaks.end_containers(self.layout)
        self.setpoint("down", "--yes", "--data", code=0 if is_whole else None)

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)

    @contextlib.contextmanager
    def without_agent(self) -> Iterator[None]:
        """It is killed, and started again whatever is found meanwhile: other tests may have the same one."""
        pid = self.agent_pid()
        self.kill(pid)
        try:
            eventually(lambda: not is_alive(pid), "the agent is gone")
            yield
        finally:
            self.start_agent()

    def apply(self, files: dict[str, str | None], message: str = "Change", seconds: float = SECONDS) -> str:
        """Commit, and wait until all of it is ready."""
        revision = self.commit(files, message)
        self.setpoint("sync", "--wait", "--timeout", f"{seconds}s")
        self.setpoint("wait", "--for", "ready", "--timeout", f"{seconds}s")
        return revision

    # --- looking

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.setpoint("status", "-o", "json")))

    def object(self, key: str) -> dict[str, Any] | None:
        return next((o for o in self.status()["objects"] if o["key"] == key), None)

    def pid(self, key: str, replica: int = 0) -> int:
        """The process of a container, alive by the kernel's word."""
        found = self.object(key)
        assert found is not None, key
        pid = int(found["containers"][replica]["pid"])
        assert is_alive(pid)
        return pid

    def agent_pid(self) -> int:
        return int((self.layout.data / "agent.lock").read_text())

    def address(self, key: str) -> str:
        found = self.object(key)
        assert found is not None
        return str(next(iter(found["containers"][0]["addresses"].values())))

    def fetch(self, port: int) -> str:
        return self.fetch_path(port, "/")

    def fetch_path(self, port: int, path: str) -> str:
        """The body of an answer, "" while nobody gives one."""
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), timeout=2.0) as connection,
        ):
            connection.settimeout(2.0)
            connection.sendall(f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
            pieces = []
            while data := connection.recv(65536):
                pieces.append(data)
            return b"".join(pieces).decode().partition("\r\n\r\n")[2]
        return ""
