"""What is answered where it was read: the same answers, behind the same guards, as in a task of aiohttp's,
where `Connection: close` sends every request."""

from __future__ import annotations

import http.client
import io
import json
import re
import socket
import time
from asyncio.selector_events import _SelectorTransport
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from agent.api import answering
from store.records import Batch
from store.store import Store

from .agents import Agent

ASKED = {
    "ping": "GET /_ping",
    "ping of a version": "GET /v1.43/_ping",
    "head": "HEAD /_ping",
    "version": "GET /version",
    "containers": "GET /v1.24/containers/json?all=1",
    "a container": "GET /containers/shop-web-1/json",
    "no container": "GET /v1.52/containers/nobody/json",
    "no exec": "GET /exec/nobody/json",
    "networks": "GET /networks",
    "no network": "GET /networks/nobody",
    "volumes": "GET /volumes",
    "a bad filter": 'GET /volumes?filters={"nobody":["x"]}',
    "plugins": "GET /plugins",
    "a version too new": "GET /v1.99/version",
    "a version too old": "GET /v1.2/version",
    "no version": "GET /v9/version",
    "two versions": "GET /v1.43/v1.43/version",
    "ours with a version": "GET /v1.43/setpoint/v1/status",
    "a method too many": "PATCH /v1.43/version",
    "a dot": "GET /v1.43/containers/../json",
    "a NUL": "GET /v1.43/containers/json?all=%00",
}
HEADS = {
    "nothing": ("", 200),
    "a page's": ("Origin: http://evil.example\r\n", 403),
    "a page's, by another sign": ("Sec-Fetch-Site: same-origin\r\n", 403),
    "an encoding": ("Content-Encoding: gzip\r\n", 415),
    "a body that is none": ("Content-Length: 0\r\n", 200),
    "an expectation": ("Expect: 100-continue\r\n", 200),
}


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """A connection that is kept, and what is read of it."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(path)
        self._file = self.socket.makefile("rb")

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def answer(self, method: str = "GET") -> Answer:
        found = http.client.HTTPResponse(_Said(self._file), method=method)  # type: ignore[arg-type]
        found.begin()
        while found.status == 100:
            found.begin()
        body = found.read()
        headers = {name: value for name, value in found.getheaders() if name not in ("Date", "Connection")}
        return Answer(found.status, headers, body)


class _Said:
    """What http.client takes for a socket."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file

    def makefile(self, _mode: str) -> _Said:
        return self

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def close(self) -> None:
        """The next answer is read of it."""


