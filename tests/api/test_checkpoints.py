"""`docker checkpoint` and `docker start --checkpoint` by the docker CLI, beside dockerd's own answers."""

from __future__ import annotations

import json
import platform
import subprocess
import urllib.request
from pathlib import Path

import pytest

from runtime.checkpoints import criu
from tests.api.host import Host
from tests.api.http_client import Http
from tests.e2e.story import Story, eventually

COUNTER = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.1; done"
needs_criu = pytest.mark.skipif(not criu.find_program(), reason="no criu here: ops/test --with-peers")


def counting(host: Host, name: str, *options: str) -> None:
    host.docker("run", "-d", "--name", name, "--network", "none", *options, "busybox", "sh", "-c", COUNTER)
    eventually(lambda: len(numbers(host, name)) > 3, "it counts")


def numbers(host: Host, name: str) -> list[int]:
    return [int(word) for word in host.docker("logs", name).stdout.split()]


def status(host: Host, name: str) -> str:
    return host.docker("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name).stdout.strip()


def names(host: Host, name: str, *options: str) -> list[str]:
    return host.docker("checkpoint", "ls", *options, name).stdout.split()[2:]


def refusal(host: Host, *words: str) -> str:
    done = host.docker(*words, check=False)
    assert done.returncode == 1, done.stdout
    return done.stderr


def kept_and_started(host: Host, name: str) -> int | None:
    """How far it had counted. None where dockerd refuses, as it does now and then: its containerd has the
    same bytes already. Of another container they are others."""
    counting(host, name)
    assert names(host, name) == []
    assert host.docker("checkpoint", "create", name, "one").stdout.split() == ["one"]
    assert (status(host, name), names(host, name)) == ("exited 137", ["one"])
    last = numbers(host, name)[-1]
    started = host.docker("start", "--checkpoint", "one", name, check=host.is_ours)
    assert started.returncode == 0 or "already exists" in started.stderr, started.stderr
    return None if started.returncode else last


@needs_criu
def test_it_goes_on_where_it_was(either: Host, name: str) -> None:
    while (last := kept_and_started(either, name)) is None:
        either.docker("rm", "-f", name)
    eventually(lambda: numbers(either, name)[-1] > last + 3, "it goes on")
    said = numbers(either, name)
    assert said == list(range(len(said)))
    assert either.docker("exec", name, "echo", "in").stdout == "in\n"
    either.docker("stop", "-t", "0", name)
    assert status(either, name) == "exited 137"
    either.docker("start", name)  # anew
    eventually(lambda: numbers(either, name).count(0) == 2, "it begins anew")
    either.docker("checkpoint", "create", "--leave-running", name, "two")
    assert (status(either, name), sorted(names(either, name))) == ("running 0", ["one", "two"])
    either.docker("checkpoint", "rm", name, "one")
    assert names(either, name) == ["two"]


@needs_criu
def test_what_is_refused(either: Host, name: str) -> None:
    assert "No such container" in refusal(either, "checkpoint", "ls", name)
    assert "No such container" in refusal(either, "checkpoint", "create", name, "one")
    counting(either, name)
    where = f"/containers/{name}/checkpoints"
    assert "Invalid checkpoint ID" in refusal(either, "checkpoint", "create", name, "../x")
    either.docker("checkpoint", "create", "--leave-running", name, "one")
    said = refusal(either, "checkpoint", "create", name, "one")
    assert f"checkpoint with name one already exists for container {name}" in said
    absent = f"checkpoint none does not exist for container {name}"
    assert absent in refusal(either, "checkpoint", "rm", name, "none")
    either.docker("stop", "-t", "0", name)
    assert "is not running" in refusal(either, "checkpoint", "create", name, "two")
    assert "does not exist for container" in refusal(either, "start", "--checkpoint", "none", name)
    assert status(either, name) == "exited 137"
    statuses = [
        either.http("POST", where, {"CheckpointID": "two"}).status,
        either.http("DELETE", f"{where}/none").status,
        either.http("POST", f"/containers/{name}/start", query={"checkpoint": "none"}).status,
        either.http("POST", f"/containers/{name}x/checkpoints", {"CheckpointID": "two"}).status,
    ]
    either.agrees("statuses of refused checkpoints", statuses, [409, 404, 404, 404])


@needs_criu
def test_one_with_a_terminal_is_refused_and_runs_on(host: Host, name: str) -> None:
    """dockerd takes it."""
    host.docker("run", "-dt", "--name", name, "--network", "none", "busybox", "sleep", "1000")
    assert "tty" in refusal(host, "checkpoint", "create", name, "one")
    assert status(host, name) == "running 0"


@needs_criu
def test_the_cli_sees_that_there_are_checkpoints(host: Host, http: Http) -> None:
    assert http("GET", "/version").json["Experimental"] is True
    assert http("HEAD", "/_ping").headers["docker-experimental"] == "true"


@pytest.mark.skipif(bool(criu.find_program()), reason="criu is here")
def test_without_criu_it_says_what_to_install(host: Host, http: Http, name: str) -> None:
    counting(host, name)
    answer = http("POST", f"/containers/{name}/checkpoints", {"CheckpointID": "one"})
    assert (answer.status, "install the package criu" in answer.message) == (501, True)
    assert "Experimental" not in http("GET", "/version").json


@needs_criu
def test_what_an_api_client_must_say(host: Host, http: Http, name: str) -> None:
    counting(host, name)
    where = f"/containers/{name}/checkpoints"
    for body in ({}, {"CheckpointID": ""}, {"CheckpointID": 1}, {"CheckpointID": "a/b"},
                 {"CheckpointID": ".."}, {"CheckpointID": "x" * 129}, {"CheckpointID": "one", "Exit": "yes"},
                 {"CheckpointID": "one", "CheckpointDir": "relative"},
                 {"CheckpointID": "one", "CheckpointDir": "/tmp/../etc"}):  # fmt: skip
        assert http("POST", where, body).status == 400, body
    assert status(host, name) == "running 0"
    assert http("DELETE", f"{where}/%2e%2e%2fx").status in (400, 404)


@needs_criu
def test_a_directory_of_ones_own_and_a_clone(host: Host, name: str, tmp_path: Path) -> None:
    counting(host, name)
    place = ("--checkpoint-dir", str(tmp_path / "deep" / "er"))
    host.docker("checkpoint", "create", *place, name, "one")
    assert (names(host, name), names(host, name, *place)) == ([], ["one"])
    last = numbers(host, name)[-1]
    host.docker("create", "--name", f"{name}c", "--network", "none", "busybox", "sh", "-c", COUNTER)
    host.docker("start", *place, "--checkpoint", "one", f"{name}c")
    eventually(lambda: numbers(host, f"{name}c")[:2] == [last + 1, last + 2], "the clone goes on")
    host.docker("create", "--name", f"{name}o", "--network", "none", "busybox", "sleep", "1000")
    said = refusal(host, "start", *place, "--checkpoint", "one", f"{name}o")
    assert "made of a container with another config" in said
    assert status(host, f"{name}o").startswith("created")
    host.docker("checkpoint", "rm", *place, name, "one")
    assert names(host, name, *place) == []


@needs_criu
def test_a_server_listens_again_or_it_is_said_why_not(host: Host, name: str) -> None:
    script = "echo hello >/tmp/index.html; exec httpd -f -p 80 -h /tmp"
    host.docker("run", "-d", "--name", name, "-p", "127.0.0.1:0:80", "busybox", "sh", "-c", script)

    def said() -> str:
        port = host.docker("port", name, "80").stdout.split()[0].rpartition(":")[2]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=20) as answer:
            return str(answer.read().decode())

    eventually(lambda: said() == "hello\n", "it answers")
    if _is_too_old():
        assert "need CRIU 4.2" in refusal(host, "checkpoint", "create", name, "one")
        assert said() == "hello\n"
        return
    host.docker("checkpoint", "create", name, "one")
    host.docker("start", "--checkpoint", "one", name)
    eventually(lambda: said() == "hello\n", "it answers")


