"""Requests as bytes, for the tests of what reaches the API: nothing mends them on the way."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from pathlib import Path

SECONDS = 20.0


def request(
    method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b"", host: str = "docker"
) -> bytes:
    """One that closes. headers replace those that a docker client sends; one that is "" is left out."""
    sent = {"Host": host, "Connection": "close"}
    if body:
        sent |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    sent |= headers or {}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items() if value)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def connected(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(path))  # waits for room in the backlog, which one with a timeout does not
    except OSError:
        connection.close()
        raise
    connection.settimeout(SECONDS)
    return connection


def send(path: Path, data: bytes) -> tuple[int, bytes]:
    """(status, body) of the first answer; 0 where the connection was closed without one."""
    with connected(path) as connection:
        answer = b""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused early: the answer is there
            connection.sendall(data)
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return (int(head.split()[1]), body) if head else (0, b"")
