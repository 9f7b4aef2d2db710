"""F9: names and ids of requests as paths. What can be no name is refused before anything looks for it."""

from __future__ import annotations

import pytest

from tests.threats.raw_http import request, send
from tests.unit.api.agents import Agent

NAMES = (
    "..", ".", "%2e%2e", "%2e", "..%2f..%2fetc%2fpasswd", "a%2f..%2fb", "../../etc", "a/../../b", "%00",
    "a%00b", "%0a", "a%0d%0ab", "%1b%5b2J", "%7f", "a%09b", "....%2f%2f..", "/", "%2f",
    "%2fetc%2fpasswd", "a%2fb", "%5c..%5c..", "c" * 4096, "-rf", "--help", "~", "~root", "$(id)",
    "%60id%60", "a%20b", "*", "%3f", "%23", "%25", "%252e%252e%252f", "%c0%ae%c0%ae", "%e2%80%ae",
    "%ff%fe", "con", "A" * 65, "0" * 64, "g" * 64, "'", '"', "%3b", "%7c", "%26", "@api",
    "@api%2fcontainer%2fx", "..%00", "a..", ".a", "_", "%F0%9F%92%A9", "${HOME}", "{{7*7}}",
    "%3Cscript%3E", "sha256:..", "sha256:" + "0" * 64, "..;", "%e5%98%8a%e5%98%8d",
)  # fmt: skip
PLACES = ("/containers/{}/json", "/volumes/{}", "/setpoint/v1/objects/{}")


@pytest.mark.parametrize("where", PLACES)
def test_f9_a_hostile_name_is_no_name(agent: Agent, where: str) -> None:
    """Refused or not there; never a bug, and never what it looks like."""
    path = agent.settings.layout.agent_socket
    for name in NAMES:
        status, body = send(path, request("GET", where.format(name)))
        assert status in (400, 404, 405, 501), (name, status, body[:200])
        assert b"root:x:" not in body
        status, body = send(path, request("DELETE", where.format(name)))
        assert status in (400, 404, 405, 409, 501), (name, status, body[:200])
    assert agent.client.status()["ready"] is True


@pytest.mark.parametrize("name", ["%00", "a%00b", "%0a", "%1b%5b2J", "%2e%2e", "a%2f..%2fb", "%7f"])
def test_f9_no_handler_sees_what_no_name_has(agent: Agent, name: str) -> None:
    status, body = send(agent.settings.layout.agent_socket, request("GET", f"/setpoint/v1/objects/{name}"))
    assert status == 400 and b"no path of this API" in body
