"""podman with a store of its own. It has no compose of its own, so `up` is one `podman run` after
another, all on one network: what a script or a unit file a container comes to."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from image_rows import OWN_LIMITS, Tool
from measure import pids_of, processes, run, timed, until

PROGRAMS = {"conmon", "podman", "aardvark-dns", "netavark"}


class Podman:
    name = "podman"

    def __init__(self, scratch: Path, archive: Path) -> None:
        self.scratch = scratch / "podman"
        self.marks = self.scratch / "marks"
        self.archive = archive
        self.count = 0

    def version(self) -> str:
        return run("podman", "--version").split()[-1]

    def start(self) -> None:
        self.marks.mkdir(parents=True)
        self.podman("load", "-q", "-i", self.archive)
        self.podman("tag", self.podman("images", "-q").split()[0], "busybox:latest")

    def stop(self) -> None:
        self.podman("rm", "-f", "-a", "-t", "0", check=False)
        self.podman("network", "rm", "-f", "bench", check=False)

    def podman(self, *words: str | Path, check: bool = True) -> str:
        return run(
            "podman", "--root", self.scratch / "data", "--runroot", self.scratch / "run",
            "--network-config-dir", self.scratch / "networks", "--cgroup-manager", "cgroupfs", *words,
            check=check,
        )  # fmt: skip

    def up(self, count: int) -> float:
        self.count = count
        began = time.perf_counter()
        self.podman("network", "create", "bench")
        for n in range(count):
            self.podman("run", "-d", "--name", f"s{n}", "--network", "bench", "--stop-signal", "KILL",
                        "busybox:latest", "sleep", "1000000")  # fmt: skip
        return time.perf_counter() - began

    def down(self) -> float:
        def remove() -> None:
            self.podman("rm", "-f", "-t", "0", *(f"s{n}" for n in range(self.count)))
            self.podman("network", "rm", "bench")

        return timed(remove)

    def engine_pids(self) -> list[int]:
        return pids_of(PROGRAMS)

    def start_healer(self) -> None:
        self.podman("run", "-d", "--name", "heal", "--restart", "always", "-v", f"{self.marks}:/marks",
                    "busybox:latest", "sh", "-c", "echo x >>/marks/heal; exec sleep 1000001")  # fmt: skip
        until((self.marks / "heal").exists, 30, "the first mark")

    def mark(self) -> Path:
        return self.marks / "heal"

    def kill_healer(self) -> None:
        os.kill(next(pid for pid, words in processes() if words == ["sleep", "1000001"]), signal.SIGKILL)

    def exec_true(self) -> float:
        return timed(lambda: self.podman("exec", "heal", "true"))

    def exec_true_by_api(self) -> float | None:
        """It has no service of its own running."""
        return None

    def status(self) -> float:
        return timed(lambda: self.podman("ps"))

    def images(self) -> Tool:
        return Tool(
            build=lambda context, name: self.podman(
                "build", "--layers", "-q", *OWN_LIMITS, "-t", name, context
            ),
            push=lambda name: self.podman("push", "-q", "--tls-verify=false", name),
            load=lambda archive: self.podman("load", "-q", "-i", archive),
            remove=lambda name: self.podman("rmi", "-f", name),
            tag=lambda old, new: self.podman("tag", old, new),
        )

    def docker_socket(self) -> Path | None:
        """None: it serves one only with another process."""
        return None
