"""`docker stats` and `docker top` by real clients, beside dockerd's own answers."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.api.host import Host
from tests.api.http_client import Http
from tests.e2e.story import Story
from tests.native import PATIENCE_SECONDS

BUSY = "while :; do :; done"
STATS = "/containers/{}/stats"


def started(host: Host, name: str, *command: str) -> str:
    host.docker("run", "-d", "--name", name, "--network", "none", "busybox", *(command or ("sleep", "1000")))
    return name


def shape(value: Any, depth: int = 2) -> Any:
    """The names in an answer, and what kinds their values are of."""
    if isinstance(value, dict) and depth:
        return {name: shape(each, depth - 1) for name, each in value.items()}
    return type(value).__name__


def cpu_percent(sample: dict[str, Any]) -> float:
    """As the docker CLI computes it."""
    now, before = sample["cpu_stats"], sample["precpu_stats"]
    used = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    whole = now["system_cpu_usage"] - before["system_cpu_usage"]
    return float(used / whole * now["online_cpus"] * 100)


def test_one_look_with_the_one_before(either: Host, name: str) -> None:
    started(either, name, "sh", "-c", BUSY)
    sample = either.http("GET", STATS.format(name), query={"stream": "false"}).json
    assert 1 < cpu_percent(sample) < 110
    assert 0 < sample["memory_stats"]["usage"] < sample["memory_stats"]["limit"]
    assert sample["pids_stats"]["current"] == 1
    assert sample["preread"] < sample["read"]
    assert sample["name"] == f"/{name}"
    either.agrees("fields of cpu_stats", set(sample["cpu_stats"]), {
        "cpu_usage", "system_cpu_usage", "online_cpus", "throttling_data",
    })  # fmt: skip


def test_one_look_alone(either: Host, name: str) -> None:
    started(either, name)
    sample = either.http("GET", STATS.format(name), query={"stream": "0", "one-shot": "1"}).json
    # No second look is waited for: there is one only.
    either.agrees("precpu_stats of one look", sample["precpu_stats"]["cpu_usage"]["total_usage"], 0)
    answer = either.http("GET", STATS.format(name), query={"one-shot": "1"})
    either.agrees("one look of a stream", answer.status, 400)


def test_a_stream_ends_with_the_container(host: Host, http: Http, name: str) -> None:
    started(host, name)
    connection, answer = http.stream("GET", STATS.format(name))
    samples = [json.loads(answer.readline()) for _ in range(3)]
    assert [each["id"] for each in samples] == [samples[0]["id"]] * 3
    assert samples[0]["read"] < samples[1]["read"] < samples[2]["read"]
    assert samples[2]["preread"] == samples[1]["read"]
    host.docker("kill", name)
    last = next(each for line in answer if (each := json.loads(line))["pids_stats"] == {})
    assert last["cpu_stats"]["cpu_usage"]["total_usage"] == 0
    host.docker("rm", name)
    end = time.monotonic() + PATIENCE_SECONDS
    while answer.readline():
        assert time.monotonic() < end
    connection.close()


def test_what_does_not_run(either: Host, name: str) -> None:
    either.docker("create", "--network", "none", "--name", name, "busybox", "true")
    sample = either.http("GET", STATS.format(name), query={"stream": "0"}).json
    either.agrees("stats of what does not run", sample["read"], "0001-01-01T00:00:00Z")
    assert sample["cpu_stats"]["cpu_usage"]["total_usage"] == 0
    answer = either.http("GET", f"/containers/{name}/top")
    said = answer.message.replace(either.http("GET", f"/containers/{name}/json").json["Id"], "ID")
    either.agrees("top of what does not run", (answer.status, said), (409, "container ID is not running"))
    answer = either.http("GET", STATS.format("no-such-one"))
    either.agrees(
        "stats of nothing", (answer.status, answer.message), (404, "No such container: no-such-one")
    )


def test_limits_are_shown(either: Host, name: str) -> None:
    limits = ("--memory", "64m", "--pids-limit", "50")
    either.docker("run", "-d", "--name", name, "--network", "none", *limits, "busybox", "sleep", "1000")
    sample = either.http("GET", STATS.format(name), query={"stream": "0", "one-shot": "1"}).json
    either.agrees("memory limit", sample["memory_stats"]["limit"], 64 << 20)
    either.agrees("pids limit", sample["pids_stats"]["limit"], 50)


def test_interfaces(host: Host, http: Http, name: str) -> None:
    host.docker("run", "-d", "--name", name, "busybox", "sleep", "1000")
    sample = http("GET", STATS.format(name), query={"stream": "0", "one-shot": "1"}).json
    assert set(sample["networks"]) == {"eth0"}


def test_the_command_line(host: Host, client: Any, name: str) -> None:
    started(host, name, "sh", "-c", BUSY)
    form = "{{.Name}} {{.CPUPerc}} {{.PIDs}} {{.MemUsage}}"
    shown = host.docker("stats", "--no-stream", "--format", form, name).stdout.split()
    assert shown[0] == name
    assert 1 < float(shown[1].rstrip("%")) < 110
    assert shown[2] == "1"
    assert client.containers.get(name).stats(stream=False)["pids_stats"]["current"] == 1


def test_many_followers_are_one_look(host: Host, http: Http, name: str) -> None:
    """All that follow are given the same sample, once the last of them is there."""
    started(host, name)
    opened = [http.stream("GET", STATS.format(name)) for _ in range(20)]
    seen = [json.loads(answer.readline())["read"] for _, answer in opened]
    latest = max(seen)
    for moment, (_, answer) in zip(seen, opened, strict=True):
        while moment < latest:
            moment = json.loads(answer.readline())["read"]
        assert moment == latest
    for connection, _ in opened:
        connection.close()


def commands(host: Host, name: str) -> list[str]:
    return sorted(row[-1] for row in host.http("GET", f"/containers/{name}/top").json["Processes"])


def test_processes(either: Host, name: str) -> None:
    started(either, name, "sh", "-c", "sleep 1000 & exec sleep 2000")
    end = time.monotonic() + PATIENCE_SECONDS
    while commands(either, name) != ["sleep 1000", "sleep 2000"]:
        assert time.monotonic() < end
    for arguments, titles in (
        ("", "UID PID PPID C STIME TTY TIME CMD"),
        ("-ef", "UID PID PPID C STIME TTY TIME CMD"),
        ("aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
        ("-o pid,user,comm", "PID USER COMMAND"),
        ("-eo pid,args", "PID COMMAND"),
        ("-eF", "UID PID PPID C SZ RSS PSR STIME TTY TIME CMD"),
    ):
        query = {"ps_args": arguments} if arguments else {}
        found = either.http("GET", f"/containers/{name}/top", query=query).json
        either.agrees(f"titles of top {arguments}", " ".join(found["Titles"]), titles)
        assert len(found["Processes"]) == 2
        assert {len(row) for row in found["Processes"]} == {len(found["Titles"])}
    rows = either.http("GET", f"/containers/{name}/top").json["Processes"]
    either.agrees("users of top", {row[0] for row in rows}, {"root"})
    shown = either.docker("top", name, "-o", "pid,comm").stdout.split()
    assert shown[:2] == ["PID", "COMMAND"]


def test_arguments_that_are_not_known(host: Host, http: Http, name: str) -> None:
    started(host, name)
    answer = http("GET", f"/containers/{name}/top", query={"ps_args": "--sort=pid"})
    assert (answer.status, "--sort=pid" in answer.message) == (400, True)


def test_clients_that_break_off_leave_nothing(host: Host, http: Http, agent_story: Story, name: str) -> None:
    """Streams of stats and archives, given up at any moment."""
    started(host, name)
    folder = Path(f"/proc/{agent_story.agent_pid()}/fd")
    where = f"/containers/{name}/archive"
    http("GET", where, query={"path": "/etc"})
    before = kinds(folder)
    for number in range(60):
        path = (STATS.format(name), where, f"/containers/{name}/export")[number % 3]
        connection, answer = http.stream("GET", path, query={"path": "/"} if path == where else {})
        answer.read(number * 7)
        connection.close()
    end = time.monotonic() + PATIENCE_SECONDS
    while (left := kinds(folder) - before).total():
        assert time.monotonic() < end, left
    sample = http("GET", STATS.format(name), query={"stream": "0"}).json
    assert sample["pids_stats"]["current"] == 1


def kinds(folder: Path) -> Counter[str]:
    """How many sockets, pipes and others a process has."""
    found: Counter[str] = Counter()
    for each in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            found[os.readlink(folder / each).partition(":[")[0]] += 1
    return Counter({kind: found[kind] for kind in ("socket", "pipe", "anon_inode", "/")})
