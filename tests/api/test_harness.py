"""The harness itself: that it sees what is wrong, and passes on what it does not know."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.api import schema
from tests.api.host import Host
from tests.api.http_client import Http
from tests.api.proxy import Look, checking

JSON = "application/json"


def test_a_right_answer_has_no_fault() -> None:
    assert schema.faults("POST", "/v1.45/containers/create", 201, JSON, {"Id": "a", "Warnings": []}) == []


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ({"Id": "a"}, "the answer: 'Warnings' is a required property"),
        ({"Id": 3, "Warnings": []}, "Id: 3 is not of type 'string'"),
        ({"Id": "a", "Warnings": [], "ID": "a"}, "ID: a field that the definition does not have"),
    ],
)
def test_a_wrong_answer_is_told_with_its_place(answer: object, fault: str) -> None:
    [found] = schema.faults("POST", "/containers/create", 201, JSON, answer)
    assert found.startswith(fault)


def test_errors_have_a_message() -> None:
    assert schema.faults("GET", "/containers/x/json", 404, JSON, {"message": "No such container: x"}) == []
    assert schema.faults("GET", "/containers/x/json", 404, JSON, {"error": "no"}) != []
    assert schema.faults("POST", "/containers/x/start", 202, JSON, {}) != []


def test_a_connection_is_followed_piece_by_piece() -> None:
    faults: list[str] = []
    look = Look(faults)
    request = b"GET /containers/a/json HTTP/1.1\r\nHost: x\r\n\r\n"
    body = b'{"message":3}'
    answer = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer += b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    look.requests.feed(request + request)
    for byte in answer + answer:
        look.answers.feed(bytes([byte]))
    assert len(faults) == 2
    assert faults[0].startswith("GET /containers/a/json -> 404: message: 3 is not of type 'string'")


def test_an_upgraded_connection_passes_untouched(tmp_path: Path) -> None:
    with (
        socket.socket(socket.AF_UNIX) as listening,
        checking(tmp_path / "a", tmp_path / "b") as proxy,
        socket.socket(socket.AF_UNIX) as client,
    ):
        listening.bind(str(tmp_path / "a"))
        listening.listen()
        client.connect(str(proxy.path))
        client.sendall(b"POST /containers/a/attach HTTP/1.1\r\nUpgrade: tcp\r\n\r\n")
        server, _ = listening.accept()
        with server:
            assert server.recv(1000).startswith(b"POST /containers/a/attach")
            server.sendall(b"HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\n\r\n")
            assert client.recv(1000).startswith(b"HTTP/1.1 101")
            client.sendall(b"\0\r\n\r\n{")
            client.shutdown(socket.SHUT_WR)
            assert server.recv(1000) == b"\0\r\n\r\n{"
            assert server.recv(1000) == b""
            server.sendall(b"{}{ \r\n\r\n")
            assert client.recv(1000) == b"{}{ \r\n\r\n"
            client.close()
            server.settimeout(10)
            with pytest.raises(BrokenPipeError):  # the other side is gone, not only silent
                while True:
                    server.sendall(b"x")
    assert proxy.faults == []


def test_the_agent_answers_through_it(http: Http) -> None:
    answer = http("GET", "/v1.30/no-such-thing")
    assert (answer.status, answer.message) == (404, "page not found")


def test_a_scenario_runs_on_both(either: Host) -> None:
    answer = either.http("GET", "/no-such-thing")
    either.agrees("a path that is not there", (answer.status, answer.message), (404, "page not found"))
