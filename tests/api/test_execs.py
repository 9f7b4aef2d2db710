"""Execs: by the CLI, by docker-py, and by the very answers; `either` is Docker's own daemon too."""

from __future__ import annotations

import gc
import socket
import threading
from typing import Any

import pytest

from tests.api.host import Host
from tests.api.http_client import Http
from tests.api.streams import FRAME, frames, rest, upgraded
from tests.e2e.story import eventually


@pytest.fixture
def running(host: Host, name: str) -> str:
    host.docker("run", "-d", "--network", "none", "--name", name, "-e", "ONE=1", "busybox", "sleep", "1000")
    return name


@pytest.fixture
def theirs(either: Host, name: str) -> str:
    """As `running`, with either daemon."""
    either.docker("run", "-d", "--network", "none", "--name", name, "busybox", "sleep", "1000")
    return name


def _made(http: Http, container: str, *argv: str, **fields: Any) -> str:
    body = {"Cmd": list(argv), "AttachStdout": True, "AttachStderr": True, **fields}
    answer = http("POST", f"/containers/{container}/exec", body)
    assert answer.status == 201, answer.body
    return str(answer.json["Id"])


# --- by the CLI -----------------------------------------------------------------------------------


def test_streams_and_exit_codes(host: Host, running: str) -> None:
    done = host.docker("exec", running, "sh", "-c", "echo out; echo err >&2; exit 3", check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 3)


def test_input_ends(host: Host, running: str) -> None:
    text = "line\n" * 50_000
    assert (
        host.docker("exec", "-i", running, "sh", "-c", "cat; echo end", stdin=text).stdout == text + "end\n"
    )


@pytest.mark.parametrize(("program", "code"), [("no-such-program", 127), ("/etc/passwd", 126), ("/etc", 126)])
def test_what_cannot_be_run(host: Host, running: str, program: str, code: int) -> None:
    done = host.docker("exec", running, program, check=False)
    assert done.returncode == code
    assert "OCI runtime exec failed" in done.stdout + done.stderr


def test_who_and_where(host: Host, running: str) -> None:
    script = "id -u; pwd; echo $ONE-$TWO"
    words = ("exec", "-u", "7:8", "-w", "/tmp", "-e", "TWO=2", running, "sh", "-c", script)
    assert host.docker(*words).stdout == "7\n/tmp\n1-2\n"


def test_a_variable_without_a_value_is_taken_away(http: Http, running: str) -> None:
    id = _made(http, running, "env", Env=["ONE", "TWO=2"])
    connection, answer = http.stream("POST", f"/exec/{id}/start", {})
    shown = b"".join(text for _, text in frames(answer.read()))
    connection.close()
    assert b"TWO=2\n" in shown
    assert b"ONE" not in shown


def test_detached(host: Host, http: Http, running: str) -> None:
    assert host.docker("exec", "-d", running, "sh", "-c", "echo word; echo x > /made").stdout == ""
    eventually(
        lambda: host.docker("exec", running, "test", "-e", "/made", check=False).returncode == 0, "made"
    )


def test_privileged(host: Host, running: str) -> None:
    script = ("sh", "-c", "grep CapEff /proc/self/status")
    plain = host.docker("exec", running, *script).stdout
    assert int(host.docker("exec", "--privileged", running, *script).stdout.split()[1], 16) > int(
        plain.split()[1], 16
    )
    assert host.docker("exec", running, *script).stdout == plain


def test_a_child_that_holds_the_pipe_does_not_hold_the_client(host: Host, running: str) -> None:
    script = "(sleep 0.3; echo late; touch /alive) & echo first"
    assert host.docker("exec", running, "sh", "-c", script, seconds=20).stdout.startswith("first\n")
    eventually(  # and lives, although nobody reads what it says
        lambda: host.docker("exec", running, "test", "-e", "/alive", check=False).returncode == 0, "alive"
    )


# --- by docker-py ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it forgets to close
def test_docker_py(client: Any, running: str) -> None:
    container = client.containers.get(running)
    found = container.exec_run(["sh", "-c", "echo out; echo err >&2; exit 4"], demux=True)
    assert (found.exit_code, found.output) == (4, (b"out\n", b"err\n"))
    assert container.exec_run("cat /etc/hostname", tty=True).output.endswith(b"\r\n")
    pieces = container.exec_run(["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.05; done"], stream=True)
    assert b"".join(pieces.output) == b"1\n2\n3\n"
    assert not container.exec_run("true", detach=True).output
    del found, pieces
    gc.collect()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it forgets to close
