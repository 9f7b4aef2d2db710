"""F5: execs whose arguments and environment are as long as can be asked for, many at once: each is answered,
and what runs beside them goes on."""

from __future__ import annotations

import contextlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.api.http_client import Http, connected
from tests.e2e.story import Story
from tests.threats.test_f_streams import UPGRADE, _post, story

__all__ = ["story"]
AT_ONCE = 24
BODY_BYTES = 4_000_000  # a little less than a request may have
VALUES = {"letters": "x" * 100_000, "what is longer on the way": "é" * 50_000}


@pytest.mark.parametrize("value", VALUES.values(), ids=list(VALUES))
def test_f5_execs_of_megabytes_harm_no_other(story: Story, value: str) -> None:
    http = Http(story.layout.agent_socket)
    body = {"Cmd": ["cat"], "AttachStdin": True, "AttachStdout": True}
    made = http("POST", "/containers/ear/exec", body).json["Id"]
    with connected(story.layout.agent_socket, 30.0) as bystander:
        bystander.sendall(_post(f"/exec/{made}/start", UPGRADE, {"Detach": False}))
        assert bystander.recv(1000).startswith(b"HTTP/1.1 101")
        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = list(pool.map(lambda _: _started(story.layout.agent_socket, value), range(AT_ONCE)))
        assert {status for status, _ in answers} <= {200, 400, 500, 503}, answers
        assert not any("went away" in said for _, said in answers), answers
        assert any("is the most" in said or "too long" in said for _, said in answers), answers
        bystander.sendall(b"still here\n")
        said = b""
        while b"still here\n" not in said:
            piece = bystander.recv(1000)
            assert piece, said
            said += piece
    log = (story.layout.data / "agent.log").read_text()
    assert "Traceback" not in log, log[log.index("Traceback") - 500 :][:3000]


def _started(path: Path, value: str) -> tuple[int, str]:
    """Of an exec in the background: what came of it."""
    http = Http(path)
    count = BODY_BYTES // len(value.encode())
    environment = [f"N{number}={value}" for number in range(count)]
    body = json.dumps({"Cmd": ["true"], "Env": environment}, ensure_ascii=False).encode()
    made = http("POST", "/containers/ear/exec", body, headers={"Content-Type": "application/json"})
    assert made.status == 201, made.body
    started = http("POST", f"/exec/{made.json['Id']}/start", {"Detach": True})
    message = ""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        message = str(started.json["message"])
    return started.status, message
