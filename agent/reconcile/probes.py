"""Asks a container whether it is well: a command inside it, or HTTP or TCP from its own network.

HTTP and TCP need no tool of the image and no process: a socket is opened in the container's network
namespace. Called by `loop`, which keeps the schedule; what an answer means is in `policy`.
"""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from agent.manifest.spec import Healthcheck
from runtime.errors import SetpointError
from runtime.face import Engine
from runtime.model import ContainerState

MAX_ANSWER_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Answer:
    is_ok: bool
    output: str


async def ask(engine: Engine, state: ContainerState, check: Healthcheck) -> Answer:
    """One probe of a running container. Never raises but for cancellation: what goes wrong is the answer."""
    try:
        async with asyncio.timeout(check.timeout):
            if check.http:
                return await _http(engine, state, check)
            if check.tcp:
                return await _tcp(engine, state, check)
            return await _exec(engine, state, check)
    except TimeoutError:
        return Answer(False, f"no answer within {check.timeout:g} s")
    except OSError as error:
        return Answer(False, os.strerror(error.errno) if error.errno else str(error))
    except (SetpointError, ValueError) as error:
        return Answer(False, str(error))


async def _exec(engine: Engine, state: ContainerState, check: Healthcheck) -> Answer:
    argv = ("/bin/sh", "-c", check.test[1]) if check.test[0] == "CMD-SHELL" else check.test[1:]
    result = await engine.exec(
        state.id, argv, timeout_seconds=check.timeout, max_output_bytes=MAX_ANSWER_BYTES
    )
    output = result.output.decode("utf-8", "replace")
    if result.timed_out:
        return Answer(False, f"no answer within {check.timeout:g} s: {output}")
    return Answer(result.exit_code == 0, output or f"exit code {result.exit_code}")


async def _tcp(engine: Engine, state: ContainerState, check: Healthcheck) -> Answer:
    host, port = _address(check.tcp)
    with await _connect(engine, state, host, port):
        return Answer(True, f"{check.tcp} accepts connections")


async def _http(engine: Engine, state: ContainerState, check: Healthcheck) -> Answer:
    """GET; 200 to 399 is well."""
    url = urlsplit(check.http if "://" in check.http else f"http://{check.http}")
    host, port = _address(url.netloc, default_port=80)
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    loop = asyncio.get_running_loop()
    with await _connect(engine, state, host, port) as connection:
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n"
            "User-Agent: setpoint-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        )
        await loop.sock_sendall(connection, request.encode("ascii", "strict"))
        head = await _status_line(connection)
    words = head.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
        return Answer(False, f"{check.http} does not speak HTTP: {head[:80]!r}")
    return Answer(200 <= int(words[1]) < 400, f"{check.http} answers {' '.join(words[1:])}")


async def _status_line(connection: socket.socket) -> str:
    loop = asyncio.get_running_loop()
    data = b""
    while b"\n" not in data and len(data) < MAX_ANSWER_BYTES:
        piece = await loop.sock_recv(connection, MAX_ANSWER_BYTES)
        if not piece:
            break
        data += piece
    return data.split(b"\n", 1)[0].decode("latin-1").strip()


async def _connect(engine: Engine, state: ContainerState, host: str, port: int) -> socket.socket:
    connection = engine.open_socket(state.sandbox)
    try:
        await asyncio.get_running_loop().sock_connect(connection, (host, port))
    except BaseException:
        connection.close()
        raise
    return connection


def _address(text: str, default_port: int | None = None) -> tuple[str, int]:
    """`:8080`, `127.0.0.1:8080` or `8080`; a name would need the container's resolver, so only
    localhost is one. ValueError when it is none of these."""
    host, _, port = text.rpartition(":")
    if not host and default_port is not None and ":" not in text:
        host, port = text, str(default_port)
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is not host:port")
    return ("127.0.0.1" if host in ("", "localhost") else host, int(port))
