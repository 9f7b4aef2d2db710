"""Containers' lives by real clients, against the agent and against dockerd."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.api.host import Host
from tests.api.http_client import Http
from tests.e2e.project import has_v1
from tests.e2e.story import eventually


def inspected(host: Host, name: str) -> dict[str, Any]:
    found: dict[str, Any] = host.http("GET", f"/containers/{name}/json").json
    return found


def listed(host: Host, **filters: list[str]) -> set[str]:
    rows = host.http("GET", "/containers/json", query={"all": "1", "filters": filters}).json
    return {row["Names"][0].removeprefix("/") for row in rows}


def test_a_life(either: Host, name: str) -> None:
    id = either.docker("create", "--name", name, "busybox", "sleep", "1000").stdout.strip()
    assert len(id) == 64
    made = inspected(either, name)
    assert (made["Id"], made["Name"], made["State"]["Status"]) == (id, f"/{name}", "created")
    assert made["State"]["StartedAt"] == "0001-01-01T00:00:00Z"
    assert either.http("POST", f"/containers/{name}/start").status == 204
    assert either.http("POST", f"/containers/{id[:12]}/start").status == 304
    runs = inspected(either, id)["State"]
    assert runs["Running"] and runs["Pid"] > 1 and runs["Status"] == "running"
    assert either.http("POST", f"/containers/{name}/stop", query={"t": "0"}).status == 204
    assert either.http("POST", f"/containers/{name}/stop").status == 304
    ended = inspected(either, name)["State"]
    assert (ended["Status"], ended["ExitCode"], ended["Running"]) == ("exited", 137, False)
    assert either.http("POST", f"/containers/{name}/restart", query={"t": "0"}).status == 204
    again = inspected(either, name)
    assert again["Id"] == id and again["State"]["Pid"] not in (0, runs["Pid"])
    refused = either.http("DELETE", f"/containers/{name}")
    assert refused.status == 409 and "is running: stop the container before removing" in refused.message
    assert either.http("DELETE", f"/containers/{name}", query={"force": "1"}).status == 204
    gone = either.http("GET", f"/containers/{name}/json")
    assert (gone.status, gone.message) == (404, f"No such container: {name}")
    assert either.http("DELETE", f"/containers/{name}").status == 404


@pytest.mark.parametrize("signal", ["KILL", "9", "SIGUSR1"])
def test_signals_end_it(either: Host, name: str, signal: str) -> None:
    either.docker("run", "-d", "--restart", "no", "--name", name, "busybox", "sh", "-c", TRAP)
    eventually(lambda: "ready" in either.docker("logs", name).stdout, "its trap is set")
    assert either.http("POST", f"/containers/{name}/kill", query={"signal": signal}).status == 204
    code = either.http("POST", f"/containers/{name}/wait").json["StatusCode"]
    assert code == (42 if signal == "SIGUSR1" else 137)
    late = either.http("POST", f"/containers/{name}/kill")
    assert late.status == 409 and "is not running" in late.message


TRAP = "trap 'exit 42' USR1; echo ready; while true; do sleep 0.05; done"


def test_a_kill_is_for_good_whatever_the_policy(either: Host, name: str) -> None:
    either.docker("run", "-d", "--restart", "always", "--name", name, "busybox", "sleep", "1000")
    either.docker("kill", name)
    eventually(lambda: inspected(either, name)["State"]["Status"] == "exited", "it is down")
    assert inspected(either, name)["RestartCount"] == 0


@pytest.mark.parametrize(
    ("signal", "options"), [("TERM", ()), ("INT", ()), ("USR1", ("--stop-signal", "USR1"))]
)
def test_so_is_the_signal_that_stops_it(
    either: Host, name: str, signal: str, options: tuple[str, ...]
) -> None:
    ends = f"trap 'exit 7' {signal}; echo ready; while true; do sleep 0.05; done"
    either.docker("run", "-d", "--restart", "always", "--name", name, *options, "busybox", "sh", "-c", ends)
    eventually(lambda: "ready" in either.docker("logs", name).stdout, "its trap is set")
    either.docker("kill", "-s", signal, name)
    last = eventually(lambda: _ended(either, name), "it is down")
    assert (last["ExitCode"], inspected(either, name)["RestartCount"]) == (7, 0)
    assert inspected(either, name)["HostConfig"]["RestartPolicy"]["Name"] == "always"
    either.docker("start", name)
    eventually(lambda: either.docker("logs", name).stdout.count("ready") == 2, "its trap is set again")
    either.docker("exec", name, "kill", f"-{signal}", "1", check=False)  # it may end with all others
    eventually(lambda: either.docker("logs", name).stdout.count("ready") == 3, "by its policy")


def test_a_signal_that_says_something_else_changes_no_policy(either: Host, name: str) -> None:
    ends = "trap 'exit 7' HUP; echo ready; while true; do sleep 0.05; done"
    either.docker(
        "run",
        "-d",
        "--restart",
        "always",
        "--stop-signal",
        "TERM",
        "--name",
        name,
        "busybox",
        "sh",
        "-c",
        ends,
    )
    eventually(lambda: "ready" in either.docker("logs", name).stdout, "its trap is set")
    either.docker("kill", "-s", "HUP", name)
    eventually(lambda: either.docker("logs", name).stdout.count("ready") == 2, "by its policy")


@pytest.mark.parametrize("sooner", [("stop", "-t", "1"), ("restart", "-t", "0"), ("rm", "-f"), ("kill",)])
def test_a_stop_that_has_all_the_time_is_overtaken(either: Host, name: str, sooner: tuple[str, ...]) -> None:
    stubborn = "trap 'echo no' TERM; echo ready; while true; do sleep 0.05; done"
    either.docker("run", "-d", "--name", name, "busybox", "sh", "-c", stubborn)
    eventually(lambda: "ready" in either.docker("logs", name).stdout, "its trap is set")
    pid = inspected(either, name)["State"]["Pid"]
    path = f"/containers/{name}/stop"
    slow = threading.Thread(target=either.http, args=("POST", path), kwargs={"query": {"t": "-1"}})
    slow.start()
    eventually(lambda: "no" in either.docker("logs", name).stdout, "the signal has come")
    either.docker(*sooner, name)
    assert not Path(f"/proc/{pid}").exists()
    slow.join(30)
    assert not slow.is_alive(), "who waited for ever is answered"


def test_what_ends_by_itself_comes_back_by_its_policy(either: Host, name: str) -> None:
    either.docker("run", "-d", "--restart", "on-failure:2", "--name", name, "busybox", "sh", "-c", "exit 3")
    eventually(lambda: inspected(either, name)["RestartCount"] == 2, "two more runs")
    last = eventually(lambda: _ended(either, name), "and then no more")
    assert last["ExitCode"] == 3


def _ended(host: Host, name: str) -> dict[str, Any] | None:
    state: dict[str, Any] = inspected(host, name)["State"]
    return state if state["Status"] == "exited" else None


def test_pause(either: Host, name: str) -> None:
    either.docker("run", "-d", "--name", name, "busybox", "sleep", "1000")
    assert either.http("POST", f"/containers/{name}/pause").status == 204
    state = inspected(either, name)["State"]
    assert (state["Status"], state["Paused"], state["Running"]) == ("paused", True, True)
    assert either.http("POST", f"/containers/{name}/pause").status == 409
    assert either.http("POST", f"/containers/{name}/start").status == 409
    assert either.http("POST", f"/containers/{name}/unpause").status == 204
    assert either.http("POST", f"/containers/{name}/unpause").status in (409, 500)
    assert inspected(either, name)["State"]["Status"] == "running"


def test_wait_answers_its_head_at_once_and_the_code_later(either: Host, name: str) -> None:
    either.docker("create", "--name", name, "busybox", "sh", "-c", "exit 5")
    path = f"/containers/{name}/wait"
    connection, answer = either.http.stream("POST", path, query={"condition": "next-exit"})
    assert answer.status == 200
    either.http("POST", f"/containers/{name}/start")
    assert json.loads(answer.read())["StatusCode"] == 5
    connection.close()
    assert either.http("POST", path).json["StatusCode"] == 5
    connection, answer = either.http.stream("POST", path, query={"condition": "removed"})
    either.docker("rm", name)
    assert json.loads(answer.read())["StatusCode"] == 5
    connection.close()
    assert either.http("POST", path).status == 404
    bad = either.http("POST", "/containers/x/wait", query={"condition": "soon"})
    assert bad.status in (400, 404)


@pytest.mark.parametrize(
    ("words", "code"),
    [(("kill",), 137), (("stop", "-t", "0"), 137), (("restart", "-t", "0"), 137), (("rm", "-f"), 137)],
)
@pytest.mark.parametrize("condition", ["not-running", "next-exit"])
def test_who_waits_hears_of_an_end_that_was_asked_for(
    either: Host, name: str, condition: str, words: tuple[str, ...], code: int
) -> None:
    """Whoever asked for it: `docker wait`, and a `docker run` in the foreground that another one stops."""
    either.docker("run", "-d", "--name", name, "busybox", "sleep", "1000")
    path = f"/containers/{name}/wait"
    connection, answer = either.http.stream("POST", path, query={"condition": condition})
    assert answer.status == 200
    either.docker(*words, name)
    assert json.loads(answer.read())["StatusCode"] == code
    connection.close()


def test_one_name_for_one(either: Host, name: str) -> None:
    """100 at once: one gets it."""
    answers: list[int] = []

    def create() -> None:
        answers.append(
            either.http("POST", "/containers/create", {"Image": "busybox"}, query={"name": name}).status
        )

    threads = [threading.Thread(target=create) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(answers) == {201: 1, 409: 99}
    assert listed(either, name=[f"^/{name}$"]) == {name}


@pytest.mark.parametrize("kind", ["network", "pid", "ipc"])
def test_one_that_is_only_made_can_be_joined(either: Host, name: str, kind: str) -> None:
    """Compose makes all containers of a file before it starts one."""
    run = ("busybox", "sleep", "1000")
    either.docker("create", "--name", name, "--network", "none", "--ipc", "shareable", *run)
    other = () if kind == "network" else ("--network", "none")
    either.docker("create", "--name", f"{name}2", f"--{kind}", f"container:{name}", *other, *run)
    assert either.docker("start", f"{name}2", check=False).returncode != 0
    either.docker("start", name)
    either.docker("start", f"{name}2")
    space = {"network": "net"}.get(kind, kind)
    states = [either.http("GET", f"/containers/{each}/json").json["State"] for each in (name, f"{name}2")]
    assert len({os.readlink(f"/proc/{state['Pid']}/ns/{space}") for state in states}) == 1


def test_rename(either: Host, name: str) -> None:
    either.docker("create", "--name", name, "busybox", "sleep", "1000")
    if either.is_ours:  # dockerd without a bridge renames nothing that runs
        either.docker("start", name)
    pid = inspected(either, name)["State"]["Pid"]
    other = f"{name}b"
    assert either.http("POST", f"/containers/{name}/rename", query={"name": other}).status == 204
    assert inspected(either, other)["State"]["Pid"] == pid
    assert either.http("GET", f"/containers/{name}/json").status == 404
    either.docker("create", "--name", name, "busybox")
    taken = either.http("POST", f"/containers/{other}/rename", query={"name": name})
    assert taken.status == 409 and "is already in use" in taken.message


def test_limits_change_while_it_runs(either: Host, name: str) -> None:
    either.docker(
        "run", "-d", "--name", name, "-m", "64m", "--memory-swap", "64m", "busybox", "sleep", "1000"
    )
    pid = inspected(either, name)["State"]["Pid"]
    either.docker(
        "update", "-m", "32m", "--memory-swap", "32m", "--pids-limit", "77", "--restart", "always", name
    )
    now = inspected(either, name)
    host = now["HostConfig"]
    assert (host["Memory"], host["PidsLimit"]) == (32 << 20, 77)
    assert host["RestartPolicy"]["Name"] == "always" and now["State"]["Pid"] == pid
    [line] = either.docker(
        "exec", name, "sh", "-c", "cat /sys/fs/cgroup/pids/pids.max || cat /sys/fs/cgroup/pids.max"
    ).stdout.splitlines()
    assert line == "77"
    either.docker("update", "--cpus", "0.5", name)
    assert inspected(either, name)["HostConfig"]["Memory"] == 32 << 20  # what is not said stays


def cpu_of(host: Host, name: str) -> tuple[int, int, list[int]]:
    """Quota (-1: none) and period in the kernel, and what is shown: NanoCpus, CpuPeriod, CpuQuota."""
    v1 = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us"
    look = f"[ -d /sys/fs/cgroup/cpu ] && {v1} || cat /sys/fs/cgroup/cpu.max"
    quota, period = host.docker("exec", name, "sh", "-c", look).stdout.split()
    shown = inspected(host, name)["HostConfig"]
    words = [shown[each] for each in ("NanoCpus", "CpuPeriod", "CpuQuota")]
    return -1 if quota == "max" else int(quota), int(period), words


@pytest.mark.parametrize(
    ("words", "quota", "period", "shown", "later"),
    [
        ("--cpu-period 50000", -1, 50_000, [0, 50_000, 0], (-1, 20_000, [0, 20_000, 0])),
        ("--cpu-period 50000 --cpu-quota 25000", 25_000, 50_000, [0, 50_000, 25_000],
         (25_000, 20_000, [0, 20_000, 25_000])),
        ("--cpu-quota 25000", 25_000, 100_000, [0, 0, 25_000], (25_000, 20_000, [0, 20_000, 25_000])),
        ("--cpus 0.5", 50_000, 100_000, [500_000_000, 0, 0], None),
    ],
)  # fmt: skip
def test_a_period_is_the_containers_own(
    either: Host, name: str, words: str, quota: int, period: int, shown: list[int], later: object
) -> None:
    """later: after an update of the period alone; None: it is refused."""
    either.docker(
        "run", "-d", "--network", "none", "--name", name, *words.split(), "busybox", "sleep", "1000"
    )
    assert cpu_of(either, name) == (quota, period, shown)
    changed = either.http("POST", f"/containers/{name}/update", {"CpuPeriod": 20_000})
    if later is None:
        assert changed.status == 409
        why = "CPU Period cannot be updated as NanoCPUs has already been set"
        assert f"Conflicting options: {why}" in changed.message
        return
    assert changed.status == 200 and cpu_of(either, name) == later
    refused = either.http("POST", f"/containers/{name}/update", {"NanoCpus": 500_000_000})
    assert refused.status == 409 and "Nano CPUs cannot be updated as CPU Period" in refused.message
    assert either.http("POST", f"/containers/{name}/update", {"CpuQuota": -1}).status == 200
    assert cpu_of(either, name)[:2] == (-1, 20_000)


def test_no_share_of_the_processors_is_shown_as_it_was_said(either: Host, name: str) -> None:
    either.docker(
        "run", "-d", "--network", "none", "--name", name, "--cpu-quota", "-1", "busybox", "sleep", "1000"
    )
    for quota in (-1, 50_000, -1):
        assert either.http("POST", f"/containers/{name}/update", {"CpuQuota": quota}).status == 200
        shown = inspected(either, name)["HostConfig"]
        assert [shown[each] for each in ("NanoCpus", "CpuPeriod", "CpuQuota")] == [0, 0, quota]


def test_a_limit_that_the_kernel_refuses_is_not_what_the_next_start_has(either: Host, name: str) -> None:
    if not has_v1("memory"):
        pytest.skip("newer kernels take it, and end a process")
    fill = "dd if=/dev/zero of=/dev/shm/full bs=1M count=60 2>&- && echo full && sleep 1000"
    either.docker("run", "-d", "--name", name, "--shm-size", "100m", "busybox", "sh", "-c", fill)
    eventually(lambda: "full" in either.docker("logs", name).stdout, "it has 60 MB, which no disk can take")
    refused = either.docker("update", "-m", "20m", "--memory-swap", "20m", name, check=False)
    assert refused.returncode, refused
    assert inspected(either, name)["HostConfig"]["Memory"] == 0
    either.docker("restart", "-t", "0", name)
    eventually(lambda: either.docker("logs", name).stdout.count("full") == 2, "it has room for them again")
    assert either.docker("update", "-m", "200m", "--memory-swap", "200m", name).stdout
    assert inspected(either, name)["HostConfig"]["Memory"] == 200 << 20


def test_auto_remove(either: Host, name: str) -> None:
    either.docker("run", "-d", "--rm", "--name", name, "-v", "/data", "busybox", "sleep", "1000")
    [mount] = inspected(either, name)["Mounts"]
    assert mount["Type"] == "volume" and mount["Destination"] == "/data"
    assert either.http("GET", f"/volumes/{mount['Name']}").status == 200
    either.docker("stop", "-t", "0", name)
    eventually(lambda: either.http("GET", f"/containers/{name}/json").status == 404, "it goes by itself")
    eventually(lambda: either.http("GET", f"/volumes/{mount['Name']}").status == 404, "and its volume")


def test_a_start_that_fails(either: Host, name: str) -> None:
    done = either.docker("run", "--name", name, "busybox", "/nonexistent", check=False)
    assert done.returncode == 127, done.stderr
    state = inspected(either, name)["State"]
    assert (state["Status"], state["ExitCode"]) == ("created", 127) and "/nonexistent" in state["Error"]
    done = either.docker("run", "--rm", "--name", f"{name}b", "busybox", "/nonexistent", check=False)
    assert done.returncode == 127
    assert listed(either, name=[name]) == {name}
    done = either.docker("run", "--rm", "busybox", "/etc", check=False)
    assert done.returncode == 126, done.stderr


def test_why_a_start_failed_is_shown_until_one_does_not(either: Host, name: str, tmp_path: Path) -> None:
    either.docker("create", "--name", name, "--network", "none", "busybox", "/program")
    assert either.docker("start", name, check=False).returncode == 1
    state = inspected(either, name)["State"]
    assert (state["ExitCode"], "/program" in state["Error"]) == (127, True)
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    either.docker("cp", program, f"{name}:/program")
    either.docker("start", name)
    either.docker("wait", name)
    state = inspected(either, name)["State"]
    assert (state["Status"], state["ExitCode"], state["Error"]) == ("exited", 3, "")


def test_lists_are_filtered(either: Host, name: str) -> None:
    one, two, three = f"{name}1", f"{name}2", f"{name}3"
    either.docker("run", "-d", "--name", one, "-l", "a=b", "-l", "c", "busybox", "sleep", "1000")
    either.docker("run", "--name", two, "-l", "a=x", "busybox", "sh", "-c", "exit 3", check=False)
    id = either.docker(
        "create", "--name", three, "-v", f"{name}:/v", "--expose", "99", "busybox"
    ).stdout.strip()
    mine = {one, two, three}
    cases: list[tuple[dict[str, list[str]], set[str]]] = [
        ({}, mine),
        ({"label": ["a"]}, {one, two}),
        ({"label": ["a=b"]}, {one}),
        ({"label": ["a", "c"]}, {one}),
        ({"status": ["running"]}, {one}),
        ({"status": ["created", "exited"]}, {two, three}),
        ({"exited": ["3"]}, {two}),
        ({"exited": ["0"]}, set()),
        ({"before": [two]}, {one}),
        ({"since": [two]}, {three}),
        ({"volume": [name]}, {three}),
        ({"volume": ["/v"]}, {three}),
        ({"id": [id[:12]]}, {three}),
        ({"id": [id, "0" * 12]}, {three}),
        ({"expose": ["99"]}, set()),  # it has no network yet
        ({"ancestor": ["busybox"]}, mine),
        ({"network": ["bridge"]}, mine),
        ({"network": ["host"]}, set()),
        ({"health": ["none"]}, mine),
        ({"is-task": ["false"]}, mine),
    ]
    for filters, expected in cases:
        names = {**filters, "name": [name]}
        either.agrees(f"containers by {sorted(filters)}", listed(either, **names), expected)
    rows = either.http("GET", "/containers/json", query={"filters": {"name": [name]}}).json
    assert [row["Names"] for row in rows] == [[f"/{one}"]]
    newest = either.http("GET", "/containers/json", query={"limit": "1"}).json
    assert [row["Names"] for row in newest] == [[f"/{three}"]]
    bad = either.http("GET", "/containers/json", query={"filters": {"nonsense": ["x"]}})
    assert bad.status == 400


def test_lists_are_filtered_by_ports(either: Host, name: str) -> None:
    either.docker("network", "create", name)
    words = ("--network", name, "--expose", "99", "-p", "127.0.0.1:18080:80")
    either.docker("run", "-d", "--name", name, *words, "busybox", "sleep", "1000")
    cases: list[tuple[dict[str, list[str]], bool]] = [
        ({"expose": ["99"]}, True),
        ({"expose": ["90-100/tcp"]}, True),
        ({"expose": ["99/udp"]}, False),
        ({"expose": ["80"]}, True),
        ({"publish": ["80"]}, False),
        ({"publish": ["18000-18090"]}, True),
        ({"publish": ["1"], "expose": ["99"]}, True),
        ({"publish": ["1"], "expose": ["2"]}, False),
    ]
    for filters, fits in cases:
        found = listed(either, **filters, name=[name])
        either.agrees(f"containers by {filters}", found, {name} if fits else set())
    for filters in ({"expose": ["x"]}, {"publish": ["9-3"]}, {"publish": ["a:b"]}):
        bad = either.http("GET", "/containers/json", query={"filters": filters})
        either.agrees("a filter that is no port", bad.status, 400)


def test_prune(either: Host, name: str) -> None:
    either.docker("run", "-d", "--name", name, "busybox", "sleep", "1000")
    either.docker("create", "--name", f"{name}b", "-l", "goes", "busybox")
    either.docker("create", "--name", f"{name}c", "busybox")
    seen = either.http("POST", "/containers/prune", query={"filters": {"label": ["goes"]}})
    assert len(seen.json["ContainersDeleted"]) == 1 and seen.json["SpaceReclaimed"] >= 0
    assert listed(either, name=[name]) == {name, f"{name}c"}
    either.docker("create", "--name", f"{name}d", "-l", "stays", "busybox")
    for filters in ({"until": ["1h"]}, {"until": ["0s"], "label": ["goes"]}):
        seen = either.http("POST", "/containers/prune", query={"filters": filters})
        assert seen.status == 200 and not seen.json["ContainersDeleted"], filters
    soon = f"until={int(time.time()) + 2}"
    either.docker("container", "prune", "-f", "--filter", "label!=stays", "--filter", soon)
    assert listed(either, name=[name]) == {name, f"{name}d"}
    either.http("POST", "/containers/prune")
    assert listed(either, name=[name]) == {name}


def test_a_time_that_is_none_is_refused_of_what_does_not_run_too(either: Host, name: str) -> None:
    either.docker("create", "--name", name, "busybox")
    for what in ("stop?t=x", "restart?t=1.5"):
        answer = either.http("POST", f"/containers/{name}/{what}")
        either.agrees("a time that is none", answer.status, 400)
    assert either.http("POST", f"/containers/{name}/stop?t=1").status == 304


def test_a_link_is_taken_away(either: Host, name: str) -> None:
    """`docker rm --link`: the name, and neither of the two containers."""
    other = f"{name}db"
    either.docker("run", "-d", "--name", other, "--network", "none", "busybox", "sleep", "1000")
    assert either.docker("rm", "--link", f"{name}/db", check=False).returncode == 1
    assert listed(either, name=[name]) == {other}


def test_what_was_asked_for_is_what_is_shown(either: Host, name: str) -> None:
    """Config and HostConfig go round: what a client would make again is the same."""
    body = {
        "Image": "busybox", "Cmd": ["sleep", "1000"], "Env": ["A=b"], "Labels": {"x": "y"}, "User": "1:1",
        "WorkingDir": "/tmp", "Hostname": "host", "Domainname": "example.org", "StopSignal": "SIGINT",
        "StopTimeout": 3, "Tty": True, "OpenStdin": True, "ExposedPorts": {"80/tcp": {}},
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 10**9, "Retries": 2},
        "HostConfig": {
            "Memory": 64 << 20, "MemorySwap": 64 << 20, "NanoCpus": 5 * 10**8, "PidsLimit": 99,
            "CapAdd": ["NET_ADMIN"], "CapDrop": ["MKNOD"], "ReadonlyRootfs": True, "Tmpfs": {"/t": "size=1m"},
            "Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}], "ShmSize": 1 << 20, "Init": True,
            "RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0},
            "ExtraHosts": ["there:10.9.8.7"], "SecurityOpt": ["no-new-privileges"],
            "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]},
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}},
        },
    }  # fmt: skip
    assert either.http("POST", "/containers/create", body, query={"name": name}).status == 201
    if either.is_ours:  # dockerd has no bridge here
        assert either.http("POST", f"/containers/{name}/start").status == 204
    shown = inspected(either, name)
    for field in ("Cmd", "Env", "User", "WorkingDir", "Hostname", "Domainname", "StopSignal", "StopTimeout"):
        if field == "Env":
            assert "A=b" in shown["Config"]["Env"]
        else:
            assert shown["Config"][field] == body[field], field
    assert shown["Config"]["Labels"]["x"] == "y" and shown["Config"]["Healthcheck"]["Interval"] == 10**9
    for field, value in body["HostConfig"].items():  # type: ignore[attr-defined]
        if field in ("CapAdd", "CapDrop"):
            assert [cap.removeprefix("CAP_") for cap in shown["HostConfig"][field]] == value
        else:
            assert shown["HostConfig"][field] == value, field


REFUSED: list[tuple[dict[str, Any], int]] = [
    ({"Image": ""}, 400),
    ({"Image": "busybox", "Entrypoint": [""], "Cmd": []}, 400),
    ({"Image": "busybox", "HostConfig": {"RestartPolicy": {"Name": "sometimes"}}}, 400),
    ({"Image": "busybox", "HostConfig": {"AutoRemove": True, "RestartPolicy": {"Name": "always"}}}, 400),
    ({"Image": "busybox", "HostConfig": {"Memory": 1000}}, 400),
    ({"Image": "busybox", "HostConfig": {"CpusetCpus": "0-2147483647"}}, 400),
    ({"Image": "busybox", "HostConfig": {"Binds": ["/a:/b:sideways"]}}, 400),
    ({"Image": "busybox", "HostConfig": {"Mounts": [{"Type": "bind", "Source": "x", "Target": "/y"}]}}, 400),
    ({"Image": "busybox", "HostConfig": {"NetworkMode": "container:nobody"}}, 400),
    ({"Image": "busybox", "HostConfig": {"DeviceRequests": [{"Count": -1, "Capabilities": [["gpu"]]}]}}, 501),
    ({"Image": "busybox", "HostConfig": {"BlkioWeight": 5}}, 400),
    ({"Image": "busybox", "HostConfig": {"StorageOpt": {"size": "1g"}}}, 501),
    ({"Image": "busybox", "StopSignal": "SIGNONSENSE"}, 400),
    ({"Image": "busybox", "Labels": {"setpoint.key": "shop/container/web"}}, 400),
    ({"Image": "busybox", "HostConfig": {"Devices": [{"PathOnHost": "/dev/nope"}]}}, 400),
    ({"Image": "busybox", "HostConfig": {"ShmSize": -1}}, 400),
    ({"Image": "busybox", "MacAddress": "nonsense"}, 400),
    ({"Image": "busybox", "NetworkingConfig": {"EndpointsConfig": {"bridge": {"MacAddress": "01:2"}}}}, 400),
    (
        {
            "Image": "busybox",
            "NetworkingConfig": {"EndpointsConfig": {"bridge": {"MacAddress": "ff:ff:ff:ff:ff:ff"}}},
        },
        400,
    ),
    ({"Image": "busybox", "HostConfig": {"MemoryReservation": 5}}, 400),
    ({"Image": "busybox", "HostConfig": {"Annotations": {"": "x"}}}, 400),
    ({"Image": "busybox", "Volumes": {"/x": "y"}}, 400),
    ({"Image": "nobody/has:this"}, 404),
]


@pytest.mark.parametrize(("body", "status"), REFUSED, ids=lambda value: str(value)[:60])
def test_what_makes_no_sense_is_refused_and_leaves_nothing(
    http: Http, host: Host, body: dict[str, Any], status: int, name: str
) -> None:
    answer = http("POST", "/containers/create", body, query={"name": name})
    assert answer.status == status, answer.message
    assert answer.message
    assert listed(host, name=[name]) == set()


@pytest.mark.parametrize("filters", [{"status": ["foo"]}, {"foo": ["a"]}], ids=str)
def test_a_filter_that_is_none_is_told_by_name_alone(either: Host, filters: dict[str, list[str]]) -> None:
    answer = either.http("GET", "/containers/json", query={"filters": filters})
    assert (answer.status, answer.message.replace("[foo]", "foo")) == (
        400,
        f"invalid filter '{'status=foo' if 'status' in filters else 'foo'}'",
    )


@pytest.mark.parametrize("bad", ["a", "-a", "a b", "../x", "a/b", "ü" * 5, "x" * 200])
def test_names_that_are_none(http: Http, bad: str) -> None:
    answer = http("POST", "/containers/create", {"Image": "busybox"}, query={"name": bad})
    assert answer.status == 400 and "Invalid container name" in answer.message


def test_what_a_manifest_owns_is_shown_and_says_where_it_is_changed(
    host: Host, agent_story: Any, name: str
) -> None:
    ends = "stop_signal: SIGKILL"
    compose = f"services:\n  {name}:\n    image: busybox\n    command: [sleep, '1000']\n    {ends}\n"
    agent_story.apply({"shop/compose.yaml": compose})
    try:
        shown = inspected(host, f"shop-{name}-1")
        assert shown["Config"]["Labels"]["com.docker.compose.service"] == name
        assert shown["Config"]["Cmd"] == ["sleep", "1000"]
        for method, path in (("DELETE", "?force=1"), ("POST", "/stop"), ("POST", "/rename?name=other")):
            answer = host.http(method, f"/containers/shop-{name}-1{path}")
            assert answer.status == 409 and "shop/compose.yaml:2" in answer.message
        assert inspected(host, f"shop-{name}-1")["State"]["Pid"] == shown["State"]["Pid"]
        assert host.http("POST", f"/containers/shop-{name}-1/restart", query={"t": "0"}).status == 204
        assert inspected(host, f"shop-{name}-1")["State"]["Pid"] != shown["State"]["Pid"]
    finally:
        agent_story.apply({"shop/compose.yaml": None})
