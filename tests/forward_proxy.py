"""An HTTP proxy on loopback that reaches one host whatever it is asked for: names that nobody has lead there.

with started("127.0.0.1:5000", login="me:secret") as proxy:
    proxy.address, proxy.seen
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import select
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass(slots=True)
class ForwardProxy:
    """seen: "METHOD target" of each request, in order. headers: of each. login: asked for when it is set."""

    address: str
    upstream: tuple[str, int]
    login: str = ""
    seen: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: ForwardProxy
    timeout = 30

    def _is_let_in(self) -> bool:
        self.proxy.seen.append(f"{self.command} {self.path}")
        self.proxy.headers.append(dict(self.headers.items()))
        wanted = "Basic " + base64.b64encode(self.proxy.login.encode()).decode()
        if not self.proxy.login or self.headers.get("Proxy-Authorization") == wanted:
            return True
        self.send_response_only(407)
        self.send_header("Content-Length", "0")
        self.end_headers()
        return False

    def do_CONNECT(self) -> None:
        if not self._is_let_in():
            return
        self.close_connection = True
        with socket.create_connection(self.proxy.upstream, timeout=30) as upstream:
            self.connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            ends = (self.connection, upstream)
            while readable := select.select(ends, (), (), 30)[0]:
                for end in readable:
                    data = end.recv(65536)
                    if not data:
                        return
                    ends[end is self.connection].sendall(data)

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if not self._is_let_in():
            return
        parts = urlsplit(self.path)
        upstream = http.client.HTTPConnection(*self.proxy.upstream, timeout=30)
        headers = {k: v for k, v in self.headers.items() if not k.lower().startswith("proxy-")}
        try:
            upstream.request(self.command, parts._replace(scheme="", netloc="").geturl(), body, headers)
            answer = upstream.getresponse()
            data = answer.read()
        finally:
            upstream.close()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = _serve

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients end tunnels as they like."""


@contextlib.contextmanager
def started(upstream: str, login: str = "") -> Iterator[ForwardProxy]:
    host, _, port = upstream.partition(":")
    bound: Any = type("Bound", (_Handler,), {})
    server = _Server(("127.0.0.1", 0), bound)
    bound.proxy = ForwardProxy(f"127.0.0.1:{server.server_address[1]}", (host, int(port)), login)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield bound.proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