@pytest.fixture
def wire(agent: Agent) -> Iterator[Wire]:
    made = Wire(agent.client.path)
    yield made
    made.close()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that were answered at once."""
    found: list[str] = []
    whole = answering.AtOnce.__call__

    def count(self: answering.AtOnce, request: object) -> object:
        answer = whole(self, request)  # type: ignore[arg-type]
        found.extend([request.path] if answer is not None else [])  # type: ignore[attr-defined]
        return answer

    monkeypatch.setattr(answering.AtOnce, "__call__", count)
    return found


def said(asked: str, headers: str = "") -> bytes:
    return f"{asked} HTTP/1.1\r\nHost: docker\r\n{headers}\r\n".encode()


def in_a_task(agent: Agent, asked: str, headers: str = "") -> Answer:
    wire = Wire(agent.client.path)
    wire.socket.sendall(said(asked, f"{headers}Connection: close\r\n"))
    answer = wire.answer(asked.partition(" ")[0])
    wire.close()
    return answer


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_both_ways_say_the_same(agent: Agent, wire: Wire, asked: str) -> None:
    wire.socket.sendall(said(asked))
    assert wire.answer(asked.partition(" ")[0]) == in_a_task(agent, asked)


@pytest.mark.parametrize(("headers", "status"), HEADS.values(), ids=HEADS)
def test_both_ways_have_the_same_guards(agent: Agent, wire: Wire, headers: str, status: int) -> None:
    wire.socket.sendall(said("GET /version", headers))
    answer = wire.answer()
    assert answer == in_a_task(agent, "GET /version", headers)
    assert answer.status == status


def test_a_host_that_is_not_ours_is_refused_both_ways(wire: Wire) -> None:
    wire.socket.sendall(b"GET /version HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    assert wire.answer().status == 403


def test_requests_without_a_pause_are_answered_in_their_order(wire: Wire, counted: list[str]) -> None:
    asked = [
        "GET /_ping",
        "GET /setpoint/v1/version",
        "GET /version",
        "GET /nowhere",
        "HEAD /_ping",
        "GET /_ping",
    ]
    wire.socket.sendall(b"".join(map(said, asked)))
    answers = [wire.answer(each.partition(" ")[0]) for each in asked]
    assert [answer.status for answer in answers] == [200, 200, 200, 404, 200, 200]
    assert [len(answer.body) for answer in answers][::5] == [2, 2]
    assert b"started_at" in answers[1].body
    assert b"ApiVersion" in answers[2].body
    assert "/_ping" in counted


def test_a_request_that_comes_in_pieces_is_answered_once(wire: Wire, counted: list[str]) -> None:
    for byte in said("GET /version"):
        wire.socket.sendall(bytes([byte]))
    assert wire.answer().status == 200
    wire.socket.sendall(said("GET /_ping"))
    assert wire.answer().body == b"OK"
    assert counted == ["/version", "/_ping"]


def test_thousands_on_one_connection_are_no_head_that_does_not_end(wire: Wire, counted: list[str]) -> None:
    for _ in range(6):
        wire.socket.sendall(said("GET /_ping", "X: " + "x" * 60000 + "\r\n"))
        assert wire.answer().body == b"OK"
    assert len(counted) == 6


def test_who_does_not_read_is_not_read_either(agent: Agent, wire: Wire) -> None:
    """His answers do not pile up in the agent's memory."""
    wire.socket.settimeout(2)
    with pytest.raises(TimeoutError):
        for _ in range(20_000):
            wire.socket.sendall(said("GET /version"))
    wire.socket.shutdown(socket.SHUT_RDWR)
    assert in_a_task(agent, "GET /_ping").status == 200  # by then it is seen that he is gone


