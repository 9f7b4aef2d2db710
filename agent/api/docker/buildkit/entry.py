"""The two requests that become HTTP/2: /grpc, where the client asks, and /session, where it answers."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from aiohttp import web

from agent.api import errors
from agent.api.context import Context
from agent.api.docker.buildkit import grpc as rpc
from agent.api.docker.buildkit.control import Control
from agent.api.docker.buildkit.grpc import INTERNAL, UNKNOWN, GrpcError
from agent.api.docker.buildkit.http2 import Http2, Stream
from agent.api.docker.buildkit.jobs import Jobs
from agent.api.docker.buildkit.sessions import Sessions
from agent.api.requests import context_of, is_root
from agent.api.upgrade import Connection, Upgraded, take_over
from runtime.errors import Invalid, SetpointError

log = logging.getLogger("setpoint.api")
_PROTOCOL = "h2c"


@dataclass(frozen=True, slots=True)
class BuildKit:
    """What all connections of one agent share."""

    sessions: Sessions
    jobs: Jobs


def _shared(context: Context) -> BuildKit:
    if context.buildkit is None:
        context.buildkit = BuildKit(Sessions(), Jobs())
    found = context.buildkit
    assert isinstance(found, BuildKit)
    return found


def _take_over(request: web.Request) -> Connection:
    if request.headers.get("Upgrade", "").lower() != _PROTOCOL:
        raise Invalid("", "", f"protocol {request.headers.get('Upgrade', '')[:40]} not supported")
    return take_over(request, {"Connection": "Upgrade", "Upgrade": _PROTOCOL})


async def grpc(request: web.Request) -> web.StreamResponse:
    context = context_of(request)
    shared = _shared(context)
    control = Control(context, shared.sessions, shared.jobs, is_trusted=is_root(request))
    methods = control.methods()

    def status_of(error: Exception) -> GrpcError:
        """Messages of errors without a code are shown as they are."""
        if isinstance(error, SetpointError):
            return GrpcError(UNKNOWN, str(error))
        if errors.is_bug(error):
            log.error("a bug in answering BuildKit's client", exc_info=error)
            context.metrics.on_bug(None, error)
        return GrpcError(INTERNAL, f"a bug in the agent: {type(error).__name__}; its log has more")

    async def on_stream(stream: Stream) -> None:
        await rpc.serve(stream, methods, status_of)

    connection = _take_over(request)
    await _run(context, connection, Http2(connection, is_client=False, on_stream=on_stream))
    return Upgraded()


async def session(request: web.Request) -> web.StreamResponse:
    context = context_of(request)
    sessions = _shared(context).sessions
    methods = request.headers.getall("X-Docker-Expose-Session-Grpc-Method", [])
    id = sessions.check(request.headers)
    connection = _take_over(request)
    http2 = Http2(connection, is_client=True)
    found = sessions.add(id, methods, http2)
    try:
        await _run(context, connection, http2)
    finally:
        sessions.remove(found)
    return Upgraded()


async def _run(context: Context, connection: Connection, http2: Http2) -> None:
    """Until the client is gone, or the agent ends."""
    work = asyncio.ensure_future(http2.run())
    context.streams.add(work)
    work.add_done_callback(context.streams.discard)
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        raise
    finally:
        connection.close()