def test_docker_py_on_a_socket(client: Any, running: str) -> None:
    found = client.containers.get(running).exec_run("cat", stdin=True, socket=True)
    sock = found.output._sock
    sock.sendall(b"given")
    sock.shutdown(socket.SHUT_WR)
    assert list(frames(rest(sock))) == [(1, b"given")]
    found.output._response.close()
    found.output.close()
    del found, sock
    gc.collect()


# --- the very answers -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "tty", "kind"),
    [
        ("1.41", False, "raw"),
        ("1.42", False, "multiplexed"),
        ("1.42", True, "raw"),
        ("1.45", False, "multiplexed"),
    ],
)
def test_the_head_of_an_upgrade(either: Host, theirs: str, version: str, tty: bool, kind: str) -> None:
    id = _made(either.http, theirs, "echo", "word", Tty=tty)
    body = b'{"Tty": true}' if tty else b"{}"
    connection, head = upgraded(either.http, f"/v{version}/exec/{id}/start", body)
    assert head.startswith(b"HTTP/1.1 101 UPGRADED\r\n")
    assert f"\r\nContent-Type: application/vnd.docker.{kind}-stream\r\n".encode() in head
    assert b"\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n" in head
    assert rest(connection) == (b"word\r\n" if tty else FRAME.pack(1, 5) + b"word\n")


def test_without_an_upgrade(either: Host, theirs: str) -> None:
    id = _made(either.http, theirs, "echo", "word")
    connection, answer = either.http.stream("POST", f"/exec/{id}/start", {})
    assert answer.status == 200
    assert answer.getheader("Content-Type") == "application/vnd.docker.raw-stream"
    assert list(frames(answer.read())) == [(1, b"word\n")]
    connection.close()


EARLY = b"".join(b"%d bottles\n" % number for number in range(30_000))  # more than any buffer on the way


@pytest.mark.parametrize("size", [1, 1000, len(EARLY)])
@pytest.mark.parametrize("has_said_all", [True, False])
def test_input_that_comes_with_the_request(http: Http, running: str, size: int, has_said_all: bool) -> None:
    """A client need not wait for the answer."""
    id = _made(http, running, "head", "-c", str(size), AttachStdin=True)
    if has_said_all:
        id = _made(http, running, "cat", AttachStdin=True)
    body = b"{}"
    head = (
        f"POST /exec/{id}/start HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection = http.connect()
    sender = threading.Thread(
        target=_send, args=(connection, head.encode() + body + EARLY[:size], has_said_all)
    )
    sender.start()
    answer = b""
    while piece := connection.recv(65536):
        answer += piece
    sender.join()
    connection.close()
    _, _, stream = answer.partition(b"\r\n\r\n")
    assert b"".join(text for _stream, text in frames(stream)) == EARLY[:size], answer[:500]


def _send(connection: socket.socket, data: bytes, has_said_all: bool) -> None:
    connection.sendall(data)
    if has_said_all:
        connection.shutdown(socket.SHUT_WR)


def test_what_is_shown(either: Host, theirs: str) -> None:
    http = either.http
    id = _made(http, theirs, "sh", "-c", "exit 2", User="0")
    whole = http("GET", f"/containers/{theirs}/json").json
    assert whole["ExecIDs"] == [id]
    shown = http("GET", f"/exec/{id}/json").json
    assert shown.pop("Pid") == 0
    assert shown == {
        "ID": id, "Running": False, "ExitCode": None, "OpenStdin": False, "OpenStdout": True,
        "OpenStderr": True, "CanRemove": False, "ContainerID": whole["Id"], "DetachKeys": "",
        "ProcessConfig": {
            "tty": False, "entrypoint": "sh", "arguments": ["-c", "exit 2"], "privileged": False, "user": "0",
        },
    }  # fmt: skip
    assert http("POST", f"/exec/{id}/start", {"Detach": True}).status == 200
    eventually(lambda: http("GET", f"/exec/{id}/json").json["ExitCode"] == 2, "it has ended")
    shown = http("GET", f"/exec/{id}/json").json
    assert not shown["Running"]
    assert shown["Pid"] > 0
    eventually(lambda: not http("GET", f"/containers/{theirs}/json").json["ExecIDs"], "it is shown no more")


def test_twice(either: Host, theirs: str) -> None:
    http = either.http
    id = _made(http, theirs, "sleep", "1000")
    assert http("POST", f"/exec/{id}/start", {"Detach": True}).status == 200
    answer = http("POST", f"/exec/{id}/start", {"Detach": True})
    assert answer.status == 409
    assert "is already running" in answer.message
    ended = _made(http, theirs, "true")
    assert http("POST", f"/exec/{ended}/start", {"Detach": True}).status == 200
    eventually(lambda: http("GET", f"/exec/{ended}/json").json["ExitCode"] == 0, "it has ended")
    answer = http("POST", f"/exec/{ended}/start", {"Detach": True})
    assert answer.status == 409
    assert "has already run" in answer.message


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 400, "o exec command specified"),
        ({"Cmd": []}, 400, "o exec command specified"),
        ({"Cmd": "x"}, 400, ""),
    ],
)
def test_what_is_refused(either: Host, theirs: str, body: Any, status: int, words: str) -> None:
    answer = either.http("POST", f"/containers/{theirs}/exec", body)
    assert answer.status == status
    assert words in answer.message


