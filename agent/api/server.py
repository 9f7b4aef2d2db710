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

from aiohttp import web

from agent import metrics
from agent.api import guards, native_routes
from agent.api.answering import AtOnce, add_headers, answer_errors
from agent.api.context import CONTEXT, Context
from agent.api.docker import routes
from agent.api.docker.router import Router
from agent.api.listen import Address, plain_names, read_address
from agent.api.own_socket import OwnSocket
from agent.api.sockets.gate import fence
from agent.api.sockets.listeners import Listeners
from agent.api.ways import BACKLOG, Runner, Site, Way
from agent.settings import Settings
from runtime.errors import Conflict, Invalid

log = logging.getLogger("setpoint.api")

METRICS_HINT = "another instance's agent? choose one with --metrics HOST:PORT"
LISTEN_HINT = "another instance's agent, or a daemon? choose one with --listen tcp://HOST:PORT"
MAX_LINE_BYTES = 65536  # of the request line, where `docker build` puts all arguments, and of a header
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
        app = make_app(self._context)
        await self._serve(app, bind(settings), _local(settings), AtOnce(app))
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

    async def _serve(
        self, app: web.Application, connection: socket.socket, way: Way, at_once: AtOnce | None = None
    ) -> None:
        runner = Runner(
            app,
            at_once,
            self._context.store.free_cache,
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
        for waiting in self._context.alone.values():
            waiting.cancel()
        self._context.execs.close()
        self._context.log_watch.close()
        with contextlib.suppress(FileNotFoundError):
            self._context.settings.layout.agent_socket.unlink()


def make_app(context: Context) -> web.Application:
    """The application behind the UNIX socket."""
    app = web.Application(
        middlewares=[answer_errors, guards.guard, fence], client_max_size=guards.MAX_BODY_BYTES
    )
    app._router = Router()  # aiohttp has no other way left to choose one
    app[CONTEXT] = context
    native_routes.add_routes(app)
    routes.add_routes(app)
    app.on_response_prepare.append(add_headers)
    return app


def _local(settings: Settings) -> Way:
    return Way(f"unix://{settings.layout.agent_socket}")


# --- sockets --------------------------------------------------------------------------------------


def bind(settings: Settings) -> socket.socket:
    """The agent's UNIX socket: who comes before it is served waits. What lies in its place is a dead agent's:
    the caller holds the instance's lock."""
    path = settings.layout.agent_socket
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        os.fchmod(connection.fileno(), 0o600)  # unix_bind() makes the file with the socket's own mode
        connection.bind(str(path))
        connection.listen(BACKLOG)
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
