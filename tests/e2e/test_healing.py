"""What breaks is put back; the deaths of the agent and the supervisor harm no container."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests import leaks
from tests.e2e.story import Story, eventually, free_port, is_alive

KEY = "shop/container/web"
SLEEPER = """\
services:
  web:
    image: busybox:latest
    command: [sleep, "1000"]
    stop_signal: SIGKILL
    restart: always
"""
SERVER = """\
services:
  web:
    image: busybox:latest
    command: [sh, -c, "echo hello >/tmp/index.html; exec httpd -f -p 80 -h /tmp"]
    stop_signal: SIGKILL
    restart: always
    ports: ["127.0.0.1:{port}:80"]
"""


def test_a_killed_process_comes_back(story: Story) -> None:
    story.apply({"shop/compose.yaml": SLEEPER})
    before = story.pid(KEY)
    story.kill(before)
    after = eventually(lambda: running_pid(story, not_pid=before), "another process runs")
    assert is_alive(after)
    found = story.object(KEY)
    assert found is not None
    assert found["restarts"] == 1
    events = json.loads(story.setpoint("events", "shop/web", "-o", "json"))
    assert any(
        "137" in e["message"] or "SIGKILL" in e["message"] or "signal 9" in e["message"] for e in events
    )


def running_pid(story: Story, not_pid: int = 0) -> int:
    found = story.object(KEY)
    pid = int(found["containers"][0].get("pid") or 0) if found and found["containers"] else 0
    return pid if pid != not_pid and is_alive(pid) else 0


def test_containers_outlive_the_agent(story: Story) -> None:
    story.apply({"shop/compose.yaml": SLEEPER})
    pid = story.pid(KEY)
    story.kill(story.agent_pid())
    eventually(lambda: story.status()["agent"] == "down", "the agent is known to be down")
    status = story.status()
    assert status["ready"] is False
    assert [o["key"] for o in status["objects"]] == [KEY, "shop/network/default"]
    assert is_alive(pid)
    assert "agent down" in story.setpoint("status")
    story.setpoint("restart", "shop/web", code=1)
    assert "no agent answers" in story.said
    story.start_agent()
    story.setpoint("wait", "--for", "ready", "--timeout", "30s")
    assert story.pid(KEY) == pid
    found = story.object(KEY)
    assert found is not None
    assert found["restarts"] == 0


def test_an_agent_that_is_killed_while_it_is_asked_is_started_anew(story: Story) -> None:
    """One that was killed takes connections until the kernel has cleared up after it."""
    killed = story.agent_pid()
    os.kill(killed, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        starts = pool.submit(story.start_agent)
        eventually(lambda: connections(story.layout.agent_socket) > 1, "it waits for an answer")
        story.kill(killed)
        starts.result()
    assert story.agent_pid() != killed
    assert story.status()["agent"] != "down"


def connections(path: Path) -> int:
    """Sockets of that name: the one that listens, and those that it has not accepted yet (/proc/net/unix)."""
    return sum(line.endswith(f" {path}") for line in Path("/proc/net/unix").read_text().splitlines())


def test_an_orderly_stop_of_the_agent_stops_nothing(story: Story) -> None:
    story.apply({"shop/compose.yaml": SLEEPER})
    pid = story.pid(KEY)
    assert "containers run on" in story.setpoint("agent", "stop")
    story.setpoint("agent", "stop", code=1)
    assert is_alive(pid)
    story.start_agent()
    assert "runs already" in story.setpoint(
        "agent", "--detach", "--watch", story.tree, "--metrics", "127.0.0.1:0"
    )
    story.setpoint("wait", "--for", "ready", "--timeout", "30s")
    assert story.pid(KEY) == pid


def test_a_lost_database_is_rebuilt_from_what_runs(story: Story) -> None:
    story.apply({"shop/compose.yaml": SLEEPER})
    pid = story.pid(KEY)
    story.setpoint("agent", "stop")
    for path in story.layout.data.glob("setpoint.db*"):
        path.unlink()
    story.start_agent()
    story.setpoint("wait", "--for", "ready", "--timeout", "30s")
    assert story.pid(KEY) == pid


def test_the_supervisors_death_harms_no_container(story: Story) -> None:
    story.apply({"shop/compose.yaml": SLEEPER})
    pid = story.pid(KEY)
    supervisors = [p for p in leaks.processes(story.layout) if "supervisor" in leaks.command_of(p)]
    assert supervisors
    story.kill(supervisors[0])
    assert is_alive(pid)
    eventually(
        lambda: story.setpoint("exec", "shop/web", "echo", "alive", code=None) == "alive\n",
        "exec works again",
    )
    assert story.pid(KEY) == pid
    story.kill(pid)
    eventually(lambda: running_pid(story, not_pid=pid), "its end is seen by the new supervisor")


def test_a_flushed_table_is_put_back(story: Story) -> None:
    port = free_port()
    story.apply({"shop/compose.yaml": SERVER.format(port=port)})
    eventually(lambda: "hello" in story.fetch(port), "the page is served")
    subprocess.run(["nft", "delete", "table", "inet", story.layout.nft_table], check=True)
    story.setpoint("sync")
    eventually(lambda: "hello" in story.fetch(port), "the page is served again")
    eventually(lambda: "DriftRepaired" in story.setpoint("events"), "the repair is told")


def test_a_deleted_bridge_is_put_back_without_a_restart(story: Story) -> None:
    port = free_port()
    story.apply({"shop/compose.yaml": SERVER.format(port=port)})
    pid = story.pid(KEY)
    bridges = [
        name for name in leaks.link_names(story.layout) if Path(f"/sys/class/net/{name}/bridge").exists()
    ]
    subprocess.run(["ip", "link", "delete", bridges[0]], check=True)
    eventually(lambda: "hello" in story.fetch(port), "the page is served again")
    assert story.pid(KEY) == pid


def test_what_fails_too_often_stalls_and_says_why(story: Story) -> None:
    text = SLEEPER.replace('[sleep, "1000"]', "[sh, -c, 'exit 3']")
    story.commit({"shop/compose.yaml": text})
    story.setpoint("sync")
    found = eventually(
        lambda: (o := story.object(KEY)) and not o["ready"] and "3" in o["message"] and o,
        "the exit code is told",
    )
    assert found["restarts"] >= 0
    story.setpoint("wait", "--for", "ready", "shop/web", "--timeout", "0s", code=1)
    assert "shop/container/web" in story.said
