"""Repositories and files over https on loopback, as people have them: git's own http-backend behind a server.

with served(folder) as server:       below folder: REPOSITORY (bare or not) and plain files
"""

from __future__ import annotations

import contextlib
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from tests.registry import make_certificate


@dataclass(frozen=True, slots=True)
class GitServer:
    """url: without a slash at its end. ca: of its certificate. asked: paths, in order."""

    url: str
    ca: Path
    asked: list[str]


@contextlib.contextmanager
def served(folder: Path, certificate: Path) -> Iterator[GitServer]:
    """certificate: a directory that is made for it."""
    certificate.mkdir()
    ca = make_certificate(certificate)
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def do_GET(self) -> None:
            asked.append(self.path)
            path = folder / urlsplit(self.path).path.lstrip("/")
            if "service=" not in self.path and path.is_file():
                self._answer(200, path.read_bytes())
            else:
                self._run_git(b"")

        def do_POST(self) -> None:
            asked.append(self.path)
            self._run_git(self._body())

        def _body(self) -> bytes:
            if (length := self.headers.get("Content-Length")) is not None:
                return self.rfile.read(int(length))
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            return b"".join(pieces)

        def _run_git(self, body: bytes) -> None:
            """As CGI (RFC 3875)."""
            parts = urlsplit(self.path)
            environment = {
                "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(folder), "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": parts.path, "QUERY_STRING": parts.query, "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""), "REMOTE_ADDR": "127.0.0.1",
                "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
            }  # fmt: skip
            done = subprocess.run(
                ["git", "http-backend"], input=body, env=environment, capture_output=True, check=False
            )
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            fields = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
            status = int(fields.pop("Status", "200").split()[0])
            self._answer(status, content, fields)

        def _answer(self, status: int, content: bytes, fields: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (fields or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Said to nobody."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(ca, certificate / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield GitServer(f"https://127.0.0.1:{server.server_port}", ca, asked)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
