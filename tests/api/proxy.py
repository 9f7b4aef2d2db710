"""A UNIX socket before the agent's: passes all bytes on at once, and looks at what goes by. Each JSON answer
is checked against the definition; what is wrong is in `faults`, which a fixture fails the test with.

Runs in a thread with an event loop of its own, so that clients of any kind may block.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import json
import select
import termios
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from tests.api import schema
from tests.api.wire import Head, Messages

PIECE = 256 * 1024
MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_FAULTS = 50
HEAD_SECONDS = 2.0


class Look:
    """One connection: requests in order, and the answer to each."""

    def __init__(self, faults: list[str]) -> None:
        self._faults = faults
        self._asked: deque[tuple[str, str]] = deque()
        self._now: tuple[str, str, int, str] | None = None
        self._body = bytearray()
        self.requests = Messages(self._on_request)
        self.answers = Messages(self._on_answer, self._on_body, self._on_end)

    def _on_request(self, head: Head) -> str:
        self._asked.append((head.words[0], head.words[1]))
        return "length"

    def _on_answer(self, head: Head) -> str:
        if head.status == 101:
            self.requests.stop()
            return "raw"
        if head.status < 200:
            return "none"
        if not self._asked:
            self._note("an answer that nobody asked for")
            return "raw"
        method, path = self._asked.popleft()
        self._now = (method, path, head.status, head.headers.get("content-type", ""))
        self._body.clear()
        if method == "HEAD" or head.status in (204, 304):
            return "none"
        if "content-length" in head.headers or "transfer-encoding" in head.headers:
            return "length"
        self.requests.stop()  # the connection is this answer's, in both directions
        return "end"

    def _on_body(self, data: bytes) -> None:
        if self._now is None or "json" not in self._now[3]:
            return
        self._body += data
        method, path, status, _ = self._now
        if status < 400 and schema.is_lines(method, path):
            *lines, rest = bytes(self._body).split(b"\n")
            self._body = bytearray(rest)
            for line in filter(bytes.strip, lines):
                self._check(line.lstrip(b"\x1e"))
        if len(self._body) > MAX_BODY_BYTES:
            self._now = None

    def _on_end(self) -> None:
        if self._now is not None and self._now[0] != "HEAD":
            if self._body.strip():
                self._check(bytes(self._body))
            elif self._now[2] >= 400 and self._now[2] != 404:
                self._note("an error without a message")
        self._now = None

    def _check(self, body: bytes) -> None:
        assert self._now is not None
        method, path, status, content = self._now
        try:
            data = json.loads(body)
        except ValueError as error:
            self._note(f"not JSON: {error}: {body[:200]!r}")
            return
        for fault in schema.faults(method, path, status, content, data):
            self._note(fault)

    def _note(self, fault: str) -> None:
        where = f"{self._now[0]} {self._now[1][:200]} -> {self._now[2]}" if self._now else "?"
        if len(self._faults) < MAX_FAULTS:
            self._faults.append(f"{where}: {fault}")


class Proxy:
    """with checking(agent_socket, own_path) as proxy: clients speak to own_path."""

    def __init__(self, target: Path, path: Path) -> None:
        self.path = path
        self.faults: list[str] = []
        self._target = target

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Both directions until both have ended; one that ends is ended on the other side, and no more."""
        try:
            there, back = await asyncio.open_unix_connection(self._target, limit=PIECE)
        except OSError:
            writer.close()
            return
        look = Look(self.faults)
        ways = (self._pass(reader, back, look.requests), self._pass(there, writer, look.answers))
        tasks = [asyncio.ensure_future(way) for way in ways]
        try:
            # When the agent ends its answers, or breaks off, the connection is over. A client that is done
            # with asking may still read.
            gone = asyncio.ensure_future(_gone(tasks[0], writer))
            tasks.append(gone)
            await asyncio.wait((tasks[1], gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for end in (writer, back):
                end.close()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, messages: Messages
    ) -> None:
        is_looking = True
        with contextlib.suppress(OSError):
            while data := await reader.read(PIECE):
                writer.write(data)
                if is_looking:
                    try:
                        messages.feed(data)
                    except Exception as error:
                        self.faults.append(f"not HTTP: {error!r}: {data[:200]!r}")
                        is_looking = False
                await writer.drain()
                if data.endswith(b"\r\n\r\n"):
                    await _taken(writer)
            messages.close()
        if writer.can_write_eof():
            with contextlib.suppress(OSError):
                writer.write_eof()


async def _taken(writer: asyncio.StreamWriter) -> None:
    """Until the other end has read a head, as the agent waits for it before a stream: docker-py loses what it
    reads along with one."""
    sock = writer.get_extra_info("socket")
    waiting = array.array("i", [1])
    with contextlib.suppress(OSError):  # TimeoutError is one
        async with asyncio.timeout(HEAD_SECONDS):
            while waiting[0] and not writer.is_closing():
                fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, waiting)
                await asyncio.sleep(0.0005 if waiting[0] else 0)


async def _gone(asking: asyncio.Future[None], writer: asyncio.StreamWriter) -> None:
    """Until the client has closed its socket, which is more than having no more to say: the kernel tells it
    as POLLHUP, of which asyncio says nothing."""
    await asyncio.wait((asking,))
    poll = select.poll()
    poll.register(writer.get_extra_info("socket").fileno(), 0)
    while not poll.poll(0):
        await asyncio.sleep(0.01)


@contextlib.contextmanager
def checking(target: Path, path: Path) -> Iterator[Proxy]:
    """A proxy at `path` for the block."""
    proxy = Proxy(target, path)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="proxy")
    thread.start()

    async def begin() -> asyncio.Server:
        return await asyncio.start_unix_server(proxy.accept, path, limit=PIECE)

    server = asyncio.run_coroutine_threadsafe(begin(), loop).result(10)

    async def end() -> None:
        server.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
