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

from measure import Show, UnixConnection, median, run, timed, until
from progress import Numbers, Progress
from sizes import Sizes

ROWS: tuple[tuple[str, str, Show], ...] = (
    ("run_api", "run --rm true, through the Docker API", lambda v: f"{v * 1000:.1f} ms"),
    ("run_cli", "run --rm true, by the docker CLI", lambda v: f"{v * 1000:.0f} ms"),
    ("exec_docker_api", "exec true, through the Docker API", lambda v: f"{v * 1000:.1f} ms"),
    ("exec_cli", "exec true, by the docker CLI", lambda v: f"{v * 1000:.0f} ms"),
    ("inspect", "inspect, through the Docker API", lambda v: f"{v * 1000:.1f} ms"),
    ("ps_100", "ps with {containers} containers, through the Docker API", lambda v: f"{v * 1000:.1f} ms"),
    ("ps_1000", "ps -a with {listed} containers, through the Docker API", lambda v: f"{v * 1000:.0f} ms"),
    ("run_100", "{containers} run -d side by side, through the Docker API", lambda v: f"{v:.2f} s"),
    ("logs", "logs of {log_mb} MB, by the docker CLI", lambda v: f"{v:.2f} s"),
    ("cp_in", "cp of {copy_mb} MB in, by the docker CLI", lambda v: f"{v:.2f} s"),
    ("cp_out", "cp of {copy_mb} MB out, by the docker CLI", lambda v: f"{v:.2f} s"),
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


def measure_clients(
    peer: str, socket: Path, scratch: Path, runs: int, sizes: Sizes, progress: Progress
) -> Numbers:
    """All rows, of an engine that runs nothing else."""
    environment = {**os.environ, "DOCKER_HOST": f"unix://{socket}", "DOCKER_CONFIG": str(scratch)}

    def docker(*words: str | Path) -> str:
        return run("docker", *words, env=environment)

    api = Api(socket)
    api("POST", "/containers/create?name=sleeper", SLEEPER)
    api("POST", "/containers/sleeper/start")
    numbers: Numbers = {}
    for what, measure in (
        ("run and exec", lambda: measure_one(api, docker)),
        ("events", lambda: {"events": median([fan_out(api, number) for number in range(runs)])}),
        ("many containers", lambda: measure_many(api, runs, sizes)),
        ("logs", lambda: measure_logs(docker, environment, runs, sizes)),
        ("cp", lambda: measure_copies(docker, scratch, runs, sizes)),
    ):
        numbers |= progress.attempt(f"{peer}: clients: {what}", measure)
    for name in ("sleeper", "talker"):
        run("docker", "rm", "-f", name, env=environment, check=False)
    return numbers


def measure_one(api: Api, docker: Callable[..., str]) -> Numbers:
    def cli(*words: str) -> float:
        return median([timed(lambda: docker(*words)) for _ in range(10)])

    return {
        "run_api": median([timed(lambda: run_once(api)) for _ in range(20)]),
        "run_cli": cli("run", "--rm", "busybox:latest", "true"),
        "exec_docker_api": median([timed(lambda: exec_once(api)) for _ in range(20)]),
        "exec_cli": cli("exec", "sleeper", "true"),
        "inspect": median([timed(lambda: api("GET", "/containers/sleeper/json")) for _ in range(50)]),
    }


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


def measure_many(api: Api, runs: int, sizes: Sizes) -> Numbers:
    count = sizes.containers
    numbers = {"run_100": median([side_by_side(api.socket, count) for _ in range(runs)])}
    side_by_side(api.socket, count, keeps=True)
    numbers["ps_100"] = median([timed(lambda: api("GET", "/containers/json")) for _ in range(10)])
    for _ in range(sizes.listed - count):
        api("POST", "/containers/create", {**SLEEPER, "Labels": {"bench": "many"}})
    numbers["ps_1000"] = median([timed(lambda: api("GET", "/containers/json?all=1")) for _ in range(10)])
    remove_labelled(api.socket)
    return numbers


def side_by_side(socket: Path, count: int, *, keeps: bool = False) -> float:
    """As many clients, each with a connection of its own."""

    def one() -> None:
        api = Api(socket)
        made = api("POST", "/containers/create", {**SLEEPER, "Labels": {"bench": "many"}})
        api("POST", f"/containers/{made['Id']}/start")

    seconds = timed(lambda: in_threads([one] * count))
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


def measure_logs(docker: Callable[..., str], environment: dict[str, str], runs: int, sizes: Sizes) -> Numbers:
    options = ("run", "-d", "--name", "talker", "--log-opt", "max-size=2g", "busybox:latest")
    docker(*options, "sh", "-c", f"yes '{LINE}' | head -c {sizes.log_bytes}; exec sleep 1000003")
    until(lambda: "sleep 1000003" in docker("top", "talker"), 240, "it has said all", pause=0.5)

    def logs() -> int:
        with subprocess.Popen(
            ["docker", "logs", "talker"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdout is not None
            return sum(len(part) for part in iter(lambda: process.stdout.read(1 << 20), b""))

    until(lambda: logs() >= sizes.log_bytes * 0.99, 60, "all is logged", pause=0.5)
    return {"logs": median([timed(logs) for _ in range(runs)])}


def measure_copies(docker: Callable[..., str], scratch: Path, runs: int, sizes: Sizes) -> Numbers:
    source, back = scratch / "large", scratch / "back"
    with source.open("wb") as file:
        for _ in range(sizes.copy_bytes // 1_000_000):
            file.write(os.urandom(1_000_000))
    return {
        "cp_in": median([timed(lambda: docker("cp", source, "sleeper:/copy")) for _ in range(runs)]),
        "cp_out": median([timed(lambda: docker("cp", "sleeper:/copy", back)) for _ in range(runs)]),
    }
