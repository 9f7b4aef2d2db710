"""The engine's side of the supervisor's socket, for asyncio.

Starts the supervisor when it is not there, reconnects when it died (and then gives back the terminals
it kept for it), and hands out exits in order. Every call may be repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from runtime.errors import Invalid, SetpointError, Temporary
from runtime.layout import Layout
from runtime.roots import Roots
from runtime.supervisor import starter
from runtime.supervisor.protocol import Closed, TooLong, TooMuch, Wire, error_from_json

if TYPE_CHECKING:
    from runtime.supervisor.protocol import Message

log = logging.getLogger(__name__)

Result = tuple[dict[str, Any], list[int]]
HELD_FROM = 1024  # held descriptors get numbers from here on: select(2) in a C library knows none above
RECONNECT_SECONDS = (0.0, 0.05, 0.2, 1.0)  # then the last one, for ever


class Client:
    """One connection. `on_event` is called with every event, in the event loop; {"event": "lost"} and
    {"event": "supervisor"} tell that the supervisor died, and that one is there again: look at everything.
    """

    def __init__(self, layout: Layout, on_event: Callable[[Message], None]) -> None:
        self._layout = layout
        self._on_event = on_event
        self._wire: Wire | None = None
        self._pending: dict[int, asyncio.Future[Result]] = {}
        self._execs: dict[int, asyncio.Future[Message]] = {}
        self._held: dict[str, dict[str, int]] = {}
        self.roots = Roots()
        self._last_id = 0
        self.can_prepare = False
        self._is_closing = False
        self._reconnecting: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()

    # --- connection

    async def open(self) -> None:
        """Connect, starting the supervisor if need be. Temporary if it does not come up."""
        starter.raise_descriptor_limit()
        sock = await asyncio.to_thread(starter.ensure, self._layout)
        await self._use(sock)
        await self._renew()

    async def open_again(self) -> None:
        """As `open`; after a connection that was lost while it was made, the next one. Temporary."""
        reconnecting = self._reconnecting
        if reconnecting is None:
            await self.open()
            return
        try:
            async with asyncio.timeout(starter.START_SECONDS):
                await asyncio.shield(reconnecting)
        except TimeoutError:
            raise Temporary("start", "supervisor", "it does not stay", "see supervisor.err") from None

    async def _use(self, sock: socket.socket) -> None:
        self._wire = Wire(sock)
        self.can_prepare = False
        asyncio.get_running_loop().add_reader(sock.fileno(), self._on_readable)
        await self.call("subscribe")
        self._connected.set()  # it has answered: a connection may still be taken for one that is dying

    async def _renew(self) -> None:
        """Have a supervisor whose program has been upgraded become the new one, with all its children. One
        that cannot tell is older than this."""
        is_older = not os.environ.get(starter.IS_A_SERVICE)  # one of a service forgot its watchdog then
        told = await self.call("ping")
        if told.get("is_outdated", is_older):
            log.info("the supervisor becomes the program that is on the disk now")
            await self.call("reexec")
            told = await self.call("ping")
        self.can_prepare = bool(told.get("can_prepare"))

    async def close(self) -> None:
        """Leave the supervisor and the containers running."""
        self._is_closing = True
        if self._reconnecting is not None:
            self._reconnecting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reconnecting
        self._disconnect()
        for name in list(self._held):
            self._let_go(name)
        self.roots.close()

    def _disconnect(self) -> None:
        """Every open request fails as Temporary; the supervisor may or may not have done it."""
        self._connected.clear()
        wire, self._wire = self._wire, None
        if wire is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(wire.sock.fileno())
        loop.remove_writer(wire.sock.fileno())
        wire.close()
        pending, self._pending = self._pending, {}
        execs, self._execs = self._execs, {}
        futures: list[asyncio.Future[Any]] = [*pending.values(), *execs.values()]
        for future in futures:
            if not future.done():
                future.set_exception(Temporary("ask", "supervisor", "it went away", "it is started again"))
                future.exception()  # nobody may be waiting: that is no one's error

    def _on_lost(self) -> None:
        self._disconnect()
        if self._is_closing:
            return
        self._on_event({"event": "lost"})
        if self._reconnecting is None or self._reconnecting.done():
            self._reconnecting = asyncio.get_running_loop().create_task(self._reconnect())

    async def _reconnect(self) -> None:
        attempt = 0
        while not self._connected.is_set():
            await asyncio.sleep(RECONNECT_SECONDS[min(attempt, len(RECONNECT_SECONDS) - 1)])
            attempt += 1
            with contextlib.suppress(SetpointError, OSError):
                await self.open()
                await self._give_back()
        self._on_event({"event": "supervisor"})

    async def _give_back(self) -> None:
        """The terminals of containers that the new supervisor adopted without."""
        for name, held in list(self._held.items()):
            if "console" in held:
                with contextlib.suppress(SetpointError):
                    await self.call("give_console", name=name, fds=(held["console"],))

    # --- requests

    async def wait_up(self, seconds: float) -> None:
        """Until a supervisor is there, for at most so long: one that died is followed by the next within a
        moment. What is asked afterwards tells when none came."""
        if self._connected.is_set():
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._connected.wait()

    async def call(self, op: str, *, fds: tuple[int, ...] = (), **fields: Any) -> Message:
        """One request, for its result; descriptors that come with it are closed. Raises what the
        supervisor answers, and Temporary when it is not there."""
        result, received = await self.call_fds(op, fds=fds, **fields)
        for fd in received:
            os.close(fd)
        return result

    async def call_fds(self, op: str, *, fds: tuple[int, ...] = (), **fields: Any) -> Result:
        """As `call`, with the descriptors of the answer, which are now the caller's."""
        return await self.send(op, fds=fds, **fields)

    def send(self, op: str, *, fds: tuple[int, ...] = (), **fields: Any) -> asyncio.Future[Result]:
        """Send now, and answer later: what is sent in one turn of the loop arrives in that order. Invalid for
        what is too long to be sent, Temporary while too much waits to be: no other request suffers by it."""
        wire = self._wire
        if wire is None:
            raise Temporary(op, "supervisor", "it is being started again", retry_after_seconds=0.2)
        self._last_id += 1
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._pending[self._last_id] = future
        try:
            if not wire.send({"id": self._last_id, "op": op, **fields}, fds):
                loop.add_writer(wire.sock.fileno(), self._on_writable)
        except TooLong as error:
            del self._pending[self._last_id]
            raise Invalid(op, "supervisor", str(error), "shorten its arguments and environment") from None
        except TooMuch:
            del self._pending[self._last_id]
            raise Temporary(op, "supervisor", "too much waits for it", "ask again", 0.2) from None
        except Closed:
            self._on_lost()
        return future

    def _on_writable(self) -> None:
        wire = self._wire
        if wire is None:
            return
        try:
            if wire.flush():
                asyncio.get_running_loop().remove_writer(wire.sock.fileno())
        except Closed:
            self._on_lost()

    def _on_readable(self) -> None:
        wire = self._wire
        if wire is None:
            return
        try:
            messages = wire.receive()
        except Closed:
            self._on_lost()
            return
        for message, fds in messages:
            self._on_message(message, fds)

    def _on_message(self, message: Message, fds: list[int]) -> None:
        future = self._pending.pop(message.get("id", 0), None) if "id" in message else None
        if future is not None and not future.cancelled():
            if "error" in message and not fds:
                future.set_exception(error_from_json(message["error"]))
            else:
                result = message.get("result", message)
                if "exec" in result:
                    result["exit"] = self._exit_of(result["exec"])
                future.set_result((result, fds))
                return
        for fd in fds:
            os.close(fd)
        if "event" in message:
            self._on_supervisor_event(message)

    def _on_supervisor_event(self, message: Message) -> None:
        if message["event"] == "exec_exit":
            future = self._execs.pop(message["exec"], None)
            if future is not None and not future.done():
                future.set_result(message)
            return
        if message["event"] == "exit":
            self._let_go(message["name"])
        if message["event"] == "stdin_closed":
            self._let_go_stdin(message["name"])
            return
        self._on_event(message)

    # --- descriptors kept for the supervisor

    async def start(self, name: str, bundle: str, **fields: Any) -> Message:
        """Start a container; keep copies of its descriptors, so that a killed supervisor loses nothing."""
        return await self.started(
            name, self.send("start", name=name, bundle=bundle, hold=True, root=True, **fields)
        )

    def prepare(self, name: str, bundle: str, **fields: Any) -> asyncio.Future[Result]:
        """As `start`, but for the process, which `go` begins; after `drop` there is none. Either is followed
        by `started`, with this. Temporary. Only where the supervisor `can_prepare`."""
        return self.send("prepare", name=name, bundle=bundle, hold=True, root=True, **fields)

    def go(self, name: str) -> None:
        self._tell("go", name)

    def drop(self, name: str) -> None:
        self._tell("drop", name)

    def _tell(self, op: str, name: str) -> None:
        """What has no answer of its own. Whom it cannot be told loses the connection, and with it what was
        prepared."""
        wire = self._wire
        if wire is None:
            return
        try:
            if not wire.send({"op": op, "name": name}):
                asyncio.get_running_loop().add_writer(wire.sock.fileno(), self._on_writable)
        except Closed:
            self._on_lost()

    async def started(self, name: str, answer: asyncio.Future[Result]) -> Message:
        """What came of `prepare`, or of a start."""
        result, fds = await answer
        if "error" in result or "root" in result["held"]:
            self.roots.keep(name, _move_up(fds.pop()))
        if "error" in result:  # it was mounted, for a program that is not there
            self.roots.let_go(name)
            raise error_from_json(result["error"])
        self._keep(name, result, fds)
        return result

    async def hold(self, name: str) -> None:
        """Keep copies for a container that another client started."""
        result, fds = await self.call_fds("hold", name=name)
        self._keep(name, result, fds)

    def _keep(self, name: str, result: Message, fds: list[int]) -> None:
        self._let_go(name)
        kinds = [kind for kind in result["held"] if kind != "root"]
        self._held[name] = dict(zip(kinds, map(_move_up, fds), strict=True))

    def _let_go(self, name: str) -> None:
        for fd in self._held.pop(name, {}).values():
            os.close(fd)

    def _let_go_stdin(self, name: str) -> None:
        """A kept writing end would keep the container from seeing the end of its stdin."""
        fd = self._held.get(name, {}).pop("stdin", None)
        if fd is not None:
            os.close(fd)

    # --- execs

    def _exit_of(self, number: int) -> asyncio.Future[Message]:
        """The end of an exec that this client started, {exit_code, timed_out}; Temporary when the supervisor
        goes away. It may follow in the same read as the answer, and so is part of that."""
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._execs[number] = future
        return future


def _move_up(fd: int) -> int:
    """The same descriptor under a high number. libnftables waits with select(2), and aborts the process
    when its socket got a number of 1024 or more because the low ones were taken."""
    try:
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, HELD_FROM)
    except OSError:
        return fd
    os.close(fd)
    return high