@pytest.mark.parametrize("variable", ["=x", "="])
def test_a_variable_without_a_name_is_refused(either: Host, theirs: str, variable: str) -> None:
    """Here when it is asked for, by dockerd when it begins."""
    made = either.http("POST", f"/containers/{theirs}/exec", {"Cmd": ["true"], "Env": [variable]})
    either.agrees("an exec's variable without a name", made.status, 400)
    if made.status == 201:
        started = either.http("POST", f"/exec/{made.json['Id']}/start", {"Detach": True})
        assert started.status == 500 and "invalid environment variable" in started.message
    else:
        assert "invalid environment variable" in made.message


def test_what_is_not_there(either: Host, theirs: str) -> None:
    http, id = either.http, "0" * 64
    assert http("POST", "/containers/no-such-one/exec", {"Cmd": ["true"]}).status == 404
    for method, path in (("GET", "json"), ("POST", "start"), ("POST", "resize?h=1&w=1")):
        answer = http(method, f"/exec/{id}/{path}", {} if method == "POST" else None)
        assert answer.status == 404
        assert "o such exec instance" in answer.message


def test_of_a_container_that_does_not_run(either: Host, theirs: str) -> None:
    http = either.http
    id = _made(http, theirs, "true")
    http("POST", f"/containers/{theirs}/pause")
    for path, body in ((f"/containers/{theirs}/exec", {"Cmd": ["true"]}), (f"/exec/{id}/start", {})):
        answer = http("POST", path, body)
        assert answer.status == 409
        assert "is paused, unpause the container before exec" in answer.message
    http("POST", f"/containers/{theirs}/unpause")
    http("POST", f"/containers/{theirs}/kill")
    eventually(lambda: not http("GET", f"/containers/{theirs}/json").json["State"]["Running"], "dead")
    answer = http("POST", f"/containers/{theirs}/exec", {"Cmd": ["true"]})
    assert answer.status == 409
    assert "is not running" in answer.message
    http("DELETE", f"/containers/{theirs}")
    assert http("GET", f"/exec/{id}/json").status == 404


def test_resize(http: Http, running: str) -> None:
    id = _made(http, running, "sh", "-c", "read a; stty size", Tty=True, AttachStdin=True)
    connection, _head = upgraded(http, f"/exec/{id}/start", b'{"Tty": true}')
    for wrong in ("h=1", "h=a&w=1", "h=-1&w=1", "h=1&w=65536", "h=1e3&w=1"):
        assert http("POST", f"/exec/{id}/resize?{wrong}").status == 400
    assert http("POST", f"/exec/{id}/resize?h=55&w=66").status == 200
    connection.sendall(b"\n")
    assert rest(connection).endswith(b"55 66\r\n")


def test_who_breaks_off_leaves_the_process(http: Http, host: Host, running: str) -> None:
    """As with Docker's daemon: its input has ended, its output goes nowhere."""
    script = "trap '' PIPE; cat; for i in $(seq 3000); do echo $i; done; echo x > /made; exit 8"
    id = _made(http, running, "sh", "-c", script, AttachStdin=True)
    connection, _head = upgraded(http, f"/exec/{id}/start", b"{}")
    connection.sendall(b"a word\n")
    assert connection.recv(100)
    connection.close()
    eventually(lambda: http("GET", f"/exec/{id}/json").json["ExitCode"] == 8, "it ran to its end")
    host.docker("exec", running, "test", "-e", "/made")
