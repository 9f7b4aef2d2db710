"""A proxy in front of a registry that breaks some requests off, and a registry that keeps half of an upload.

with started(registry.host) as proxy:
    proxy.breaks.append(Break("PATCH", after=1000, is_forwarded=False))     the first PATCH, and no other

with keeping() as registry:       takes uploads in memory, and knows of a broken one how far it came
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import re
import secrets
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True, slots=True)
class Break:
    """Of the nth request with that method: after so many bytes of its body. is_forwarded: the registry has
    seen these bytes, as behind a plain wire; else nothing of it, as behind a proxy that collects first."""

    method: str
    after: int
    is_forwarded: bool = False
    nth: int = 1


@dataclass(frozen=True, slots=True)
class Seen:
    """received: bytes of its body. status: 0 for one that was broken off."""

    method: str
    path: str
    content_range: str
    received: int
    status: int
    authorization: str = ""


@dataclass(slots=True)
class Proxy:
    host: str
    upstream: str
    breaks: list[Break] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, method: str) -> list[Seen]:
        return [each for each in self.seen if each.method == method]

    def next_break(self, method: str) -> Break | None:
        with self.lock:
            found = next((each for each in self.breaks if each.method == method), None)
            if found is None:
                return None
            self.breaks.remove(found)
            if found.nth == 1:
                return found
            self.breaks.append(replace(found, nth=found.nth - 1))
            return None


class _ProxyHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy
    timeout = 30

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        breaking = self.proxy.next_break(self.command)
        body = self.rfile.read(length if breaking is None else min(length, breaking.after))
        if breaking is not None:
            if breaking.is_forwarded:
                self._forward_half(body)
            self._note(len(body), 0)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        upstream = http.client.HTTPConnection(self.proxy.upstream, timeout=30)
        try:
            upstream.request(self.command, self.path, body, dict(self.headers.items()))
            answer = upstream.getresponse()
            data = answer.read()
        finally:
            upstream.close()
        self._note(len(body), answer.status)
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        length_said = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", length_said or "0")
        self.end_headers()
        self.wfile.write(data)

    def _forward_half(self, body: bytes) -> None:
        host, _, port = self.proxy.upstream.partition(":")
        lines = [f"{self.command} {self.path} HTTP/1.1", *(f"{k}: {v}" for k, v in self.headers.items())]
        with socket.create_connection((host, int(port)), timeout=30) as upstream:
            upstream.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    def _note(self, received: int, status: int) -> None:
        asked = self.headers.get("Content-Range", ""), self.headers.get("Authorization", "")
        self.proxy.seen.append(Seen(self.command, self.path, asked[0], received, status, asked[1]))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections break here; that is what is tested."""


@contextlib.contextmanager
def started(upstream: str) -> Iterator[Proxy]:
    with _serving(_ProxyHandler) as (server, bound):
        bound.proxy = Proxy(f"127.0.0.1:{server.server_address[1]}", upstream)
        yield bound.proxy


@contextlib.contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[tuple[_Server, Any]]:
    bound = type("Bound", (handler,), {})
    server = _Server(("127.0.0.1", 0), bound)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server, bound
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# --- a registry that keeps what came --------------------------------------------------------------


@dataclass(slots=True)
class Keeping:
    """takes_chunks: knows PATCH. break_after: of the bodies of the next uploads, in turn, so many bytes are
    taken before the connection ends; they are kept. least_chunk: what it says of their size."""

    host: str
    takes_chunks: bool = True
    least_chunk: int = 0
    break_after: list[int] = field(default_factory=list)
    is_away: int = 0  # so many questions how far an upload came are not answered
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)

    def of(self, method: str) -> list[Seen]:
        return [each for each in self.seen if each.method == method]


class _KeepingHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: Keeping
    timeout = 30

    def _serve(self) -> None:
        registry, path = self.registry, urlsplit(self.path).path
        if self.command in ("PATCH", "PUT") and "/uploads/" in path:
            self._take(path.rpartition("/")[2])
        elif self.command == "PUT":
            registry.manifests[path] = self._body()
            self._answer(201)
        elif self.command == "POST":
            name = secrets.token_hex(4)
            registry.uploads[name] = b""
            least = {"OCI-Chunk-Min-Length": str(registry.least_chunk)} if registry.least_chunk else {}
            self._answer(202, {"Location": f"{path}{name}", **least})
        elif "/uploads/" in path and registry.is_away:
            registry.is_away -= 1
            self._answer(503)
        elif "/uploads/" in path:
            size = len(registry.uploads[path.rpartition("/")[2]])
            self._answer(204, {"Location": path, "Range": f"0-{max(size - 1, 0)}"})
        else:
            self._answer(200 if path.rpartition("/")[2] in registry.blobs else 404)

    def _take(self, name: str) -> None:
        registry = self.registry
        if self.command == "PATCH" and not registry.takes_chunks:
            self._body()
            self._answer(405)
            return
        length = int(self.headers.get("Content-Length", "0"))
        begin = re.fullmatch(r"(\d+)-\d+", self.headers.get("Content-Range", "0-0"))
        if begin is None or int(begin[1]) != len(registry.uploads[name]):
            self._body()
            self._answer(416)
            return
        limit = registry.break_after.pop(0) if registry.break_after and length else None
        data = self.rfile.read(length if limit is None else min(limit, length))
        registry.uploads[name] += data
        if limit is not None:
            self._note(len(data), 0)
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if limit is None and len(data) < length:  # its client went away: that is no end
            self.close_connection = True
            return
        if self.command == "PATCH":
            end = len(registry.uploads[name]) - 1
            self._answer(202, {"Location": urlsplit(self.path).path, "Range": f"0-{end}"}, len(data))
            return
        whole = registry.uploads.pop(name)
        asked = parse_qs(urlsplit(self.path).query)["digest"][0]
        is_good = asked == "sha256:" + hashlib.sha256(whole).hexdigest()
        if is_good:
            registry.blobs[asked] = whole
        self._answer(201 if is_good else 400, {}, len(data))

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def _answer(self, status: int, headers: dict[str, str] | None = None, received: int = 0) -> None:
        self._note(received, status)
        self.send_response_only(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _note(self, received: int, status: int) -> None:
        said = self.headers.get("Content-Range", "")
        self.registry.seen.append(Seen(self.command, self.path, said, received, status))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = _serve

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def keeping() -> Iterator[Keeping]:
    with _serving(_KeepingHandler) as (server, bound):
        bound.registry = Keeping(f"127.0.0.1:{server.server_address[1]}")
        yield bound.registry
