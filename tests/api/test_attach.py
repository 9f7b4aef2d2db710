"""Attach by upgraded connections, bare ones and websockets."""

from __future__ import annotations

import asyncio
import gc
import select
import socket
from typing import Any

import aiodocker
import pytest

from tests.api.host import Host
from tests.api.http_client import Http, connected
from tests.api.streams import FRAME, frames, rest, upgraded
from tests.e2e.story import eventually

BOTH = "stream=1&stdout=1&stderr=1"


def _create(http: Http, name: str, script: str, **fields: Any) -> str:
    body = {"Image": "busybox", "Cmd": ["sh", "-c", script], **fields}
    body["HostConfig"] = {"NetworkMode": "none"}
    answer = http("POST", "/containers/create", body, query={"name": name})
    assert answer.status == 201, answer.body
    return str(answer.json["Id"])


def _start(http: Http, id: str) -> None:
    assert http("POST", f"/containers/{id}/start").status == 204


@pytest.mark.parametrize(
    ("version", "tty", "kind"),
    [("1.41", False, "raw"), ("1.42", False, "multiplexed"), ("1.45", True, "raw")],
)
def test_from_the_first_byte(either: Host, name: str, version: str, tty: bool, kind: str) -> None:
    http = either.http
    id = _create(http, name, "echo out; echo err >&2", Tty=tty)
    connection, head = upgraded(http, f"/v{version}/containers/{id}/attach?{BOTH}")
    assert head.startswith(b"HTTP/1.1 101 UPGRADED\r\n")
    assert f"\r\nContent-Type: application/vnd.docker.{kind}-stream\r\n".encode() in head
    _start(http, id)
    data = rest(connection)
    # Which of two streams is read first is nobody's promise.
    assert data == b"out\r\nerr\r\n" if tty else sorted(frames(data)) == [(1, b"out\n"), (2, b"err\n")]


def test_one_stream_without_an_upgrade(either: Host, name: str) -> None:
    http = either.http
    id = _create(http, name, "echo out; echo err >&2")
    connection, answer = http.stream("POST", f"/containers/{id}/attach?stream=1&stderr=1")
    assert (answer.status, answer.getheader("Content-Type")) == (200, "application/vnd.docker.raw-stream")
    _start(http, id)
    assert list(frames(answer.read())) == [(2, b"err\n")]
    connection.close()


def test_input_that_is_there_once(either: Host, name: str) -> None:
    http = either.http
    id = _create(http, name, "cat; echo end", OpenStdin=True, StdinOnce=True)
    connection, _head = upgraded(http, f"/containers/{id}/attach?{BOTH}&stdin=1")
    _start(http, id)
    connection.sendall(b"given\n" * 1000)
    connection.shutdown(socket.SHUT_WR)
    assert b"".join(text for _, text in frames(rest(connection))) == b"given\n" * 1000 + b"end\n"


def test_input_that_comes_with_the_request(host: Host, http: Http, name: str) -> None:
    """Of a client that does not wait for the answer, nor for the start."""
    host.docker("create", "-i", "--network", "none", "--name", name, "busybox", "cat")
    with http.connect() as connection:
        query = "stream=1&stdin=1&stdout=1"
        connection.sendall(
            f"POST /containers/{name}/attach?{query} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\n"
            "Upgrade: tcp\r\n\r\nsaid early".encode()
        )
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(1)
        host.docker("start", name)
        assert list(frames(rest(connection))) == [(1, b"said early")]


def test_who_reads_late_reads_the_head_first(host: Host, name: str) -> None:
    """docker-py and dockerode lose what comes along with it, and are late where others have processors."""
    host.docker("run", "--network", "none", "--name", name, "busybox", "echo", "said")
    with connected(host.direct) as connection:
        connection.sendall(
            f"POST /containers/{name}/attach?logs=1&stdout=1 HTTP/1.1\r\nHost: docker\r\n"
            "Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n".encode()
        )
        select.select([], [], [], 1.0)
        assert connection.recv(1 << 16).endswith(b"\r\n\r\n")
        assert list(frames(rest(connection))) == [(1, b"said\n")]


def test_the_end_is_told_after_what_was_printed_last(host: Host, http: Http) -> None:
    """As dockerode reads it: what has come by then is all."""
    for _ in range(20):
        body = {
            "Image": "busybox",
            "Cmd": ["echo", "said"],
            "Tty": True,
            "HostConfig": {"NetworkMode": "none"},
        }
        id = http("POST", "/containers/create", body).json["Id"]
        connection, _head = upgraded(http, f"/containers/{id}/attach?{BOTH}")
        with connection:
            _start(http, id)
            assert http("POST", f"/containers/{id}/wait").json == {"StatusCode": 0}
            assert select.select([connection], [], [], 0)[0], "nothing has come"
            assert connection.recv(100) == b"said\r\n"
        assert http("DELETE", f"/containers/{id}").status == 204


def test_input_that_stays_open(either: Host, name: str) -> None:
    """Not StdinOnce: the end of a client's input is the end of his attach, and of nothing else."""
    http = either.http
    id = _create(http, name, "read a; echo $a; read b; echo $b", OpenStdin=True)
    _start(http, id)
    for word in (b"one", b"two"):
        connection, _head = upgraded(http, f"/containers/{id}/attach?{BOTH}&stdin=1")
        connection.sendall(word + b"\n")
        assert connection.recv(100) == FRAME.pack(1, 4) + word + b"\n"
        connection.shutdown(socket.SHUT_WR)
        assert rest(connection) == b""
    eventually(lambda: not http("GET", f"/containers/{id}/json").json["State"]["Running"], "it has ended")


