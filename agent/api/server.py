"""Serves the API on the instance's UNIX socket, and /metrics on a TCP address of its own. Called by the
daemon; knows no verb (see `native_routes`).

Whoever may write to the socket is root on this host, as with every container engine: 0660, root and
the group `setpoint` where there is one.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import grp
import logging
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from agent import metrics
from agent.api import errors, guards, native_routes
from agent.api.context import CONTEXT, Context
from agent.api.docker import routes, versions
from agent.api.docker.answers import json_answer, message_of
from agent.api.docker.host_facts import can_checkpoint
from agent.api.listen import Address, plain_names, read_address
from agent.api.own_socket import OwnSocket
from agent.api.sockets.gate import fence
from agent.api.sockets.listeners import Listeners
from agent.api.ways import Runner, Site, Way
from agent.client import PREFIX
from agent.settings import Settings
from runtime.errors import Conflict, Invalid

log = logging.getLogger("setpoint.api")

METRICS_HINT = "another instance's agent? choose one with --metrics HOST:PORT"
LISTEN_HINT = "another instance's agent, or a daemon? choose one with --listen tcp://HOST:PORT"
MAX_LINE_BYTES = 65536  # of the request line, where `docker build` puts all arguments, and of a header
_BEGUN = web.RequestKey("the answer has begun", bool)
SCRAPE_KEPT_SECONDS = 0.5  # two scrapers at once look once


class Servers:
    """The listening sockets of one agent. `await start()`, `await stop()`."""

    def __init__(self, context: Context, listeners: Listeners) -> None:
        self._context = context
        self._listeners = listeners
        self._runners: list[Runner] = []
        self.metrics_address = ""
        self._own_socket = OwnSocket(context.settings.layout.agent_socket, self._serve_again)

    async def start(self) -> None:
        """Listen. Raises Conflict when the metrics address is taken, Invalid for a path too long."""
        settings = self._context.settings
        await self._serve(make_app(self._context), bind(settings), _local(settings))
        self._own_socket.open()
        self._listeners.serve_by(self._runners[0])
        for text in settings.listen:
            await self._listen(read_address(text))
        endpoint = settings.metrics_endpoint()
        if endpoint is not None:
            connection = _listen(*endpoint)
            host, port = connection.getsockname()[:2]
            self.metrics_address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            await self._serve(_metrics_app(self._context), connection, Way("metrics"))

    async def _listen(self, address: Address) -> None:
        """On TCP: for clients with a certificate, unless somebody wants to be root for all."""
        settings = self._context.settings
        names: Callable[[], frozenset[str]]
        if settings.is_plain_tcp_allowed:
            log.warning("%s asks nobody for a certificate: whoever reaches it is root here", address)
            names, tls = functools.partial(plain_names, address), None
        else:
            from agent.api.tls import Certificates  # late: it brings a library that takes 10 MB

            certificates = Certificates(settings.tls_path)
            await asyncio.to_thread(certificates.load)
            names, tls = certificates.names, certificates.context
        connection = _listen(address.host, address.port, LISTEN_HINT)
        port = connection.getsockname()[1]
        way = Way(str(dataclasses.replace(address, port=port)), names)
        await Site(self._runners[0], connection, way, tls).start()
        self._context.addresses += (way.name,)
        log.info("the API is on %s", way.name)

    async def _serve(self, app: web.Application, connection: socket.socket, way: Way) -> None:
        runner = Runner(
            app,
            handler_cancellation=True,  # a client that goes away ends its stream
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
        )
        await runner.setup()
        self._runners.append(runner)
        await Site(runner, connection, way).start()

    async def _serve_again(self) -> None:
        """On a new socket, in the place of one that somebody removed. Who is connected stays so."""
        runner = self._runners[0]
        way = _local(self._context.settings)
        connection = bind(self._context.settings)
        for site in list(runner.sites):
            if isinstance(site, Site) and site.way == way:
                await site.stop()
        await Site(runner, connection, way).start()
        self._context.loop.tell_repaired("socket", "the agent's socket was removed: it listens on a new one")

    async def stop(self) -> None:
        """Close the sockets and what is connected to them."""
        self._own_socket.close()
        await self._listeners.close_all()
        for runner in self._runners:
            await runner.cleanup()
        self._context.execs.close()
        self._context.log_watch.close()
        with contextlib.suppress(FileNotFoundError):
            self._context.settings.layout.agent_socket.unlink()


def make_app(context: Context) -> web.Application:
    """The application behind the UNIX socket."""
    app = web.Application(
        middlewares=[_answer_errors, guards.guard, fence], client_max_size=guards.MAX_BODY_BYTES
    )
    app[CONTEXT] = context
    native_routes.add_routes(app)
    routes.add_routes(app)
    app.on_response_prepare.append(_add_headers)
    return app


def _is_native(request: web.BaseRequest) -> bool:
    return request.path.startswith(PREFIX + "/")


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    request[_BEGUN] = True
    if not _is_native(request):
        response.headers.update(versions.headers(is_experimental=can_checkpoint()))


@web.middleware
async def _answer_errors(request: web.Request, handler: Any) -> web.StreamResponse:
    """Errors become answers here and nowhere else."""
    context = request.app[CONTEXT]
    try:
        if version := request.match_info.get("version"):
            versions.check(version)
        response: web.StreamResponse = await handler(request)
    except web.HTTPException as error:
        response = _refused(request, error)
    except asyncio.CancelledError:
        raise
    except Exception as error:
        if isinstance(error, ConnectionError) and _is_gone(request):
            raise  # aiohttp ends the connection; there is nobody to answer
        if errors.is_bug(error):
            log.exception("a bug in answering %s %s", request.method, request.path)
            context.metrics.on_bug(None, error)
        status = errors.status_of(error)
        if request.get(_BEGUN):  # a second head would be read as its body: the client sees that it broke off
            if request.transport is not None:
                request.transport.close()
            raise ConnectionResetError("the answer had begun") from error
        if _is_native(request):
            response = _refusal(status, errors.to_json(error))
        else:
            response = json_answer({"message": message_of(error)}, status)
    context.metrics.on_request(response.status)
    return response


def _is_gone(request: web.BaseRequest) -> bool:
    """The client has closed, while it was being answered."""
    return request.transport is None or request.transport.is_closing()


def _refused(request: web.Request, error: web.HTTPException) -> web.Response:
    """No such path or method, or a body that is too long: what aiohttp itself says."""
    if _is_native(request):
        answer = _refusal(error.status, {"kind": "Invalid", "reason": error.reason, "subject": request.path})
        if allow := error.headers.get("Allow"):
            answer.headers["Allow"] = allow
        return answer
    return json_answer({"message": "page not found" if error.status == 404 else error.reason}, error.status)


def _refusal(status: int, error: dict[str, Any]) -> web.Response:
    whole = {"kind": "Invalid", "op": "answer", "subject": "", "reason": "", "hint": "", **error}
    return web.json_response({"error": whole}, status=status)


def _local(settings: Settings) -> Way:
    return Way(f"unix://{settings.layout.agent_socket}")


# --- sockets --------------------------------------------------------------------------------------


def bind(settings: Settings) -> socket.socket:
    """The agent's UNIX socket, listening for nobody yet. What lies in its place is a dead agent's: the
    caller holds the instance's lock."""
    path = settings.layout.agent_socket
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        os.fchmod(connection.fileno(), 0o600)  # unix_bind() makes the file with the socket's own mode
        connection.bind(str(path))
        _give_to_group(path, settings.socket_group)
    except OSError as error:
        connection.close()
        hint = "shorter --instance or run directory" if "too long" in str(error) else ""
        raise Invalid("listen on", str(path), error.strerror or str(error), hint) from error
    connection.setblocking(False)
    return connection


