"""Logs and exec: frames over the socket, in order, whole, and ended when they should be."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.api.logs import Framer
from agent.client import Client
from agent.wire import EXIT, STDERR, STDIN, STDOUT, AgentDown
from runtime.errors import Conflict, Invalid, NotFound

from .agents import Agent
from .test_native import until

# --- logs -----------------------------------------------------------------------------------------


def stamp(second: int, nano: int = 0) -> str:
    return f"2026-07-24T10:00:{second:02d}.{nano:09d}Z"


@pytest.fixture
def write_log(agent: Agent, tmp_path: Path) -> Callable[[str, str], None]:
    agent.engine.logs = tmp_path
    ids = agent.engine.running()

    def write(name: str, text: str) -> None:
        directory = tmp_path / ids[name]
        directory.mkdir(exist_ok=True)
        with (directory / "log").open("a") as file:
            file.write(text)

    return write


def test_logs_of_replicas_are_merged_by_time(client: Client, write_log: Callable[[str, str], None]) -> None:
    write_log("shop-web-1", f"{stamp(1)} stdout F one\n{stamp(3)} stderr F three\n")
    write_log("shop-web-2", f"{stamp(2)} stdout F two\n{stamp(4)} stdout F four\n")
    assert list(client.logs("web")) == [
        (STDOUT, b"one\ntwo\n"), (STDERR, b"three\n"), (STDOUT, b"four\n"),
    ]  # fmt: skip
    assert list(client.logs("web", replica=2)) == [(STDOUT, b"two\nfour\n")]
    assert list(client.logs("web", tail=1)) == [(STDERR, b"three\n"), (STDOUT, b"four\n")]
    with_all = b"".join(content for _, content in client.logs("web", timestamps=True, prefix=True))
    assert with_all.splitlines()[0] == f"shop-web-1 | {stamp(1)} one".encode()


def test_a_line_in_pieces_has_one_prefix(client: Client, write_log: Callable[[str, str], None]) -> None:
    write_log("shop-db-1", f"{stamp(1)} stdout P long \n{stamp(1, 5)} stdout F line\n")
    assert list(client.logs("db", prefix=True)) == [(STDOUT, b"shop-db-1 | long line\n")]


def test_following_ends_when_the_container_does(agent: Agent, write_log: Callable[[str, str], None]) -> None:
    write_log("shop-db-1", f"{stamp(1)} stdout F first\n")
    agent.client.suspend("db")
    found: list[bytes] = []
    thread = threading.Thread(
        target=lambda: found.extend(content for _, content in agent.client.logs("db", follow=True))
    )
    thread.start()
    until(lambda: found == [b"first\n"])
    write_log("shop-db-1", f"{stamp(2)} stdout F second\n")
    until(lambda: found == [b"first\n", b"second\n"])
    db = agent.engine.running()["shop-db-1"]
    agent.on_loop(lambda: agent.engine.exit(db))
    thread.join(10)
    assert not thread.is_alive()


def test_a_follower_that_leaves_is_let_go(agent: Agent, write_log: Callable[[str, str], None]) -> None:
    write_log("shop-web-1", f"{stamp(1)} stdout F one\n")
    import asyncio

    before = agent.on_loop(lambda: len(asyncio.all_tasks()))
    frames = agent.client.logs("web", follow=True)
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    until(lambda: agent.on_loop(lambda: len(asyncio.all_tasks())) <= before)


def test_logs_of_what_is_not_there(client: Client) -> None:
    with pytest.raises(NotFound, match="no container"):
        list(client.logs("shop/volume/data"))
    with pytest.raises(Invalid, match="tail"):
        list(client.frames("/logs/web", {"tail": "x"}))


def test_a_bug_in_the_middle_of_an_answer_breaks_it_off(
    client: Client, write_log: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_log("shop-web-1", f"{stamp(1)} stdout F one\n")

    def broken(self: Framer, lines: object) -> object:
        raise OverflowError

    monkeypatch.setattr(Framer, "frames", broken)
    with pytest.raises(AgentDown, match="went away"):
        list(client.logs("web"))
    monkeypatch.undo()
    assert [content for _, content in client.logs("web", prefix=False)] == [b"one\n"]


def test_a_moment_that_no_date_can_say_is_refused(
    client: Client, write_log: Callable[[str, str], None]
) -> None:
    write_log("shop-web-1", f"{stamp(1)} stdout F one\n")
    assert list(client.logs("web", until=253402300799.0)) == [(1, b"one\n")]
    with pytest.raises(Invalid, match="until"):
        list(client.logs("web", until=253402300800.0))


# --- exec -----------------------------------------------------------------------------------------


def test_exec_without_a_terminal(client: Client) -> None:
    with client.exec("db", ["sh", "-c", "echo out; echo err >&2; exit 7"]) as session:
        assert session.run() == (7, b"out\n", b"err\n")


def test_exec_with_stdin(client: Client) -> None:
    data = bytes(range(256)) * 8192  # 2 MiB: far over every buffer on the way
    with client.exec("db", ["cat"], stdin=True) as session:
        out: list[bytes] = []

        def read() -> None:
            while frame := session.receive():
                if frame[0] == EXIT:
                    return
                out.append(frame[1])

        reader = threading.Thread(target=read)
        reader.start()
        for start in range(0, len(data), 65536):
            session.send_stdin(data[start : start + 65536])
        session.close_stdin()
        reader.join(20)
    assert b"".join(out) == data


def test_exec_with_a_terminal_and_its_size(agent: Agent) -> None:
    with agent.client.exec("db", ["sh", "-c", "tty; read x; echo got $x"], tty=True, stdin=True) as session:
        session.resize(40, 100)
        session.send(STDIN, b"hello\n")
        output = b""
        while (frame := session.receive()) and frame[0] != EXIT:
            output += frame[1]
    assert b"/dev/pts/" in output
    assert b"got hello" in output
    assert agent.engine.processes[-1].sizes == [(40, 100)]


def test_exec_passes_on_what_was_asked(agent: Agent) -> None:
    with agent.client.exec(
        "web", ["true"], user="1:2", working_dir="/x", environment=("A=b",), replica=2, size=(3, 4)
    ) as session:
        assert session.run()[0] == 0
    id, argv, options = agent.engine.execs[-1]
    assert id == agent.engine.running()["shop-web-2"]
    assert argv == ("true",)
    assert options == {
        "terminal": False, "stdin": False, "user": "1:2", "working_dir": "/x", "environment": ("A=b",),
        "size": (3, 4),
    }  # fmt: skip


def test_a_signal_ends_the_process(client: Client) -> None:
    with client.exec("db", ["sleep", "100"]) as session:
        session.signal("SIGTERM")
        assert session.run()[0] == 143


def test_what_cannot_start_is_an_answer(agent: Agent) -> None:
    client = agent.client
    with pytest.raises(NotFound, match="not-there: no such file"):
        client.exec("db", ["not-there"])
    with pytest.raises(Invalid, match="no command"):
        client.exec("db", [])
    with pytest.raises(NotFound, match="no such container"):
        client.exec("db", ["true"], replica=5)
    client.suspend("db")
    db = agent.engine.running()["shop-db-1"]
    agent.on_loop(lambda: agent.engine.exit(db))
    with pytest.raises(Conflict, match="does not run"):
        client.exec("db", ["true"])


def test_a_client_that_goes_away_ends_its_process(agent: Agent) -> None:
    session = agent.client.exec("db", ["sleep", "100"])
    process = agent.engine.processes[-1].process
    session.close()
    until(lambda: process.poll() is not None)


def test_a_client_that_has_said_all_still_hears_the_end(client: Client) -> None:
    with client.exec("db", ["sh", "-c", "cat; sleep 0.2; echo late"], stdin=True) as session:
        session.send_stdin(b"last words\n")
        session.close_stdin()
        session._answer.connection.shutdown(socket.SHUT_WR)
        output = b""
        while (frame := session.receive()) and frame[0] != EXIT:
            output += frame[1]
    assert output == b"last words\nlate\n"


def test_a_frame_that_makes_no_sense_ends_it_with_a_reason(client: Client) -> None:
    with client.exec("db", ["sleep", "100"]) as session:
        session.send(4, b"not json")
        with pytest.raises(Invalid, match="not JSON"):
            session.receive()
    with client.exec("db", ["sleep", "100"]) as session:
        session._answer.connection.sendall(b"\x00\x00\x00\x00\xff\xff\xff\xff")
        with pytest.raises(Invalid, match="at most"):
            session.receive()


def test_a_child_that_keeps_the_pipe_does_not_keep_the_exit_code(client: Client) -> None:
    with client.exec("db", ["sh", "-c", "sleep 1000 & echo $!; exit 3"]) as session:
        code, output = session.run()[:2]
        os.kill(int(output), signal.SIGKILL)  # and it is there still
    assert code == 3


def test_top_shows_processes(client: Client) -> None:
    top = client.top("db")
    assert len(top) == 1
    assert {"pid", "user", "state", "cpu_seconds", "memory_bytes", "command"} <= top[0].keys()
    assert top[0]["memory_bytes"] > 0
