"""The native protocol as a client has it: what goes over a connection to the agent, and what comes back.
HTTP/1.1 by hand, since a `status` as a whole process aims at 60 ms and `http.client` alone would take a
quarter of that. Opens no connection: that is `client`'s.

A frame, both ways: one byte stream number, three zero bytes, four bytes big-endian length, the bytes.
Streams: 0 stdin (empty: its end), 1 stdout, 2 stderr, 3 exit ({"exit_code": n}), 4 resize
({"rows": r, "columns": c}), 5 error (as in a JSON answer's "error"), 6 signal ({"signal": name}).
"""

from __future__ import annotations

from _collections_abc import Mapping  # collections.abc is the same, and imports collections

from agent import small_json as json
from runtime import errors

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without the cost of typing
if TYPE_CHECKING:
    import _socket
    from collections.abc import Iterator
    from socket import socket
    from typing import IO, Any

    Query = Mapping[str, str | int | float | bool | None]
    Body = bytes | Mapping[str, Any] | IO[bytes] | None

PREFIX = "/setpoint/v1"
MAX_HEAD_BYTES = 65536
MAX_ANSWER_BYTES = 256 * 1024 * 1024
MAX_FRAME_BYTES = 16 * 1024 * 1024
STDIN, STDOUT, STDERR, EXIT, RESIZE, ERROR, SIGNAL = range(7)
HEADER_BYTES = 8


class AgentDown(errors.SetpointError):
    """No agent answers on the socket, or it went away in the middle of an answer."""

    def __init__(self, socket_path: str, reason: str) -> None:
        if "://" in socket_path:
            super().__init__("ask agent", socket_path, reason, "does it run there, and may you reach it?")
            return
        words = socket_path.split("/")
        is_named = words[:2] == ["", "run"] and len(words) == 4 and words[2] != "setpoint"
        named = f" --instance {words[2]}" if is_named else ""
        hint = f"start it: setpoint agent --detach --watch DIR{named}"
        super().__init__("ask agent", socket_path, reason, hint)


class Answer:
    """The reading side of one request: the head, then the body as it comes."""

    def __init__(self, connection: socket | _socket.socket, name: str) -> None:
        self.connection = connection
        self._buffer = b""
        self._name = name
        self.status = 0
        self._headers: dict[str, str] = {}
        self._left: int | None = None  # bytes of this chunk or body still to come; None: until the end
        self._is_chunked = False
        self._is_over = False

    def read_head(self) -> None:
        status_line = self._line()
        parts = status_line.split(None, 2)
        if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].isdecimal():
            raise AgentDown(self._name, "does not speak HTTP")
        self.status = int(parts[1])
        size = 0
        while line := self._line():
            name, _, value = line.partition(":")
            self._headers[name.strip().lower()] = value.strip()
            size += len(line) + 2
            if size > MAX_HEAD_BYTES or len(line) < 3:
                raise AgentDown(self._name, "broke the protocol")
        self._is_chunked = self._headers.get("transfer-encoding", "").lower() == "chunked"
        if self._is_chunked:
            self._left = 0
        elif "content-length" in self._headers:
            self._left = self._number(self._headers["content-length"], 10)

    def _number(self, text: str, base: int) -> int:
        try:
            return int(text, base)
        except ValueError:
            raise AgentDown(self._name, "broke the protocol") from None

    def _line(self) -> str:
        while b"\n" not in self._buffer:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise AgentDown(self._name, "broke the protocol")
            data = self.connection.recv(65536)
            if not data:
                raise AgentDown(self._name, "went away")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.rstrip(b"\r").decode("latin-1")

    def _read1(self, limit: int) -> bytes:
        if not self._buffer:
            return self.connection.recv(limit)
        data, self._buffer = self._buffer[:limit], self._buffer[limit:]
        return data

    def take_buffered(self) -> bytes:
        """What was read ahead of an upgraded connection's frames."""
        data, self._buffer = self._buffer, b""
        return data

    def read_some(self, limit: int = 65536) -> bytes:
        """What is there, at least a byte; b"" at the body's end."""
        if self._is_over:
            return b""
        if self._is_chunked and self._left == 0:
            self._next_chunk()
        if self._left == 0:
            self._is_over = True
            return b""
        data = self._read1(limit if self._left is None else min(limit, self._left))
        if not data:
            if self._left is not None:
                raise AgentDown(self._name, "went away")
            self._is_over = True
            return b""
        if self._left is not None:
            self._left -= len(data)
            if self._is_chunked and self._left == 0:
                self._line()
        return data

    def _next_chunk(self) -> None:
        self._left = self._number(self._line().partition(";")[0], 16)
        if self._left == 0:
            while self._line():
                pass

    def read_all(self) -> bytes:
        pieces = []
        size = 0
        while data := self.read_some(1 << 20):
            size += len(data)
            if size > MAX_ANSWER_BYTES:
                raise AgentDown(self._name, "sent too much")
            pieces.append(data)
        return b"".join(pieces)

    def read_exactly(self, count: int, *, may_end: bool = False) -> bytes:
        """count bytes; b"" when the body ends before the first and may_end."""
        pieces = []
        missing = count
        while missing:
            data = self.read_some(missing)
            if not data:
                if may_end and missing == count:
                    return b""
                raise AgentDown(self._name, "went away")
            pieces.append(data)
            missing -= len(data)
        return b"".join(pieces)

    def lines(self) -> Iterator[bytes]:
        rest = b""
        while data := self.read_some():
            *whole, rest = (rest + data).split(b"\n")
            yield from (line for line in whole if line)
        if rest:
            yield rest

    def close(self) -> None:
        self.connection.close()

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Session:
    """An upgraded connection: frames both ways. `receive` reads ahead, so poll `fileno` only while
    `has_buffered` is False."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._buffer = answer.take_buffered()

    def fileno(self) -> int:
        return self._answer.connection.fileno()

    @property
    def has_buffered(self) -> bool:
        """A whole frame is here: `receive` will not block."""
        return len(self._buffer) >= HEADER_BYTES and len(self._buffer) >= HEADER_BYTES + self._length()

    def _length(self) -> int:
        return int.from_bytes(self._buffer[4:8], "big") if len(self._buffer) >= HEADER_BYTES else 0

    def receive(self) -> tuple[int, bytes] | None:
        """The next frame, or None at the end. Raises what an error frame says."""
        while not self.has_buffered:
            data = self._answer.read_some()
            if not data:
                return None
            self._buffer += data
            if self._length() > MAX_FRAME_BYTES:
                raise AgentDown("", "broke the protocol")
        end = HEADER_BYTES + self._length()
        stream, content = self._buffer[0], self._buffer[HEADER_BYTES:end]
        self._buffer = self._buffer[end:]
        if stream == ERROR:
            raise error_from(json.loads(content), 500)
        return stream, content

    def send(self, stream: int, content: bytes) -> None:
        header = bytes((stream, 0, 0, 0)) + len(content).to_bytes(4, "big")
        self._answer.connection.sendall(header + content)

    def send_stdin(self, content: bytes) -> None:
        """b"" would be the end: use close_stdin for that."""
        if content:
            self.send(STDIN, content)

    def close_stdin(self) -> None:
        self.send(STDIN, b"")

    def resize(self, rows: int, columns: int) -> None:
        self.send(RESIZE, json.dumps({"rows": rows, "columns": columns}).encode())

    def signal(self, name: str) -> None:
        self.send(SIGNAL, json.dumps({"signal": name}).encode())

    def run(self, stdin: bytes | None = None) -> tuple[int, bytes, bytes]:
        """Send stdin (or end it at once), read all: (exit code, stdout, stderr). For scripts and tests."""
        try:
            if stdin:
                self.send_stdin(stdin)
            self.close_stdin()
        except BrokenPipeError:  # it has ended, and what it said is there
            pass
        output: dict[int, list[bytes]] = {STDOUT: [], STDERR: []}
        while frame := self.receive():
            stream, content = frame
            if stream == EXIT:
                code = int(json.loads(content)["exit_code"])
                return code, b"".join(output[STDOUT]), b"".join(output[STDERR])
            output.setdefault(stream, []).append(content)
        raise AgentDown("", "went away before the process ended")

    def close(self) -> None:
        self._answer.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_KINDS = {
    kind.__name__: kind for kind in (errors.Invalid, errors.NotFound, errors.Conflict, errors.Unsupported)
}


def error_from(data: Any, status: int) -> errors.SetpointError:
    """The agent's error as it was raised there; SetpointError itself for a bug in the agent."""
    if not isinstance(data, dict):
        return errors.SetpointError("ask agent", "", f"answered {status}")
    fields = [str(data.get(name, "")) for name in ("op", "subject", "reason", "hint")]
    op, subject, reason, hint = fields
    if data.get("kind") == "Temporary":
        retry = float(data.get("retry_after_seconds", 1.0))
        return errors.Temporary(op, subject, reason, hint, retry_after_seconds=retry)
    return _KINDS.get(str(data.get("kind")), errors.SetpointError)(op, subject, reason, hint)


