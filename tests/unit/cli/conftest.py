"""An agent that answers from a table, on a socket of its own: what verbs send and show, without a kernel."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.cli import connect, main

Routes = dict[str, Any]  # "GET /status" -> JSON, or a list under "lines" for a stream


class FakeAgent:
    """routes: what it answers; asked: (method, path with query, body) of every request."""

    def __init__(self) -> None:
        self.routes: Routes = {}
        self.asked: list[tuple[str, str, Any]] = []

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        path = target.removeprefix("/setpoint/v1")
        self.asked.append((method, path, json.loads(body) if body else None))
        route = self.routes.get(f"{method} {path}", self.routes.get(f"{method} {path.partition('?')[0]}"))
        if route is None:
            error = {"kind": "NotFound", "op": "find", "subject": path, "reason": "no such route", "hint": ""}
            return 404, json.dumps({"error": error}).encode()
        if isinstance(route, dict) and "error" in route and set(route) == {"error"}:
            return 400, json.dumps(route).encode()
        if isinstance(route, bytes):
            return 200, route
        return 200, json.dumps(route).encode()


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        method, target, _ = self.rfile.readline().decode().split()
        length = 0
        while (line := self.rfile.readline().strip()) != b"":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        status, body = self.server.agent.answer(method, target, self.rfile.read(length))  # type: ignore[attr-defined]
        self.wfile.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAgent]:
    fake = FakeAgent()
    path = str(tmp_path / "s")
    monkeypatch.setattr(connect, "socket_path", lambda _instance: path)
    server = socketserver.ThreadingUnixStreamServer(path, _Handler)
    server.agent = fake  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield fake
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def no_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nobody listens; the database, if a test makes one, is the path given."""
    monkeypatch.setattr(connect, "socket_path", lambda _instance: str(tmp_path / "nobody"))
    monkeypatch.setattr(connect, "database_path", lambda _instance: str(tmp_path / "setpoint.db"))
    return tmp_path / "setpoint.db"


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """run("status", "-q") -> (exit code, stdout, stderr)."""

    def call(*words: str) -> tuple[int, str, str]:
        code = main.main(list(words))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
