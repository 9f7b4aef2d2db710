"""`setpoint dial-stdio`: the agent's socket on standard input and output, until it has said all. What
`docker -H ssh://HOST` runs at the other end, as `docker system dial-stdio` (see ops/docker).

Only the standard library: ssh starts one for each connection of a client.
"""

from __future__ import annotations

import os
import socket
import threading
from argparse import Namespace

from agent.cli.connect import AgentDown, socket_path
from agent.cli.parser import Parser

PIECE_BYTES = 65536


def add_dial_stdio(parser: Parser) -> None:
    parser.examples(
        "ssh root@host setpoint dial-stdio              as a Docker client would",
        "docker -H ssh://root@host ps                   with ops/docker as `docker` on the host",
    )


def run_dial_stdio(arguments: Namespace) -> int:
    path = socket_path(arguments.instance)
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(path)
        except OSError as error:
            raise AgentDown(path, error.strerror or str(error)) from None
        pump(connection, 0, 1)
    return 0


def pump(connection: socket.socket, source: int, sink: int) -> None:
    """Both ways at once: an end that takes nothing holds up what goes to it alone. The end of source is that
    of what is sent, and no more: the answer still comes. Returns when the connection has said all, or nobody
    takes what it says."""
    threading.Thread(target=_send, args=(connection, source), daemon=True).start()
    while True:
        try:
            data = connection.recv(PIECE_BYTES)
        except ConnectionResetError:
            return
        if not data or not _write_all(sink, data):
            return


def _send(connection: socket.socket, source: int) -> None:
    try:
        while data := os.read(source, PIECE_BYTES):
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
    except OSError:  # it takes no more; what it says may still be worth reading
        return


def _write_all(sink: int, data: bytes) -> bool:
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(sink, view) :]
    except BrokenPipeError:
        return False
    return True
