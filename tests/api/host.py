"""A Docker host, ours or Docker's own, and the clients that speak to it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import docker
import yaml

from tests.api.http_client import Http

DIFFERENCES = Path(__file__).with_name("differences.yaml")
SECONDS = 90.0
Completed = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Host:
    """is_ours: whether it is the agent. socket: where clients speak to, for ours through the checking proxy.
    direct: the daemon's own socket. config: the docker CLI's directory."""

    is_ours: bool
    socket: Path
    direct: Path
    config: Path

    @property
    def environment(self) -> dict[str, str]:
        """For whatever takes DOCKER_HOST."""
        others = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
        here = str(self.config)  # what a client leaves of its temporary files goes with it
        return {
            **others, "DOCKER_HOST": f"unix://{self.socket}", "DOCKER_CONFIG": here, "TMPDIR": here,
        }  # fmt: skip

    def docker(
        self,
        *words: str | Path,
        check: bool = True,
        stdin: str = "",
        seconds: float = SECONDS,
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
    ) -> Completed:
        """The docker CLI. check: whether it must exit with 0."""
        done = subprocess.run(
            ["docker", *map(str, words)], input=stdin, env={**self.environment, **(env or {})},
            cwd=cwd or "/", capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip
        said = f"docker {' '.join(map(str, words))}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        assert not check or done.returncode == 0, said
        return done

    def compose(self, folder: Path, *words: str | Path, **options: Any) -> Completed:
        """`docker compose` in a folder with a compose file; options as `docker`."""
        return self.docker("compose", "--ansi", "never", *words, cwd=folder, **options)

    @cached_property
    def http(self) -> Http:
        return Http(self.socket)

    def client(self) -> Any:
        """docker-py; the caller closes it."""
        return docker.DockerClient(base_url=f"unix://{self.socket}", timeout=int(SECONDS))

    def agrees(self, scenario: str, seen: Any, expected: Any) -> None:
        """What was seen is what is expected of both; or, where differences.yaml has the scenario, what
        stands there for this host."""
        row = differences().get(scenario)
        if row is not None:
            expected = row["ours" if self.is_ours else "theirs"]
        assert seen == expected, f"{scenario}: {seen!r}, not {expected!r}"


def differences() -> dict[str, dict[str, Any]]:
    """scenario -> {"ours", "theirs", "reason"}."""
    rows = yaml.safe_load(DIFFERENCES.read_text()) or []
    return {row["scenario"]: row for row in rows}


def remove_containers(host: Host) -> None:
    """All that can be: what a manifest owns is answered with 409, and stays. Then networks and volumes."""
    http = Http(host.direct)
    _remove(http, "/containers/json?all=1", lambda data: data, "Id", "/containers/{}?force=1&v=1")
    _remove(http, "/networks", lambda data: data, "Id", "/networks/{}")
    _remove(http, "/volumes", lambda data: data["Volumes"] or [], "Name", "/volumes/{}?force=1")


def _remove(http: Http, path: str, rows_of: Callable[[Any], Any], name: str, each: str) -> None:
    answer = http("GET", path)
    for row in rows_of(answer.json) if answer.status == 200 else ():
        http("DELETE", each.format(row[name]))
