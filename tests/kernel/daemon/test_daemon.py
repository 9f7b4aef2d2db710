"""The agent's process: it starts, takes over, ends and dies without harm to a container."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from agent.wire import AgentDown
from store.reader import read_status
from tests.native import PATIENCE_SECONDS

from .conftest import REPOSITORY, AgentProcess, until


def alive(pids: list[int]) -> bool:
    return all(Path(f"/proc/{pid}/exe").exists() for pid in pids)


def test_an_orderly_stop_leaves_the_containers_and_the_next_agent_takes_them(ready: AgentProcess) -> None:
    before = ready.pids()
    assert len(before) == 2
    assert ready.end(signal.SIGTERM) == 0
    assert alive(before)
    assert not ready.layout.agent_socket.exists()
    with pytest.raises(AgentDown):
        ready.client.status()
    known = read_status(ready.layout.database)
    assert known is not None
    assert {status.phase for status in known.statuses.values()} == {"Running", "Ready"}
    ready.start()
    assert ready.client.wait(timeout_seconds=PATIENCE_SECONDS)["met"]
    assert ready.pids() == before


def test_a_killed_agent_harms_nothing(ready: AgentProcess) -> None:
    before = ready.pids()
    for _ in range(3):
        assert ready.end(signal.SIGKILL) == -signal.SIGKILL
        assert alive(before)
        ready.start()
        assert ready.client.wait(timeout_seconds=PATIENCE_SECONDS)["met"]
        assert ready.pids() == before
    (status,) = (o for o in ready.client.status()["objects"] if o["key"] == "shop/container/web")
    assert status["restarts"] == 0


def test_what_died_while_no_agent_ran_is_started_again(ready: AgentProcess) -> None:
    before = ready.pids()
    ready.end(signal.SIGKILL)
    os.kill(before[0], signal.SIGKILL)
    until(lambda: not alive(before[:1]))
    compose = ready.manifests / "shop" / "compose.yaml"
    compose.write_text(compose.read_text() + "    restart: always\n")
    ready.start()
    until(lambda: len(ready.pids()) == 2 and ready.client.status()["ready"])
    assert before[1] in ready.pids()


@pytest.mark.parametrize("loss", ["damaged", "deleted"])
def test_without_its_database_it_takes_over_what_runs(ready: AgentProcess, loss: str) -> None:
    before = ready.pids()
    assert ready.end(signal.SIGTERM) == 0
    if loss == "damaged":
        ready.layout.database.write_bytes(b"\xff" * 9000)
    else:
        ready.layout.database.unlink()
    ready.start()
    assert ready.client.wait(timeout_seconds=PATIENCE_SECONDS)["met"]
    assert ready.pids() == before
    aside = list(ready.layout.data.glob("setpoint.db.damaged-*"))
    assert len(aside) == (loss == "damaged")
    reasons = [event["reason"] for event in ready.client.events()]
    assert ("StoreDamaged" in reasons) == (loss == "damaged")


def test_of_many_agents_one_runs_and_the_others_say_why(agent: AgentProcess) -> None:
    agent.start()
    others = [
        subprocess.Popen(agent.command(), cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    for other in others:
        _, text = other.communicate(timeout=60)
        assert other.returncode == 1
        assert agent.process is not None
        assert f"another agent (pid {agent.process.pid}) runs this instance" in text
        assert "Traceback" not in text
    assert agent.answers()


def test_a_taken_metrics_address_is_one_clear_sentence(agent: AgentProcess) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        run = subprocess.run(
            agent.command("--metrics", address), cwd=REPOSITORY, capture_output=True, text=True, timeout=60
        )
    assert run.returncode == 1
    assert f"listen on {address}: Address already in use" in run.stderr
    assert "Traceback" not in run.stderr
    assert not agent.layout.agent_socket.exists()
    agent.start()


def test_systemd_hears_of_ready_life_and_end(agent: AgentProcess, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        agent.start(environment={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"})
        words: list[str] = []
        while words.count("WATCHDOG=1") < 3:
            words += manager.recv(4096).decode().split("\n")
        assert agent.end() == 0
        manager.setblocking(False)
        while True:
            try:
                words += manager.recv(4096).decode().split("\n")
            except BlockingIOError:
                break
    assert "READY=1" in words
    assert words[-1] == "STOPPING=1"


def test_its_log_is_json_a_line_and_tells_the_actions(ready: AgentProcess) -> None:
    entries = ready.entries()
    messages = [entry["message"] for entry in entries]
    assert any(message.startswith("start shop/container/web#1") for message in messages)
    assert {"at", "level", "logger", "message"} == set(entries[0])
    assert all(entry["level"] in ("info", "warning") for entry in entries)


def test_a_commit_is_followed_and_exec_and_logs_reach_the_kernel(ready: AgentProcess) -> None:
    client = ready.client
    compose = ready.manifests / "shop" / "compose.yaml"
    compose.write_text(compose.read_text().replace("scale: 2", "scale: 3"))
    answer = client.sync(wait=True, timeout_seconds=PATIENCE_SECONDS)
    assert answer["ready"], answer
    assert len(ready.pids()) == 3
    with client.exec(
        "web", ["sh", "-c", "echo to the log > /proc/1/fd/1; cat; exit 4"], stdin=True
    ) as session:
        assert session.run(b"over the socket") == (4, b"over the socket", b"")
    until(lambda: list(client.logs("web")) == [(1, b"to the log\n")])
    assert {process["command"][0] for process in client.top("web")} <= {"sh", "sleep", "/bin/sh"}
    assert {s["key"] for s in client.stats()} == {"shop/container/web"}


def test_down_over_the_api_leaves_no_container(ready: AgentProcess) -> None:
    pids = ready.pids()
    lines = list(ready.client.down())
    assert lines[-1] == {"done": True}
    assert ready.process is not None
    assert ready.process.wait(30) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert list(ready.layout.containers.iterdir()) == []


def test_an_archive_that_is_sent_is_loaded_by_the_worker(agent: AgentProcess, busybox_archive: Path) -> None:
    agent.start()
    with busybox_archive.open("rb") as file:
        assert list(agent.client.load_image(file))
    assert [image["names"] for image in agent.client.images()] == [["busybox:latest"]]
