"""HTTP over a UNIX socket, for tests that look at the very answer."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

SECONDS = 60.0


@dataclass(frozen=True)
class Answer:
    """headers: their names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """An error's words."""
        return str(self.json["message"])


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("docker", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = connected(self._path, self.timeout or SECONDS)


def connected(path: Path, seconds: float = SECONDS) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(seconds)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection


class Http:
    """http("POST", "/containers/create", {"Image": "busybox"}, query={"name": "web"}).status"""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = SECONDS,
    ) -> Answer:
        """The whole answer. body: bytes as they are, anything else as JSON. query: lists and mappings as
        JSON, as `filters` are."""
        connection, answer = self.stream(method, path, body, query=query, headers=headers, seconds=seconds)
        try:
            return Answer(answer.status, _lowered(answer), answer.read())
        finally:
            connection.close()

    def stream(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = SECONDS,
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """The same, its body not read: `answer.readline()`; the caller closes the connection."""
        if query:
            path += "?" + urlencode({name: _word(value) for name, value in query.items()})
        sent = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        connection = _Connection(self._path, seconds)
        try:
            connection.request(method, path, body, sent)
            return connection, connection.getresponse()
        except BaseException:  # who is asked may end meanwhile
            connection.close()
            raise

    def connect(self, seconds: float = SECONDS) -> socket.socket:
        """A connection of nobody's protocol, for upgraded ones and for hostile bytes."""
        return connected(self._path, seconds)


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    return json.dumps(value) if isinstance(value, list | dict) else str(value)


def _lowered(answer: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.getheaders()}
