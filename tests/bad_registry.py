"""A registry that answers as a test tells it to: lies, stalls, leads astray, breaks off. Threads on loopback.

with started() as registry:
    image = registry.put_image("lab/app", "1")        a good one, each of whose answers may then be replaced
    registry.answer(image.manifest_path, Answer(500), Answer(body=b"..."))    in turn; the last one stays
    registry.seen                                     what it was asked, credentials and all
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import ssl
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from runtime.images.documents import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """raw: writes all that comes after the request by itself, and the connection is closed."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    raw: Callable[[Handler], None] | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def authorization(self) -> str:
        return self.headers.get("Authorization", "")


@dataclass(frozen=True, slots=True)
class BadImage:
    """Where each part of an image is, and what it is."""

    name: str
    manifest_path: str
    config_path: str
    layer_path: str
    manifest: bytes
    config: bytes
    layer: bytes


class BadRegistry:
    """host: with its port. seen: every request, in order."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.seen: list[Asked] = []
        self._answers: dict[str, list[Answer]] = {}
        self._lock = threading.Lock()

    def answer(self, path: str, *answers: Answer) -> None:
        """path: without the query; "" is for whatever is not known."""
        with self._lock:
            self._answers[path] = list(answers)

    def next(self, asked: Asked) -> Answer:
        with self._lock:
            self.seen.append(asked)
            known = self._answers.get(urlsplit(asked.path).path) or self._answers.get("") or [Answer(404)]
            return known.pop(0) if len(known) > 1 else known[0]

    def paths(self) -> list[str]:
        return [urlsplit(asked.path).path for asked in self.seen]

    def put_image(self, repository: str = "lab/app", tag: str = "1", content: bytes = b"hello") -> BadImage:
        layer = tar_of({"etc/word": content})
        config = json.dumps(config_of(layer)).encode()
        manifest = json.dumps(manifest_of(config, layer)).encode()
        at = f"/v2/{repository}"
        image = BadImage(
            f"{self.host}/{repository}:{tag}", f"{at}/manifests/{tag}", f"{at}/blobs/{digest_of(config)}",
            f"{at}/blobs/{digest_of(layer)}", manifest, config, layer,
        )  # fmt: skip
        for path in (image.manifest_path, f"{at}/manifests/{digest_of(manifest)}"):
            self.answer(path, document(manifest))
        self.answer(image.config_path, Answer(body=config))
        self.answer(image.layer_path, Answer(body=layer))
        return image


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: BadRegistry
    timeout = 30

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        asked = Asked(self.command, self.path, dict(self.headers.items()), self.rfile.read(length))
        answer = self.registry.next(asked)
        if answer.raw is not None:
            self.close_connection = True
            answer.raw(self)
            return
        self.send_response_only(answer.status)
        headers = {"Content-Length": str(len(answer.body)), **answer.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients break off here; that is what is tested."""


@contextlib.contextmanager
def started(tls: ssl.SSLContext | None = None) -> Iterator[BadRegistry]:
    server = _Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    registry = BadRegistry(f"127.0.0.1:{server.server_address[1]}")
    server.RequestHandlerClass = type("Bound", (Handler,), {"registry": registry})
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def document(data: bytes, media_type: str = OCI_MANIFEST, **headers: str) -> Answer:
    return Answer(
        headers={"Content-Type": media_type, "Docker-Content-Digest": digest_of(data), **headers}, body=data
    )


def descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


def config_of(*layers: bytes) -> dict[str, Any]:
    return {
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]},
    }  # fmt: skip


def manifest_of(config: bytes, *layers: bytes) -> dict[str, Any]:
    return {
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": descriptor(OCI_CONFIG, config),
        "layers": [descriptor(OCI_LAYER, layer) for layer in layers],
    }  # fmt: skip


def tar_of(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()