def test_who_has_not_taken_an_answer_gets_the_next_in_a_task(
    wire: Wire, counted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(_SelectorTransport, "get_write_buffer_size", lambda _self: 1)
        wire.socket.sendall(said("GET /version"))
        assert wire.answer().status == 200
    assert counted == []
    wire.socket.sendall(said("GET /version"))
    assert wire.answer().status == 200
    assert counted == ["/version"]


def test_a_bug_is_told_as_such_and_in_the_log(
    agent: Agent, wire: Wire, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from agent.api.docker import containers

    monkeypatch.setattr(containers, "find_container", lambda *_: 1 / 0)
    wire.socket.sendall(said("GET /containers/web/json"))
    answer = wire.answer()
    assert answer == in_a_task(agent, "GET /containers/web/json")
    assert answer.status == 500
    assert b"a bug in the agent: ZeroDivisionError" in answer.body
    assert "a bug in answering GET /containers/web/json" in caplog.text


# --- begun where it was read ------------------------------------------------------------------------


WISHES = {
    "a volume": ("POST /volumes/create", b'{"Name":"data"}'),
    "a bad name": ("POST /v1.43/volumes/create", b'{"Name":"-"}'),
    "no JSON": ("POST /volumes/create", b"{"),
    "no object": ("POST /volumes/create", b"[]"),
    "no such volume": ("DELETE /volumes/nobody", b""),
    "no matter": ("DELETE /volumes/nobody?force=1", b""),
    "a network": ("POST /networks/create", b'{"Name":"front"}'),
    "an exec of nobody": ("POST /containers/nobody/exec", b'{"Cmd":["true"]}'),
    "a rename of nobody": ("POST /containers/nobody/rename?name=other", b""),
    "a container of no image": ("POST /containers/create", b'{"Image":"nobody"}'),
    "a container of nothing": ("POST /containers/create", b"{}"),
    "a start of nobody": ("POST /containers/nobody/start", b""),
    "a start of one that runs": ("POST /v1.43/containers/shop-web-1/start", b""),
    "a stop of a manifest's": ("POST /containers/shop-web-1/stop", b""),
    "a wait for nobody": ("POST /containers/nobody/wait", b""),
    "a wait for nothing": ("POST /containers/shop-web-1/wait?condition=nothing", b""),
}
JSON = "Content-Type: application/json\r\n"


def wished(asked: str, body: bytes, headers: str = JSON) -> tuple[bytes, bytes]:
    """Head and body."""
    return said(asked, f"{headers}Content-Length: {len(body)}\r\n" if body else ""), body


def without_moment(answer: Answer) -> Answer:
    return answer._replace(body=re.sub(rb'"CreatedAt":"[^"]*"', b"", answer.body))


@pytest.mark.parametrize("pause", [None, 0.0, 0.3], ids=["whole", "in two", "slowly"])
@pytest.mark.parametrize(("asked", "body"), WISHES.values(), ids=WISHES)
def test_a_wish_is_answered_the_same_both_ways(
    agent: Agent, wire: Wire, asked: str, body: bytes, pause: float | None
) -> None:
    head, body = wished(asked, body)
    first = Wire(agent.client.path)
    first.socket.sendall(head.replace(b"Host", b"Connection: close\r\nHost") + body)
    method = asked.partition(" ")[0]
    in_task = without_moment(first.answer(method))
    first.close()
    if asked.endswith("networks/create"):
        wire.socket.sendall(said("DELETE /networks/front"))
        assert wire.answer("DELETE").status == 204
    for part in (head, body) if pause is not None else (head + body,):
        wire.socket.sendall(part)
        time.sleep(pause or 0.0)
    assert without_moment(wire.answer(method)) == in_task
    wire.socket.sendall(said("GET /_ping"))
    assert wire.answer().body == b"OK"


def test_a_wish_is_begun_at_once(wire: Wire, counted: list[str]) -> None:
    wire.socket.sendall(b"".join(wished("POST /volumes/create", b'{"Name":"data"}')))
    assert wire.answer("POST").status == 201
    assert counted == ["/volumes/create"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [(f"{JSON}Origin: http://evil.example\r\n", 403), ("Content-Type: text/plain\r\n", 415)],
)
def test_a_wish_passes_the_same_guards(wire: Wire, headers: str, status: int) -> None:
    wire.socket.sendall(b"".join(wished("POST /volumes/create", b'{"Name":"data"}', headers)))
    assert wire.answer("POST").status == status
    wire.socket.sendall(said("GET /volumes"))
    assert b'"data"' not in wire.answer().body


def test_what_is_asked_during_a_wish_is_answered_after_it(wire: Wire) -> None:
    head, body = wished("POST /volumes/create", b'{"Name":"data"}')
    wire.socket.sendall(head + body + said("GET /volumes/data") + said("GET /_ping"))
    assert [wire.answer("POST").status, wire.answer().status] == [201, 200]
    assert wire.answer().body == b"OK"


def test_who_asks_while_his_wish_is_being_stored_gets_its_answer_first(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Store.write

    def slowly(self: Store, batch: Batch, *, is_synced: bool = True) -> None:
        time.sleep(0.2)
        write(self, batch, is_synced=is_synced)

    monkeypatch.setattr(Store, "write_at_once", lambda _store, _batch: False)
    monkeypatch.setattr(Store, "write", slowly)
    wire.socket.sendall(b"".join(wished("POST /volumes/create", b'{"Name":"data"}')))
    for _ in range(3):
        time.sleep(0.02)
        wire.socket.sendall(said("GET /_ping"))
    assert [wire.answer("POST").status, *(wire.answer().status for _ in range(3))] == [201, 200, 200, 200]


# --- an answer in pieces ----------------------------------------------------------------------------


def made(wire: Wire) -> str:
    """The id of a container that was created."""
    wire.socket.sendall(b"".join(wished("POST /containers/create", b'{"Image":"busybox:latest"}')))
    answer = wire.answer("POST")
    assert answer.status == 201, answer
    return str(json.loads(answer.body)["Id"])


def test_who_waits_for_what_does_not_run_hears_the_same_both_ways(
    agent: Agent, wire: Wire, counted: list[str]
) -> None:
    asked = f"POST /containers/{made(wire)}/wait"
    in_task = in_a_task(agent, asked)
    assert (in_task.status, in_task.body) == (200, b'{"StatusCode": 0}\n')
    counted.clear()
    wire.socket.sendall(said(asked))
    assert wire.answer("POST") == in_task
    wire.socket.sendall(said("GET /_ping"))
    assert wire.answer().body == b"OK"
    assert counted == [asked.partition(" ")[2], "/_ping"]


def test_who_waits_for_a_removal_has_the_head_at_once_and_the_rest_when_it_is_gone(
    agent: Agent, wire: Wire, counted: list[str]
) -> None:
    id = made(wire)
    path = f"/containers/{id}/wait"
    wire.socket.sendall(said(f"POST {path}?condition=removed") + said("GET /_ping"))
    head = wire.socket.recv(4096)
    assert head.startswith(b"HTTP/1.1 200 OK\r\n") and head.endswith(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head and b"Api-Version" in head
    assert in_a_task(agent, f"DELETE /containers/{id}").status == 204
    left = b""
    while not left.endswith(b"OK"):
        left += wire.socket.recv(4096)
    assert left.startswith(b'14\r\n{"StatusCode": 137}\n\r\n0\r\n\r\nHTTP/1.1 200 OK')  # in their order
    assert [each for each in counted if each in (path, "/_ping")] == [path, "/_ping"]


def test_one_who_goes_while_he_waits_leaves_nothing_behind(agent: Agent, wire: Wire) -> None:
    id = made(wire)
    for _ in range(20):
        gone = Wire(agent.client.path)
        gone.socket.sendall(said(f"POST /containers/{id}/wait?condition=next-exit"))
        assert gone.socket.recv(4096).startswith(b"HTTP/1.1 200")
        gone.close()
    wire.socket.sendall(said(f"DELETE /containers/{id}"))
    assert wire.answer("DELETE").status == 204


def test_a_client_that_leaves_in_the_middle_of_a_wish_leaves_it_done(agent: Agent, wire: Wire) -> None:
    for number in range(20):
        gone = Wire(agent.client.path)
        gone.socket.sendall(b"".join(wished("POST /volumes/create", b'{"Name":"data%d"}' % number)))
        gone.close()
    deadline = time.monotonic() + 20
    while True:
        wire.socket.sendall(said("GET /volumes"))
        found = wire.answer().body
        if all(b'"data%d"' % number in found for number in range(20)):
            return
        assert time.monotonic() < deadline, found


def test_a_client_that_has_said_all_gets_its_answer(agent: Agent) -> None:
    """`docker system dial-stdio` shuts its half."""
    wire = Wire(agent.client.path)
    wire.socket.sendall(b"".join(wished("POST /volumes/create", b'{"Name":"data"}')))
    wire.socket.shutdown(socket.SHUT_WR)
    assert wire.answer("POST").status == 201
    assert wire.socket.recv(1) == b""
    wire.close()


def test_a_body_that_never_comes_holds_nobody_up(agent: Agent, wire: Wire) -> None:
    head, _ = wished("POST /volumes/create", b'{"Name":"data"}')
    wire.socket.sendall(head)
    assert in_a_task(agent, "GET /_ping").status == 200
    wire.socket.shutdown(socket.SHUT_WR)
    assert b"201" not in wire.socket.recv(4096)


def test_an_exec_is_begun_where_it_was_read(agent: Agent, counted: list[str]) -> None:
    with agent.client.exec("shop/container/web", ["cat"], stdin=True) as session:
        assert session.run(b"words") == (0, b"words", b"")
    assert counted == ["/setpoint/v1/exec/shop/container/web"]


def test_an_exec_that_says_too_much_is_refused_both_ways(agent: Agent, wire: Wire) -> None:
    head, body = wished("POST /setpoint/v1/exec/shop/container/web?nobody=1", b'{"argv":["true"]}')
    wire.socket.sendall(head + body)
    found = wire.answer("POST")
    first = Wire(agent.client.path)
    first.socket.sendall(head.replace(b"Host", b"Connection: close\r\nHost") + body)
    assert (found.status, found) == (400, first.answer("POST"))
    first.close()