def test_the_log_and_then_what_comes(host: Host, http: Http, name: str) -> None:
    """Each line once, however many were written in between."""
    script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo $i; done; read a"
    id = _create(http, name, script, OpenStdin=True)
    _start(http, id)
    eventually(lambda: "\n3000\n" in host.docker("logs", name).stdout, "some lines are written")
    connection, _head = upgraded(http, f"/containers/{id}/attach?{BOTH}&logs=1")
    eventually(lambda: "\n20000\n" in host.docker("logs", name).stdout, "all lines are written")
    http("POST", f"/containers/{id}/kill")
    text = b"".join(text for _, text in frames(rest(connection)))
    assert text == b"".join(b"%d\n" % number for number in range(1, 20001))


def test_only_the_log(either: Host, name: str) -> None:
    http = either.http
    id = _create(http, name, "echo out; echo err >&2; sleep 1000")
    _start(http, id)
    eventually(lambda: "err" in either.docker("logs", name).stderr, "it is written")
    connection, _head = upgraded(http, f"/containers/{id}/attach?logs=1&stdout=1")
    assert list(frames(rest(connection))) == [(1, b"out\n")]


def test_what_is_refused(either: Host, name: str) -> None:
    http = either.http
    assert http("POST", f"/containers/no-such-one/attach?{BOTH}").status == 404
    id = _create(http, name, "sleep 1000")
    answer = http("POST", f"/containers/{id}/attach?{BOTH}&detachKeys=ctrl-nothing")
    assert answer.status == 400
    assert b"Invalid detach keys (ctrl-nothing) provided" in answer.body
    _start(http, id)
    http("POST", f"/containers/{id}/pause")
    answer = http("POST", f"/containers/{id}/attach?{BOTH}")
    assert answer.status == 409
    assert b"is paused, unpause the container before attach" in answer.body
    http("POST", f"/containers/{id}/unpause")


def test_resize(either: Host, name: str) -> None:
    http = either.http
    id = _create(http, name, "while read a; do stty size; done", Tty=True, OpenStdin=True)
    assert http("POST", f"/containers/{id}/resize?h=10&w=20").status == 409
    _start(http, id)
    connection, _head = upgraded(http, f"/containers/{id}/attach?{BOTH}&stdin=1")
    assert http("POST", f"/containers/{id}/resize?h=10&w=20").status == 200
    assert http("POST", f"/containers/{id}/resize?h=x&w=20").status == 400
    assert http("POST", "/containers/no-such-one/resize?h=1&w=1").status == 404
    connection.sendall(b"\n")
    shown = b""
    while b"10 20\r\n" not in shown:
        shown += (piece := connection.recv(100))
        assert piece
    connection.close()


def test_the_cli_attaches_and_its_input_is_all(host: Host, name: str) -> None:
    text = "line\n" * 100_000
    words = ("run", "-i", "--network", "none", "--name", name, "busybox", "wc", "-c")
    assert host.docker(*words, stdin=text).stdout == f"{len(text)}\n"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it forgets to close
def test_docker_py(client: Any, name: str) -> None:
    container = client.containers.create(
        "busybox", ["sh", "-c", "read a; echo got $a; echo err >&2"], name=name, network_mode="none",
        stdin_open=True,
    )  # fmt: skip
    sock = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    container.start()
    sock._sock.sendall(b"word\n")
    assert list(frames(rest(sock._sock))) == [(1, b"got word\n")]
    sock._response.close()
    sock.close()
    assert sorted(container.attach(logs=True, stdout=True, stderr=True).splitlines()) == [b"err", b"got word"]
    del sock
    gc.collect()


@pytest.mark.parametrize("tty", [True, False])
def test_websocket(host: Host, name: str, tty: bool) -> None:
    async def talk() -> bytes:
        async with aiodocker.Docker(url=f"unix://{host.socket}") as docker:
            config = {
                "Image": "busybox", "Tty": tty, "OpenStdin": True, "HostConfig": {"NetworkMode": "none"},
                "Cmd": ["sh", "-c", "read a; echo got $a; echo err >&2"],
            }  # fmt: skip
            container = await docker.containers.create(config, name=name)
            socket = await container.websocket(stdin=True, stdout=True, stderr=True, stream=True)
            await container.start()
            await socket.send_bytes(b"word\n")
            shown = b""
            async with asyncio.timeout(20):
                async for message in socket:
                    shown += message.data
            await socket.close()
            return shown

    shown = asyncio.run(talk())
    if tty:
        assert shown == b"word\r\ngot word\r\nerr\r\n"
    else:
        assert sorted(shown.splitlines()) == [b"err", b"got word"]


def test_a_websocket_detaches(host: Host, http: Http, name: str) -> None:
    async def talk() -> None:
        async with aiodocker.Docker(url=f"unix://{host.socket}") as docker:
            container = await docker.containers.get(name)
            socket = await container.websocket(stdin=True, stdout=True, stderr=True, stream=True)
            await socket.send_bytes(b"\x10")
            await socket.send_bytes(b"\x11")
            async with asyncio.timeout(20):
                async for _message in socket:
                    pass

    id = _create(http, name, "read a", Tty=True, OpenStdin=True)
    _start(http, id)
    asyncio.run(talk())
    assert http("GET", f"/containers/{id}/json").json["State"]["Running"]
