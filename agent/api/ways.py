"""The ways in: which listening socket a connection came by, and how many connections there may be.

Each connection bears its `Way`, which the guards and the scope of a socket are read from: nothing that the
client says decides about that. Idle connections are bounded: the longest idle one makes room, so that
somebody who holds ten thousand open keeps nobody out. Called by `server`.

aiohttp closes a connection whose request has not begun, or whose head is not whole, after KEEPALIVE_SECONDS.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import select
import ssl
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from agent.api import early_reader
from agent.api.early_reader import EarlyReader
from agent.api.lent_body import is_for_others
from agent.api.parting import forget_place, let_go
from agent.api.tls_connection import TlsConnection
from agent.api.trimming import Trimming
from agent.first_step import Waits, first_step
from runtime.errors import SetpointError

if TYPE_CHECKING:
    import socket

    from aiohttp import StreamReader

    from agent.api.sockets.scope import Scope

MAX_IDLE = 512  # connections that ask nothing
GRACE_SECONDS = 1.0  # in which one that just came, or was answered, may ask before it counts as idle
MAX_CONNECTIONS = 16384
MAX_SCOPED = 512  # of one scoped socket, whose clients are not root: they must not use up the others'
SPARE_DESCRIPTORS = 1024  # of the process, for all that is no client
MAX_HEAD_BYTES = 256 * 1024  # of a request line and all headers; a line is bounded by the parser
MAX_HANDSHAKES = 128  # TLS connections that have not said who they are
HANDSHAKE_SECONDS = 10
KEEPALIVE_SECONDS = 30.0
BODY_SOON_SECONDS = 0.1  # that a small body is waited for before a task is made of its request
LINGERING_SECONDS = 2.0  # for the rest of a body that was refused: its sender is to read why
BACKLOG = 1024
HELD_BYTES = 1 << 14  # of what a client does not read: asyncio adds up all pieces with each that comes
MAX_EARLY_BYTES = 1 << 16  # that a client may say before it is told that it has left HTTP; then it waits
_END_OF_HEAD = b"\r\n\r\n"
LOG = "setpoint.api.http"
# The answer, or what is left to be done for it; None for what aiohttp is to answer.
Answer = Callable[[web.Request], web.StreamResponse | Coroutine[Any, Any, web.StreamResponse] | None]


@dataclass(frozen=True, slots=True)
class Way:
    """A listening socket. name: for logs. hosts: gives the names that a Host header may have; None where no
    browser comes (a UNIX socket). scope: what may be asked for here; None for all."""

    name: str
    hosts: Callable[[], frozenset[str]] | None = None
    scope: Scope | None = None


class Inbound(RequestHandler):
    """One connection of a client, until it is upgraded."""

    __slots__ = (
        "_body", "_body_left", "_busy", "_early", "_hangup", "_has_said_all", "_head_bytes", "_held",
        "_is_answered", "_kept", "_last", "_patience", "_reader", "is_lent", "way",
    )  # fmt: skip

    def __init__(self, door: Door, way: Way, **options: Any) -> None:
        super().__init__(door, **options, tcp_keepalive=way.hosts is not None)
        self.way = way
        self._reader: EarlyReader | None = None
        self._busy: asyncio.Task[None] | None = None  # with a request that was begun where it was read
        self._held = bytearray()  # what came meanwhile
        self._patience: asyncio.TimerHandle | None = None
        if door.at_once is not None:
            self._reader = EarlyReader(self._parser, self._answer)
            self._parser = self._reader  # type: ignore[assignment]
        self._is_answered = False  # what was read last
        self._head_bytes = 0
        self._hangup: Hangup | None = None
        self._has_said_all = False
        self._last = b""  # of a head that is not whole
        self._body: StreamReader | None = None  # of the request that came last
        # Of a request that asks to leave HTTP: what of its body is still to come, then what comes after it.
        self._body_left: int | None = None
        self._early = bytearray()
        # Of a request whose body is for somebody else to read: what came of it.
        self._kept: bytes | None = None
        self.is_lent = False

    @property
    def is_waiting(self) -> bool:
        """For a request, or for the rest of its head."""
        is_waiting = self._waiter is not None and not self._waiter.done() and not self._messages
        return is_waiting and self._busy is None and not self._has_head

    @property
    def _has_head(self) -> bool:
        """Of a request whose body is waited for, before aiohttp hears of it."""
        return self._reader is not None and self._reader.waits is not None

    def begin(self) -> None:
        """Its request is being answered."""
        if isinstance(self._manager, Door):
            self._manager.begin(self)

    def end(self) -> None:
        if isinstance(self._manager, Door):
            self._manager.end(self)

    def data_received(self, data: bytes) -> None:
        if self.is_lent:
            return  # the rest of a body that was refused
        if self._busy is not None:
            self._hold(data)
            return
        if self._body_left is None and self.is_waiting:
            data = self._take_head(data)
            if data and self._busy is not None:  # what it asked for was begun, and what follows waits for it
                self._hold(data)
                return
        if data and self._has_head:
            data = self._take_body(data)
        if not data:
            return
        if self._body_left is None:
            self._feed(data)
            return
        body, early = data[: self._body_left], data[self._body_left :]
        self._body_left -= len(body)
        if body:
            super().data_received(body)
        self._early += early
        if len(self._early) > MAX_EARLY_BYTES and self.transport is not None:
            self.transport.pause_reading()

    def _take_head(self, data: bytes) -> bytes:
        """Have a head parsed up to its end and no further; what follows it. aiohttp's parser throws away what
        comes after a request that upgrades to anything but a websocket."""
        found = (self._last + data).find(_END_OF_HEAD)
        if found < 0:
            self._last = (self._last + data)[1 - len(_END_OF_HEAD) :]
            return data
        end = found - len(self._last) + len(_END_OF_HEAD)
        self._last, rest = b"", data[end:]
        if rest and self._reader is not None and len(rest) <= early_reader.MAX_BODY_BYTES:
            self._reader.body = rest
        self._feed(data[:end])
        if rest and self._reader is not None and len(rest) <= early_reader.MAX_BODY_BYTES:
            rest, self._reader.body = self._reader.body, b""
        if self._messages:
            self._body_left = _body_before_leaving(*self._messages[-1])
            if self._body_left is None and is_for_others(*self._messages[-1], self.transport):
                assert self.transport is not None
                self.transport.pause_reading()
                self._kept = rest
                return b""
        return rest

    def _take_body(self, data: bytes) -> bytes:
        """Of a request that waits for it; what follows it, where that is to be told apart."""
        self._feed(data)
        if self._reader is None:
            return b""
        rest, self._reader.body = self._reader.body, b""
        if self._messages:
            self._body_left = _body_before_leaving(*self._messages[-1])
        return rest

    def _feed(self, data: bytes) -> None:
        """To the parser, with a bound on a head that does not end."""
        is_head, self._is_answered = self.is_waiting, False
        super().data_received(data)
        if self._messages:
            message, self._body = self._messages[-1]
            forget_place(getattr(message, "exc", None))  # of what is no HTTP
        if self._has_head and self._patience is None:
            self._patience = self._loop.call_later(BODY_SOON_SECONDS, self._hand_over)
        if not is_head or not self.is_waiting or self._is_answered:
            self._head_bytes = 0
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES and self.transport is not None:
            self.transport.write(b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\n\r\n")
            self.force_close()

    def _hand_over(self) -> None:
        """To aiohttp, which has more patience: a body that did not come at once."""
        self._patience = None
        if self._reader is None or self._reader.waits is None or self._waiter is None:
            return
        self._messages.append(self._reader.waits)
        self._reader.waits = None
        self._body = self._messages[-1][1]
        self._body_left = _body_before_leaving(*self._messages[-1])
        if not self._waiter.done():
            self._waiter.set_result(None)

    def _answer(self, message: Any, payload: Any) -> bool:
        """Whether a request that was just read is answered: one that the connection waits for, of a client
        that has taken what it was told before."""
        door, transport = self._manager, self.transport
        if not isinstance(door, Door) or door.at_once is None or transport is None:
            return False
        if not self.is_waiting or self._close or self._force_close or transport.get_write_buffer_size():
            return False
        request = self._request_factory(message, payload, self, None, self._task_handler)  # type: ignore[misc, arg-type]
        if message.upgrade:
            self._hold_early()
        response = door.at_once(request)  # type: ignore[arg-type]
        if self._held and (response is None or isinstance(response, web.StreamResponse)):
            self._give_back_early()
        if response is None:
            return False
        self._is_answered = True
        self.begin()
        if isinstance(response, web.StreamResponse):
            self._say(message.method, response)
        else:
            self._request_in_progress = True
            self._busy = self._loop.create_task(self._finish(message.method, response))
        return True

    async def _finish(self, method: str, answer: Coroutine[Any, Any, web.StreamResponse]) -> None:
        """Of a request that was begun where it was read. What the client says meanwhile is read afterwards;
        one that goes away ends it."""
        try:
            response = await answer
        except ConnectionError:  # there is nobody to answer
            return
        transport = self.transport
        self._busy = None
        self._request_in_progress = False
        if self._handler_waiter is not None:  # the server ends
            self._handler_waiter.set_result(None)
        if transport is None or transport.is_closing():
            return
        self._say(method, response)
        if self._close:
            transport.close()
        if self._held:
            held, self._held = bytes(self._held), bytearray()
            transport.resume_reading()
            self.data_received(held)

    def _say(self, method: str, response: web.StreamResponse) -> None:
        """Nothing where an answer was sent in pieces, and on a connection that its handler took over and is
        done with."""
        assert self.transport is not None
        if isinstance(response, web.Response):
            self.transport.write(early_reader.written(response, method))
        elif not response.prepared:
            self.transport.close()
            return
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        self.end()

    def _hold_early(self) -> None:
        """What came with a request that asks to leave HTTP is for who takes the connection over."""
        assert self._reader is not None
        self._held += self._reader.body
        self._reader.body = b""

    def _give_back_early(self) -> None:
        """Nobody did: it goes the way of all that follows a request."""
        assert self._reader is not None
        self._reader.body, self._held = bytes(self._held), bytearray()

    def _hold(self, data: bytes) -> None:
        self._held += data
        if len(self._held) > MAX_EARLY_BYTES and self.transport is not None:
            self.transport.pause_reading()

    def _process_keepalive(self) -> None:
        if self._busy is not None:
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        super()._process_keepalive()

    def leave(self) -> tuple[bytes, bool]:
        """What the client said after a request that asked to leave HTTP, and whether that was all: it need
        not wait for the answer. To be called once another protocol has the transport, as reading goes on."""
        early, self._body_left = bytes(self._early + self._held), None
        self._early, self._held = bytearray(), bytearray()
        if len(early) > MAX_EARLY_BYTES and self.transport is not None:
            self.transport.resume_reading()
        return early, self._has_said_all

    def lend(self) -> bytes | None:
        """What came of a body that is for somebody else to read, from the connection itself: from here on
        that is not read here, and ends with the answer. None for a body that has to be read here."""
        kept, self._kept = self._kept, None
        self.is_lent = kept is not None
        return kept

    async def _handle_request(self, *arguments: Any) -> tuple[web.StreamResponse, bool]:
        """That there is nobody to answer is told, not raised: aiohttp's frame would hold the task, which has
        the error, which holds the frame, and with them the connection, until the collector comes."""
        try:
            return await super()._handle_request(*arguments)
        except ConnectionError:
            return web.StreamResponse(), True

    async def finish_response(self, *arguments: Any) -> tuple[web.StreamResponse, bool]:
        """One that asked to leave and was refused goes on in HTTP, and so does a body that nobody read."""
        if self.transport is not None and (self.is_lent or self._kept is not None):
            self.transport.resume_reading()
        if self.is_lent:
            arguments[1].force_close()
        if self._kept is not None:
            kept, self._kept = self._kept, None
            self.data_received(kept)
        if self._body_left is not None:
            early, _ = self.leave()
            if early:
                self.data_received(early)
        return await super().finish_response(*arguments)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """A client that has said all (`docker system dial-stdio` shuts its half) still gets its answer, where
        that can be told from one that is gone: on a UNIX socket, and in TLS."""
        transport = self.transport
        if transport is None or self.is_waiting or self._has_head or not self._is_whole():
            return None
        if transport.get_extra_info("sslcontext") is None:
            if self.way.hosts is not None:
                return None
            hangup = Hangup(transport)
            if hangup.is_over:
                hangup.close()
                return None
            self._hangup = hangup
        self._has_said_all = True
        self.close()  # after the answer
        return True

    def _is_whole(self) -> bool:
        """All of the request's body has come. aiohttp knows the request itself only when its task has begun,
        which may be after its end has come."""
        return self._body is None or self._body.is_eof()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._hangup is not None:
            self._hangup.close()
            self._hangup = None
        if self._busy is not None:  # once it has begun: what it waits for is to hear of it
            self._loop.call_soon(self._busy.cancel)
            self._busy = None
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        self._reader = self._body = None
        forget_place(exc)
        let_go(self.transport)
        super().connection_lost(exc)


class Hangup:
    """Ends a transport when the other end of its UNIX socket is shut both ways. asyncio stops to look once
    one half is; a poll for no event still tells of EPOLLHUP (epoll_ctl(2), unix_poll()). The epoll is itself
    polled, since asyncio lends nobody its transport's descriptor."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._epoll = select.epoll()
        self._epoll.register(transport.get_extra_info("socket").fileno(), 0)
        asyncio.get_running_loop().add_reader(self._epoll.fileno(), transport.abort)

    @property
    def is_over(self) -> bool:
        return bool(self._epoll.poll(0))

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._epoll.fileno())
        self._epoll.close()


