"""A dockerd of our own beside nothing else: own data root, socket and bridge, started by hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

from image_rows import Tool
from measure import pids_of, post, processes, run, timed, until

PROGRAMS = {"dockerd", "containerd", "containerd-shim-runc-v2", "docker-proxy"}
SERVICE = "  s{n}: {{image: 'busybox:latest', command: [sleep, '1000000'], stop_signal: SIGKILL}}\n"


class Docker:
    """docker and docker compose, as the distribution ships them."""

    name = "docker"

    def __init__(self, scratch: Path, archive: Path) -> None:
        self.scratch = scratch / "docker"
        self.project = self.scratch / "project"
        self.marks = self.scratch / "marks"
        self.archive = archive
        self.environment = {**os.environ, "DOCKER_HOST": f"unix://{self.scratch}/docker.sock"}
        self.daemon: subprocess.Popen[bytes] | None = None

    def version(self) -> str:
        compose = run("docker", "compose", "version", "--short").strip()
        return (
            run("docker", "version", "-f", "{{.Server.Version}}", env=self.environment).strip()
            + f", compose {compose}"
        )

    def start(self) -> None:
        for folder in (self.project, self.marks):
            folder.mkdir(parents=True)
        run("ip", "link", "add", "bench0", "type", "bridge")
        run("ip", "address", "add", "172.30.0.1/16", "dev", "bench0")
        run("ip", "link", "set", "bench0", "up")
        with (self.scratch / "log").open("wb") as log:
            self.daemon = subprocess.Popen(
                ["dockerd", "--data-root", self.scratch / "data", "--exec-root", self.scratch / "exec",
                 "--pidfile", self.scratch / "pid", "-H", f"unix://{self.scratch}/docker.sock",
                 "--bridge", "bench0", "--default-address-pool", "base=172.31.0.0/16,size=24"],
                stdout=log, stderr=log,
            )  # fmt: skip
        until(self.is_up, 60, f"dockerd answers, see {self.scratch}/log", 0.1)
        packed = self.scratch / "image.tar"
        run("skopeo", "copy", f"oci-archive:{self.archive}", f"docker-archive:{packed}:busybox:latest")
        self.docker("load", "-i", packed)

    def is_up(self) -> bool:
        """Without a daemon the client prints its own version, so that the other one is asked for."""
        return bool(self.docker("version", "-f", "{{.Server.Version}}", check=False).strip())

    def stop(self) -> None:
        if self.daemon is None:
            return
        self.docker("rm", "-f", "heal", check=False)
        self.daemon.send_signal(signal.SIGTERM)
        self.daemon.wait(60)

    def docker(self, *words: str | Path, check: bool = True) -> str:
        return run("docker", *words, env=self.environment, cwd=self.project, check=check)

    def up(self, count: int) -> float:
        text = "services:\n" + "".join(SERVICE.format(n=n) for n in range(count))
        (self.project / "compose.yaml").write_text(text)
        seconds = timed(lambda: self.docker("compose", "up", "-d"))
        running = len(self.docker("ps", "-q").split())
        if running != count:
            raise RuntimeError(f"docker runs {running} of {count} containers")
        return seconds

    def down(self) -> float:
        return timed(lambda: self.docker("compose", "down"))

    def engine_pids(self) -> list[int]:
        return pids_of(PROGRAMS)

    def start_healer(self) -> None:
        self.docker("run", "-d", "--name", "heal", "--restart", "always", "-v", f"{self.marks}:/marks",
                    "busybox:latest", "sh", "-c", "echo x >>/marks/heal; exec sleep 1000001")  # fmt: skip
        until(self.mark().exists, 30, "the first mark")

    def mark(self) -> Path:
        return self.marks / "heal"

    def kill_healer(self) -> None:
        pids = [pid for pid, words in processes() if words == ["sleep", "1000001"]]
        os.kill(pids[0], signal.SIGKILL)

    def exec_true(self) -> float:
        return timed(lambda: self.docker("exec", "heal", "true"))

    def exec_true_by_api(self) -> float | None:
        """Through the socket, without a client program; what it prints is read to its end."""
        socket = self.scratch / "docker.sock"

        def one() -> None:
            made = json.loads(post(socket, "/containers/heal/exec", {"Cmd": ["true"], "AttachStdout": True}))
            post(socket, f"/exec/{made['Id']}/start", {"Detach": False})

        return timed(one)

    def status(self) -> float:
        return timed(lambda: self.docker("ps"))

    def images(self) -> Tool:
        """Registries on loopback need no TLS for it."""
        return Tool(
            build=lambda context, name: self.docker("build", "-q", "-t", name, context),
            push=lambda name: self.docker("push", "-q", name),
            load=lambda archive: self.docker("load", "-q", "-i", archive),
            remove=lambda name: self.docker("image", "rm", "-f", name),
            tag=lambda old, new: self.docker("tag", old, new),
        )

    def docker_socket(self) -> Path | None:
        """Where its Docker Engine API is."""
        return self.scratch / "docker.sock"
