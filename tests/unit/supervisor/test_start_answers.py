"""Whoever asks for a start hears how it went, whatever fails on the way: nobody waits for ever."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runtime import syscalls
from runtime.errors import Temporary
from runtime.supervisor import launch, operations, starting
from runtime.supervisor.container import Container
from runtime.supervisor.loop import Loop
from runtime.supervisor.protocol import Wire
from runtime.supervisor.server import Connection, Supervisor

FORK_ALL = launch.fork_all


class Answers:
    """A Reply that keeps what it is given."""

    def __init__(self) -> None:
        self.given: list[Any] = []

    def result(self, result: Any, _fds: tuple[int, ...] = ()) -> None:
        self.given.append(result)

    error = result


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    run = tmp_path / "run" / "one"
    run.mkdir(parents=True)
    (run / "config.json").write_text("{}")
    monkeypatch.setattr(launch, "build", lambda _request: SimpleNamespace())
    return Supervisor(Loop(), str(tmp_path / "run"))


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Forked, and never on its way to its program; the end of its channel is what this gives."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(["sleep", "1000"])
    launched = launch.Launched(process.pid, os.pidfd_open(process.pid), ours)
    monkeypatch.setattr(launch, "fork_all", lambda wanted: [launched for _ in wanted])
    yield theirs
    process.kill()
    process.wait()
    ours.close()
    theirs.close()


def ask(server: Supervisor, name: str = "one") -> Answers:
    answers = Answers()
    message = {"op": "start", "name": name, "bundle": server.run_directory}
    operations.start(server, message, [], answers)  # type: ignore[arg-type]
    return answers


def answer(server: Supervisor, answers: Answers) -> Any:
    deadline = time.monotonic() + 60  # only a failure uses it up: a disk that is written to may stand still
    while not answers.given:
        assert time.monotonic() < deadline, "no answer"
        server.loop.call_later(0.01, lambda: None)
        server.loop.run_once()
    return answers.given[0]


def is_killed(server: Supervisor) -> bool:
    found = os.waitid(os.P_PID, server.containers["one"].pid, os.WEXITED | os.WNOWAIT)
    return found is not None and found.si_code == os.CLD_KILLED


def test_r34_a_child_that_never_gets_to_its_program(
    server: Supervisor, child: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "EXECUTE_SECONDS", 0.05)
    error = answer(server, ask(server))
    assert isinstance(error, Temporary)
    assert "not executed within" in str(error)
    assert is_killed(server)
    assert answer(server, ask(server)) is error  # who asks before it is reaped waits for nothing


def test_r34_a_bug_at_the_gate(
    server: Supervisor,
    child: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(_pid: int) -> int:
        raise AssertionError("a bug")

    monkeypatch.setattr("runtime.supervisor.records.start_time", fail)
    assert str(answer(server, ask(server))) == "a bug"
    assert is_killed(server)
    assert "a bug" in capfd.readouterr().err


def test_r34_words_of_the_child_that_make_no_sense(server: Supervisor, child: socket.socket) -> None:
    answers = ask(server)
    child.send(b"{")
    assert isinstance(answer(server, answers), ValueError)
    assert is_killed(server)


def test_r34_a_bug_in_one_fork_leaves_the_others_their_answers(
    server: Supervisor, child: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are forked together: what fails for one of them is for that one alone."""
    (launched,) = launch.fork_all([SimpleNamespace()])  # type: ignore[list-item]
    failing = [AssertionError("a bug")]

    class Fork:
        clone, theirs, ours = None, child, child

        def __init__(self, prepared: Any) -> None:
            self.prepared = prepared
            if failing:
                raise failing.pop()

        def end(self) -> launch.Launched | Exception:
            return launched

    prepared = SimpleNamespace(pid_namespace=-1, close=lambda: None)
    monkeypatch.setattr(launch, "build", lambda _request: prepared)
    monkeypatch.setattr(launch, "_Fork", Fork)
    monkeypatch.setattr(syscalls, "clone3_each", lambda _clones: -1)
    monkeypatch.setattr(launch, "fork_all", FORK_ALL)
    other = Path(server.run_directory) / "two"
    other.mkdir()
    (other / "config.json").write_text("{}")
    failed, good = ask(server, "two"), ask(server)
    assert str(answer(server, failed)) == "a bug"
    child.close()
    assert answer(server, good)["name"] == "one"
    server.containers["one"].close()


def test_r34_an_end_before_the_end_of_its_channel_was_seen(server: Supervisor, child: socket.socket) -> None:
    """Another child may hold a copy of the channel for a moment: its end is not what tells of ours."""
    answers = ask(server)
    starting.fork_pending(server)
    container: Container = server.containers["one"]
    container.read_channel_to_end()
    assert answer(server, answers)["name"] == "one"
    assert container.is_running
    container.close()


def test_r34_a_bug_in_what_was_asked_for_is_an_answer(
    server: Supervisor, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Such as in what builds the container's root, of a config that nobody thought of."""

    def build(_request: object) -> None:
        raise AssertionError("a bug")

    monkeypatch.setattr(launch, "build", build)
    server.operations.update(operations.OPERATIONS)
    ours, theirs = socket.socketpair()
    connection = Connection(ours)
    with theirs:
        server.add_connection(connection)
        client = Wire(theirs)
        message = {"id": 7, "op": "start", "name": "one", "bundle": server.run_directory}
        client.send(message)
        server.loop.run_once()
        ((said, _fds),) = client.receive()
        assert said["id"] == 7
        assert said["error"]["reason"] == "AssertionError: a bug"
        assert server.containers == {}
        server.close_connection(connection)
    assert "a bug" in capfd.readouterr().err
