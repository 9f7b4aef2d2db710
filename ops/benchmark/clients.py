"""What clients of the Docker Engine API see: the same calls, by the same client, to each engine's socket.

Called for dockerd and for Setpoint with a socket that has busybox:latest. Times are seconds.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import UnixConnection, median, run, timed, until

ROWS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("run_api", "run --rm true, through the Docker API", lambda v: f"{v * 1000:.1f} ms"),
    ("run_cli", "run --rm true, by the docker CLI", lambda v: f"{v * 1000:.0f} ms"),
    ("exec_docker_api", "exec true, through the Docker API", lambda v: f"{v * 1000:.1f} ms"),
    ("exec_cli", "exec true, by the docker CLI", lambda v: f"{v * 1000:.0f} ms"),
    ("inspect", "inspect, through the Docker API", lambda v: f"{v * 1000:.1f} ms"),
    ("ps_100", "ps with 100 containers, through the Docker API", lambda v: f"{v * 1000:.1f} ms"),
    ("ps_1000", "ps -a with 1,000 containers, through the Docker API", lambda v: f"{v * 1000:.0f} ms"),
    ("run_100", "100 run -d side by side, through the Docker API", lambda v: f"{v:.2f} s"),
    ("logs", "logs of 300 MB, by the docker CLI", lambda v: f"{v:.2f} s"),
    ("cp_in", "cp of 500 MB in, by the docker CLI", lambda v: f"{v:.2f} s"),
    ("cp_out", "cp of 500 MB out, by the docker CLI", lambda v: f"{v:.2f} s"),
    ("events", "one event at 100 followers", lambda v: f"{v * 1000:.0f} ms"),
)
LINE = "a line of a log that is as long as lines of logs are, about eighty bytes of words"
SLEEPER = {"Image": "busybox:latest", "Cmd": ["sleep", "1000002"], "StopSignal": "SIGKILL"}


class Api:
    """One connection that stays open, as clients keep it."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.connection = UnixConnection(socket)

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        data = json.dumps(body) if body is not None else None
        headers = {"Content-Type": "application/json"} if data else {}
        try:
            self.connection.request(method, path, data, headers)
            answer = self.connection.getresponse()
        except (BrokenPipeError, http.client.RemoteDisconnected):  # idle for long: clients connect again
            self.connection.close()
            self.connection.request(method, path, data, headers)
            answer = self.connection.getresponse()
        content = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {content.decode(errors='replace')[:200]}")
        return json.loads(content) if content.startswith((b"{", b"[")) else content

    def stream(
        self, method: str, path: str, body: Any = None
    ) -> tuple[UnixConnection, http.client.HTTPResponse]:
        connection = UnixConnection(self.socket)
        data = json.dumps(body) if body is not None else None
        connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})
        return connection, connection.getresponse()


def measure_clients(socket: Path, scratch: Path, runs: int, note: Callable[[str], None]) -> dict[str, float]:
    """All rows, of an engine that runs nothing else."""
    api = Api(socket)
    environment = {**os.environ, "DOCKER_HOST": f"unix://{socket}", "DOCKER_CONFIG": str(scratch)}

    def docker(*words: str | Path) -> str:
        return run("docker", *words, env=environment)

    numbers: dict[str, float] = {}
    api("POST", "/containers/create?name=sleeper", SLEEPER)
    api("POST", "/containers/sleeper/start")
    numbers["run_api"] = median([timed(lambda: run_once(api)) for _ in range(20)])
    numbers["run_cli"] = median(
        [timed(lambda: docker("run", "--rm", "busybox:latest", "true")) for _ in range(10)]
    )
    numbers["exec_docker_api"] = median([timed(lambda: exec_once(api)) for _ in range(20)])
    numbers["exec_cli"] = median([timed(lambda: docker("exec", "sleeper", "true")) for _ in range(10)])
    numbers["inspect"] = median([timed(lambda: api("GET", "/containers/sleeper/json")) for _ in range(50)])
    note("clients: run, exec, inspect measured")
    numbers["events"] = median([fan_out(api, n) for n in range(runs)])
    numbers |= measure_many(api, runs)
    note("clients: many measured")
    numbers |= measure_bytes(docker, environment, scratch, runs)
    Api(socket)("DELETE", "/containers/sleeper?force=1")  # the one from before was idle for too long
    return numbers