def _is_too_old() -> bool:
    shown = subprocess.run(
        [criu.find_program(), "--version"], capture_output=True, text=True, check=True
    ).stdout
    kernel = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])
    return criu.is_too_old(criu.parse_version(shown), kernel)


@needs_criu
def test_what_was_wanted_stays_wanted(host: Host, http: Http, agent_story: Story, name: str) -> None:
    """One that stops for a checkpoint is not brought back by its policy, by another agent neither; one that
    began from a checkpoint begins anew after its end."""
    counting(host, name, "--restart", "always")
    host.docker("checkpoint", "create", name, "one")
    last = numbers(host, name)[-1]
    agent_story.setpoint("sync")
    assert status(host, name) == "exited 137"
    host.docker("start", "--checkpoint", "one", name)
    eventually(lambda: numbers(host, name)[-1] > last, "it goes on")
    pid = int(host.docker("inspect", "-f", "{{.State.Pid}}", name).stdout)
    subprocess.run(["kill", "-9", str(pid)], check=True)
    eventually(lambda: numbers(host, name)[-1] < last, "it begins anew")  # started anew by its policy

    def actions() -> list[str]:
        window = ("--since", "1h", "--until", "0s")  # which the client cuts to whole seconds
        shown = host.docker("events", *window, "--filter", f"container={name}", "--format", "{{json .}}")
        return [json.loads(line)["Action"] for line in shown.stdout.splitlines()]

    eventually(lambda: "checkpoint" in actions(), "it is told")