def refusal(answer: Answer) -> errors.SetpointError:
    with answer:
        try:
            return error_from(json.loads(answer.read_all())["error"], answer.status)
        except (ValueError, KeyError, TypeError):
            return errors.SetpointError("ask agent", "", f"answered {answer.status}")


def query_words(query: Query | None) -> str:
    """ "?a=b" or "". None is left out, True is "1" and False is left out."""
    given = [
        (k, "1" if v is True else str(v))
        for k, v in (query or {}).items()
        if v is not None and v is not False
    ]
    return "?" + "&".join(f"{quote(k)}={quote(v)}" for k, v in given) if given else ""


_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")


def quote(text: str, also_plain: str = "") -> str:
    """Percent-encoding (RFC 3986, 2.1). urllib.parse would cost as much as the rest of this module."""
    plain = _PLAIN | set(also_plain.encode())
    octets = text.encode("utf-8", "surrogateescape")
    return "".join(chr(octet) if octet in plain else f"%{octet:02X}" for octet in octets)


def send_request(
    connection: socket | _socket.socket, host: str, method: str, target: str, body: Body, upgrade: bool
) -> None:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Accept: application/json"]
    lines.append("Connection: Upgrade\r\nUpgrade: setpoint" if upgrade else "Connection: close")
    content = b""
    if isinstance(body, Mapping):
        content = json.dumps(body).encode()
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    elif isinstance(body, bytes):
        content = body
        lines += ["Content-Type: application/octet-stream", f"Content-Length: {len(content)}"]
    elif body is not None:
        lines += ["Content-Type: application/octet-stream", "Transfer-Encoding: chunked"]
    elif method == "POST":
        lines.append("Content-Length: 0")
    head = "\r\n".join(lines) + "\r\n\r\n"
    connection.sendall(head.encode("latin-1") + content)
    if body is not None and not isinstance(body, bytes | Mapping):
        _send_chunks(connection, body)


def _send_chunks(connection: socket | _socket.socket, file: IO[bytes]) -> None:
    """An agent that refuses early closes its end: stop sending, its answer says why."""
    connection.settimeout(None)
    try:
        while data := file.read(1 << 18):
            connection.sendall(b"%x\r\n%b\r\n" % (len(data), data))
        connection.sendall(b"0\r\n\r\n")
    except (BrokenPipeError, ConnectionResetError):
        return