class Door(web.Server):
    """Makes and counts the connections of one application. at_once: the answer to what needs no wait. free:
    see `Trimming`."""

    def __init__(
        self,
        *arguments: Any,
        at_once: Answer | None = None,
        free: Callable[[], None] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.at_once = at_once
        self._idle: dict[RequestHandler, float] = {}  # since when; the longest idle one first
        self._handshakes: dict[Inbound, float] = {}
        self._scoped: Counter[str] = Counter()
        self._most = _most_connections()
        self._trimming = Trimming(free)

    def knock(self, way: Way, *, is_tls: bool) -> Inbound:
        """A protocol for a connection that was accepted just now. Refuses, by an error that asyncio takes for
        the connection's own, when too many do not finish saying who they are."""
        connection = Inbound(self, way, loop=self._loop, **self._kwargs)
        if is_tls:
            self._forget_handshakes()
            if len(self._handshakes) >= MAX_HANDSHAKES:
                raise ConnectionRefusedError("too many TLS handshakes under way")
            self._handshakes[connection] = time.monotonic()
        return connection

    def _forget_handshakes(self) -> None:
        """Those that failed tell nobody; asyncio ends them after HANDSHAKE_SECONDS."""
        before = time.monotonic() - HANDSHAKE_SECONDS
        while self._handshakes:
            first, begun = next(iter(self._handshakes.items()))
            if begun > before:
                return
            del self._handshakes[first]

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        transport.set_write_buffer_limits(high=HELD_BYTES)
        if isinstance(handler, Inbound):
            self._handshakes.pop(handler, None)
            if handler.way.scope is not None:
                self._scoped[handler.way.name] += 1
                if self._scoped[handler.way.name] > MAX_SCOPED:
                    transport.abort()
                    return
        self._idle[handler] = time.monotonic()
        while len(self._idle) > MAX_IDLE and self._close_longest_idle(GRACE_SECONDS):
            pass
        if len(self._connections) > self._most and not self._close_longest_idle(0.0):
            transport.abort()

    def _close_longest_idle(self, seconds: float) -> bool:
        """One that has begun no request for so long; False when there is none."""
        before = time.monotonic() - seconds
        for handler, since in self._idle.items():
            if since > before:
                return False
            if not isinstance(handler, Inbound) or handler.is_waiting or handler.transport is None:
                self._close(handler)
                return True
        return False

    def _close(self, handler: RequestHandler) -> None:
        transport = handler.transport
        del self._idle[handler]
        self._connections.pop(handler, None)
        handler.force_close()
        if transport is not None:
            transport.abort()  # to close it would wait for what it does not read

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        self._idle.pop(handler, None)
        self._trimming.note_end()
        if isinstance(handler, Inbound) and handler.way.scope is not None:
            self._scoped[handler.way.name] -= 1
        super().connection_lost(handler, exc)

    def cut(self, handler: RequestHandler) -> None:
        """End a connection at once, whatever it has become."""
        transport = self._connections.get(handler)
        if transport is not None:
            transport.abort()

    def begin(self, handler: RequestHandler) -> None:
        """It asks for something."""
        self._idle.pop(handler, None)

    def end(self, handler: RequestHandler) -> None:
        """Answered; it is the one that was idle last."""
        if handler in self._connections and handler.transport is not None:
            self._idle[handler] = time.monotonic()


class Runner(web.AppRunner):
    """An application behind a door."""

    __slots__ = ("_at_once", "_free")

    def __init__(
        self,
        app: web.Application,
        at_once: Answer | None = None,
        free: Callable[[], None] | None = None,
        **options: Any,
    ) -> None:
        logger = logging.getLogger(LOG)
        if not logger.filters:
            logger.addFilter(_is_ours)
        super().__init__(
            app,
            access_log=None,
            logger=logger,
            keepalive_timeout=KEEPALIVE_SECONDS,
            shutdown_timeout=1.0,
            lingering_time=LINGERING_SECONDS,
            auto_decompress=False,  # what is checked is what was sent
            **options,
        )
        self._at_once, self._free = at_once, free

    async def _make_server(self) -> Door:
        plain = await super()._make_server()
        return Door(
            plain.request_handler,
            request_factory=plain.request_factory,
            handler_cancellation=plain.handler_cancellation,
            at_once=self._at_once,
            free=self._free,
            loop=asyncio.get_running_loop(),
            **plain._kwargs,
        )


class Site(web.SockSite):
    """A listening socket whose connections bear a way."""

    __slots__ = ("way",)

    def __init__(
        self, runner: Runner, sock: socket.socket, way: Way, tls: ssl.SSLContext | None = None
    ) -> None:
        # One is accepted in a turn: asyncio goes on where the process has no descriptor left, makes a timer
        # of each failure, and each of them begins anew a second later. By a thousand they were millions.
        super().__init__(runner, sock, ssl_context=tls, backlog=1)
        self.way = way

    async def start(self) -> None:
        await web.BaseSite.start(self)
        door, tls = self._runner.server, self._ssl_context
        assert isinstance(door, Door)

        def accept() -> asyncio.BaseProtocol:
            connection = door.knock(self.way, is_tls=tls is not None)
            return connection if tls is None else TlsConnection(connection, tls, HANDSHAKE_SECONDS)

        self._server = await asyncio.get_running_loop().create_server(
            accept, sock=self._sock, backlog=self._backlog, start_serving=False
        )
        serving = first_step(self._server.start_serving())
        self._sock.listen(BACKLOG)  # before anybody is refused
        if isinstance(serving, Waits):
            await serving.goes_on()


def _body_before_leaving(message: Any, payload: Any) -> int | None:
    """How long the body is of a request that asks to leave HTTP; None for one that does not, for a websocket,
    which aiohttp does itself, for a body in chunks, and for what is no request."""
    if not getattr(message, "upgrade", False) or message.chunked:
        return None
    if early_reader.is_websocket(message):
        return None
    return 0 if payload.is_eof() else early_reader.body_length(message) - payload.total_bytes


def way_of(request: web.BaseRequest) -> Way:
    """The way that a request came. One that no site of ours took is a bug."""
    connection = request.protocol
    assert isinstance(connection, Inbound)
    return connection.way


def scope_of(request: web.BaseRequest) -> Scope | None:
    """What may be asked for on the way that a request came; None for everything."""
    return way_of(request).scope


def is_seen(request: web.BaseRequest, labels: Mapping[str, str]) -> bool:
    """Whether what has these labels of its own is there, on the way that a request came. Those that its image
    brings along count for nothing: whoever made the image wrote them."""
    scope = scope_of(request)
    return scope is None or scope.has(labels)


def _most_connections() -> int:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(64, min(MAX_CONNECTIONS, soft - SPARE_DESCRIPTORS))


def _is_ours(record: logging.LogRecord) -> bool:
    """What a client sends that is no HTTP is no error of ours: a traceback each would fill the log with what
    strangers write."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(
        error, HttpProcessingError | web.RequestPayloadError | ConnectionError | SetpointError
    )
