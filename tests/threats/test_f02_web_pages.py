"""F2, CVE-2025-64443, CVE-2025-9074: a web page in a browser of this host reaches the API, by a request that
needs no leave, or under a name that it gave this host's address (DNS rebinding)."""

from __future__ import annotations

import pytest

from agent.api.guards import is_host_allowed
from tests.threats.raw_http import connected, request, send
from tests.unit.api.agents import Agent

PAGE = "http://evil.example"
CREATE = "/v1.45/containers/create"
FORM, PLAIN = "application/x-www-form-urlencoded", "text/plain"
UPLOAD = "multipart/form-data; boundary=x"

REFUSED = {
    "cross-origin post": (request("POST", CREATE, {"Origin": PAGE}, b"{}"), 403),
    "its form": (request("POST", CREATE, {"Content-Type": FORM, "Origin": PAGE}, b"a=b"), 403),
    "sandboxed page": (request("POST", CREATE, {"Origin": "null"}, b"{}"), 403),
    "page of this host": (request("POST", CREATE, {"Origin": "http://localhost"}, b"{}"), 403),
    "empty origin": (b"GET /info HTTP/1.1\r\nHost: docker\r\nOrigin:\r\nConnection: close\r\n\r\n", 403),
    "preflight": (request("OPTIONS", CREATE, {"Origin": PAGE, "Access-Control-Request-Method": "POST"}), 403),
    "read": (request("GET", "/containers/json", {"Origin": PAGE}), 403),
    "websocket": (
        request("GET", "/containers/web/attach/ws", {"Origin": PAGE, "Upgrade": "websocket"}), 403,
    ),
    "event source": (request("GET", "/events", {"Origin": PAGE, "Accept": "text/event-stream"}), 403),
    "native": (request("POST", "/setpoint/v1/stop", {"Origin": PAGE}), 403),
    "native page": (request("GET", "/setpoint/v1/status", {"Origin": PAGE}), 403),
    "unknown path": (request("GET", "/nowhere", {"Origin": PAGE}), 403),
    "image tag": (request("GET", "/info", {"Sec-Fetch-Site": "cross-site"}), 403),
    "rebound page": (request("GET", "/info", {"Sec-Fetch-Site": "same-origin"}), 403),
    "same site": (request("GET", "/info", {"Sec-Fetch-Site": "same-site"}), 403),
    "rebound name": (request("GET", "/info", host="evil.example"), 403),
    "rebound name and port": (request("GET", "/info", host="evil.example:2375"), 403),
    "rebound native": (request("POST", "/setpoint/v1/stop", host="evil.example"), 403),
    "looks local": (request("GET", "/info", host="localhost.evil.example"), 403),
    "looks like ours": (request("GET", "/info", host="api.moby.localhost.evil.example"), 403),
    "userinfo": (request("GET", "/info", host="docker@evil.example"), 403),
    "two hosts": (b"GET /info HTTP/1.1\r\nHost: docker\r\nHost: evil.example\r\n\r\n", 400),
    "no host": (b"GET /info HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
    "whole url": (request("GET", "http://evil.example/info"), 400),
    "plain text": (request("POST", CREATE, {"Content-Type": PLAIN}, b"{}"), 415),
    "form": (request("POST", CREATE, {"Content-Type": FORM}, b"{}"), 415),
    "multipart": (request("POST", CREATE, {"Content-Type": UPLOAD}, b"{}"), 415),
    "no type": (request("POST", CREATE, {"Content-Type": ""}, b"{}"), 415),
    "parameter": (request("POST", CREATE, {"Content-Type": "text/plain; application/json"}, b"{}"), 415),
    "almost": (request("POST", CREATE, {"Content-Type": "application/jsonp"}, b"{}"), 415),
    "native plain": (request("POST", "/setpoint/v1/plan", {"Content-Type": PLAIN}, b"{}"), 415),
    "chunked plain": (
        request("POST", CREATE, {"Content-Type": PLAIN, "Transfer-Encoding": "chunked"}) + b"0\r\n\r\n", 415,
    ),
    "archive as a form": (request("POST", "/build", {"Content-Type": FORM}, b"x"), 415),
    "archive as an upload": (
        request("PUT", "/containers/a/archive?path=/", {"Content-Type": UPLOAD}, b"x"), 415,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_f2_what_a_page_can_send_is_refused(agent: Agent, name: str) -> None:
    sent, status = REFUSED[name]
    found, body = send(agent.settings.layout.agent_socket, sent)
    assert found == status
    assert b"evil" not in body or status != 403 or b"host" in body
    assert agent.client.status()["agent"] == "running"


def test_f2_nothing_invites_a_page(agent: Agent) -> None:
    """No CORS header, whatever is asked for."""
    with connected(agent.settings.layout.agent_socket) as connection:
        connection.sendall(request("OPTIONS", CREATE, {"Access-Control-Request-Method": "POST"}))
        answer = connection.recv(65536).lower()
    assert answer.startswith(b"http/1.1 405") and b"access-control" not in answer


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "docker", "api.moby.localhost", "docker.example.com", "", "127.0.0.1", "[::1]:2375",
        "setpoint", "%2Fvar%2Frun%2Fdocker.sock", "/var/run/docker.sock", "localhost:2375",
        "2f7661722f72756e2f646f636b6572", "docker-proxy:2375", "v1.27", "docker.sock", "setpoint.sock",
    ],
)  # fmt: skip
def test_f2_what_docker_clients_call_a_socket_is_taken(agent: Agent, host: str) -> None:
    sent = f"GET /_ping HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    assert send(agent.settings.layout.agent_socket, sent)[0] not in (400, 403)


def test_f2_a_tcp_address_has_its_names_alone() -> None:
    names = frozenset({"engine.example.org", "10.0.0.5", "::1"})
    for host in ("engine.example.org", "Engine.Example.org:2376", "10.0.0.5:2376", "[::1]:2376"):
        assert is_host_allowed(host, names)
    for host in (
        "", "localhost", "10.0.0.6", "evil.example", "docker", "/x", "engine.example.org.evil.example",
        "engine.example.org:", "engine.example.org:2376:1", "engine.example.org evil",
    ):  # fmt: skip
        assert not is_host_allowed(host, names)