def _give_to_group(path: Path, name: str) -> None:
    try:
        group = grp.getgrnam(name).gr_gid if name else 0
    except KeyError:
        group = 0
    os.chown(path, -1, group)
    path.chmod(0o660)


def _listen(host: str, port: int, hint: str = METRICS_HINT) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            connection.setsockopt(
                socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1
            )  # what is said is what is served
        connection.bind((host, port))
    except OSError as error:
        connection.close()
        raise Conflict("listen on", f"{host}:{port}", error.strerror or str(error), hint) from error
    connection.setblocking(False)
    return connection


# --- metrics --------------------------------------------------------------------------------------


def _metrics_app(context: Context) -> web.Application:
    kept: tuple[float, bytes] = (0.0, b"")
    lock = asyncio.Lock()

    async def page(_request: web.Request) -> web.Response:
        nonlocal kept
        async with lock:
            if time.monotonic() - kept[0] > SCRAPE_KEPT_SECONDS:
                body = context.metrics.page(await look(context))
                kept = (time.monotonic(), body)
        return web.Response(body=kept[1], headers={"Content-Type": metrics.CONTENT_TYPE})

    app = web.Application(client_max_size=1024)
    app.router.add_get("/metrics", page)
    return app


async def look(context: Context) -> metrics.Seen:
    """All that a scrape shows and no counter counts."""
    containers, unlisted = await metrics.look_at_containers(context.engine)
    return metrics.Seen(
        statuses=context.loop.statuses(),
        containers=containers,
        unlisted_containers=unlisted,
        source=context.follower.view(),
        is_supervisor_up=bool(getattr(context.engine, "is_supervisor_up", True)),
        queue_depth=int(getattr(context.loop, "queue_depth", 0)),
        last_event_id=context.store.last_event_id,
        disk=disk_seen(context),
        tasks=len(asyncio.all_tasks()),
    )


def disk_seen(context: Context) -> metrics.DiskSeen:
    room, journal = context.room, context.loop.journal
    alarm = room.alarm.reason if room.alarm else ""
    return metrics.DiskSeen(
        room.room(), room.ballast_bytes, alarm, journal.waiting if journal.is_failing else 0,
        journal.dropped_events,
    )  # fmt: skip