def run_once(api: Api) -> None:
    """What `docker run --rm` asks for: create, wait for the removal, start, the exit code."""
    made = api("POST", "/containers/create", {
        "Image": "busybox:latest", "Cmd": ["true"], "HostConfig": {"AutoRemove": True},
    })  # fmt: skip
    connection, answer = api.stream("POST", f"/containers/{made['Id']}/wait?condition=removed")
    api("POST", f"/containers/{made['Id']}/start")
    if json.loads(answer.read())["StatusCode"]:
        raise RuntimeError("run: it failed")
    connection.close()


def exec_once(api: Api) -> None:
    made = api("POST", "/containers/sleeper/exec", {"Cmd": ["true"], "AttachStdout": True})
    connection, answer = api.stream("POST", f"/exec/{made['Id']}/start", {"Detach": False})
    answer.read()
    connection.close()


def fan_out(api: Api, number: int) -> float:
    """From a volume's creation until 100 followers of the events have it."""
    name = f"bench-{number}"
    streams = [api.stream("GET", "/events") for _ in range(100)]
    try:

        def all_have_it() -> None:
            api("POST", "/volumes/create", {"Name": name})
            for _, answer in streams:
                while name.encode() not in answer.readline():
                    pass

        return timed(all_have_it)
    finally:
        for connection, _ in streams:
            connection.close()
        api("DELETE", f"/volumes/{name}")


def measure_many(api: Api, runs: int) -> dict[str, float]:
    numbers = {"run_100": median([side_by_side(api.socket) for _ in range(runs)])}
    side_by_side(api.socket, keeps=True)
    numbers["ps_100"] = median([timed(lambda: api("GET", "/containers/json")) for _ in range(10)])
    for _ in range(900):
        api("POST", "/containers/create", {**SLEEPER, "Labels": {"bench": "many"}})
    numbers["ps_1000"] = median([timed(lambda: api("GET", "/containers/json?all=1")) for _ in range(5)])
    remove_labelled(api.socket)
    return numbers


def side_by_side(socket: Path, *, keeps: bool = False) -> float:
    """100 clients, each with a connection of its own."""

    def one() -> None:
        api = Api(socket)
        made = api("POST", "/containers/create", {**SLEEPER, "Labels": {"bench": "many"}})
        api("POST", f"/containers/{made['Id']}/start")

    seconds = timed(lambda: in_threads([one] * 100))
    if not keeps:
        remove_labelled(socket)
    return seconds


def in_threads(works: list[Callable[[], None]]) -> None:
    failed: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def remove_labelled(socket: Path) -> None:
    ids = [row["Id"] for row in Api(socket)("GET", '/containers/json?all=1&filters={"label":["bench=many"]}')]

    def remove(part: list[str]) -> None:
        api = Api(socket)
        for id in part:
            api("DELETE", f"/containers/{id}?force=1")

    in_threads([lambda part=ids[n::16]: remove(part) for n in range(16)])  # type: ignore[misc]


def measure_bytes(
    docker: Callable[..., str], environment: dict[str, str], scratch: Path, runs: int
) -> dict[str, float]:
    options = ("run", "-d", "--name", "talker", "--log-opt", "max-size=2g", "busybox:latest")
    docker(*options, "sh", "-c", f"yes '{LINE}' | head -c 300000000; exec sleep 1000003")

    def logs() -> int:
        with subprocess.Popen(
            ["docker", "logs", "talker"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdout is not None
            return sum(len(part) for part in iter(lambda: process.stdout.read(1 << 20), b""))

    until(lambda: logs() >= 299_000_000, 120, "300 MB are logged", pause=1.0)
    numbers = {"logs": median([timed(logs) for _ in range(runs)])}
    source = scratch / "500m"
    with source.open("wb") as file:
        for _ in range(500):
            file.write(os.urandom(1_000_000))
    numbers["cp_in"] = median([timed(lambda: docker("cp", source, "talker:/copy")) for _ in range(runs)])
    numbers["cp_out"] = median(
        [timed(lambda: docker("cp", "talker:/copy", scratch / "back")) for _ in range(runs)]
    )
    docker("rm", "-f", "talker")
    return numbers
