"""The agent when the machine gives it little: no descriptors left, no time to run, containers that end all
the time, readers that do not read. What it cannot do it says; what runs goes on."""

from __future__ import annotations

import os
import resource
import signal
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from agent.client import Client
from runtime.errors import SetpointError

from .conftest import AgentProcess, until

LOOPERS = "services:\n" + "".join(
    f"  l{n}: {{image: 'busybox:latest', command: ['false'], restart: always}}\n" for n in range(30)
)
NORMAL = "services:\n" + "".join(
    f"  n{n}: {{image: 'busybox:latest', command: [sleep, '1000'], stop_signal: SIGKILL}}\n"
    for n in range(10)
)
FLOOD = """\
services:
  flood:
    image: busybox:latest
    command: [sh, -c, 'n=0; while :; do n=$$((n+1)); echo line $$n of a flood that nobody reads; done']
    stop_signal: SIGKILL
"""


def objects(agent: AgentProcess, project: str) -> list[dict[str, Any]]:
    found = agent.client.status()["objects"]
    return [o for o in found if o["key"].startswith(f"{project}/container/")]


def put(agent: AgentProcess, project: str, text: str) -> None:
    file = agent.manifests / project / "compose.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)


def pid_of(agent: AgentProcess) -> int:
    assert agent.process is not None
    return agent.process.pid


def test_without_descriptors_requests_fail_and_the_agent_goes_on(ready: AgentProcess) -> None:
    pid = pid_of(ready)
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    highest = max(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir() if int(path.name) < 1024)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 3, before[1]))
    try:
        with ExitStack() as stack:
            for _ in range(used + 64):  # more than there is room for
                connection = stack.enter_context(socket.socket(socket.AF_UNIX))
                connection.settimeout(5)
                connection.connect(str(ready.layout.agent_socket))
            with pytest.raises(SetpointError):  # in time, and no other way
                Client(ready.layout.agent_socket, timeout_seconds=1).status()
            os.kill(first_container(ready), signal.SIGKILL)
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    assert ready.process is not None and ready.process.poll() is None
    until(lambda: ready.client.status()["ready"] and len(ready.pids()) == 2)
    with ready.client.exec("shop/container/web", ["echo", "well"]) as session:
        assert session.run()[:2] == (0, b"well\n")


def first_container(agent: AgentProcess) -> int:
    """By the kernel's word: the agent may not answer at this moment."""
    for path in Path("/sys/fs/cgroup").rglob(f"{agent.layout.cgroup_parent}/*/cgroup.procs"):
        words = path.read_text().split()
        if words:
            return int(words[0])
    raise AssertionError("no container runs")


def test_a_stopped_agent_wakes_up_as_if_nothing_had_been(ready: AgentProcess) -> None:
    before, pid = ready.pids(), pid_of(ready)
    os.kill(pid, signal.SIGSTOP)
    os.kill(before[0], signal.SIGKILL)
    until(lambda: not Path(f"/proc/{before[0]}/exe").exists())
    time.sleep(2)  # what is measured is that this time harms nobody
    os.kill(pid, signal.SIGCONT)
    until(lambda: ready.client.status()["ready"] and len(ready.pids()) == 2)
    assert before[1] in ready.pids()
    (status,) = objects(ready, "shop")
    assert status["restarts"] == 1


def test_thirty_crash_loops_hold_up_nobody(ready: AgentProcess) -> None:
    put(ready, "loops", LOOPERS)
    until(lambda: sum(o["restarts"] for o in objects(ready, "loops")) >= 60)
    put(ready, "normal", NORMAL)
    until(lambda: [o["phase"] for o in objects(ready, "normal")] == ["Running"] * 10)
    restarts = sum(o["restarts"] for o in objects(ready, "loops"))
    assert restarts <= 30 * 10  # 0.1 s, doubling: nine in the first minute


def test_readers_that_do_not_read_block_no_container_and_cost_little(ready: AgentProcess) -> None:
    put(ready, "flood", FLOOD)
    until(lambda: [o["phase"] for o in objects(ready, "flood")] == ["Running"])

    def lines() -> int:
        return int(next(iter(ready.client.logs("flood/container/flood", tail=1)))[1].split()[1])

    until(lambda: list(ready.client.logs("flood/container/flood", tail=1)))  # it has begun to speak
    with ExitStack() as stack:
        memory = rss(pid_of(ready))
        for _ in range(20):
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.connect(str(ready.layout.agent_socket))
            path = "/setpoint/v1/logs/flood/container/flood?follow=1"
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        for _ in range(3):
            said = lines()
            until(lambda said=said: lines() > said + 10_000)  # more than any buffer holds
        assert rss(pid_of(ready)) - memory < 64 << 20
        assert ready.client.status()["ready"]


def rss(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
