"""Connections that leave HTTP, as the Docker Engine API has it: for attach and exec.

With `Upgrade: tcp` the answer is 101; without, 200 and then bytes all the same, as old clients want it.
"""

from __future__ import annotations

from aiohttp import web

from agent.api.docker import versions
from agent.api.docker.host_facts import can_checkpoint
from agent.api.upgrade import Connection, take_over

RAW = "application/vnd.docker.raw-stream"
MULTIPLEXED = "application/vnd.docker.multiplexed-stream"
HEAD_SECONDS = 2.0  # a client that waits for a processor reads it late
MULTIPLEXED_SINCE = (1, 42)  # before, clients were told that all streams are raw


def version_of(request: web.BaseRequest) -> tuple[int, int]:
    """The version of the API that the path asks for; today's where it names none."""
    match = request.match_info if isinstance(request, web.Request) else {}
    return versions.parsed(match.get("version") or versions.NEWEST)


def stream_type(version: tuple[int, int], *, framed: bool) -> str:
    """The content type of a stream. Pure."""
    return MULTIPLEXED if framed and version >= MULTIPLEXED_SINCE else RAW


async def take_head(connection: Connection) -> None:
    """To be waited for before the first byte of a stream: clients such as docker-py read the answer's head
    with whatever came along, and lose that."""
    await connection.wait_taken(HEAD_SECONDS)


def hijack(request: web.Request, *, framed: bool) -> Connection:
    """Answer, and take the connection. The request's body must have been read."""
    own = versions.headers(is_experimental=can_checkpoint())
    if "Upgrade" not in request.headers:
        return take_over(request, {"Content-Type": RAW, **own}, "200 OK")
    kind = stream_type(version_of(request), framed=framed)
    headers = {"Content-Type": kind, "Connection": "Upgrade", "Upgrade": "tcp", **own}
    return take_over(request, headers, "101 UPGRADED")


def asks(request: web.BaseRequest, name: str) -> bool:
    """A query word that is true, by the rules of Docker's daemon."""
    return request.query.get(name, "").strip().lower() not in ("", "0", "no", "false", "none")
