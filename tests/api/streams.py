"""Connections that leave HTTP, and the frames on them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from tests.api.http_client import Http

FRAME = struct.Struct("!BxxxI")


def frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(stream, bytes) of each; they must be whole."""
    while data:
        stream, length = FRAME.unpack(data[:8])
        assert len(data) >= 8 + length
        yield stream, data[8 : 8 + length]
        data = data[8 + length :]


def upgraded(http: Http, path: str, body: bytes = b"") -> tuple[socket.socket, bytes]:
    """POST with an upgrade: (the connection, the answer's head)."""
    connection = http.connect()
    head = f"POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
    if body:
        head += "Content-Type: application/json\r\n"
    answer = b""
    try:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        while not answer.endswith(b"\r\n\r\n"):
            piece = connection.recv(1)
            assert piece, answer
            answer += piece
    except BaseException:  # who is asked may end meanwhile
        connection.close()
        raise
    return connection, answer


def rest(connection: socket.socket) -> bytes:
    """What comes until the end; closes the connection."""
    data = b""
    with connection:
        while piece := connection.recv(65536):
            data += piece
    return data
