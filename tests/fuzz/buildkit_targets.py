"""What BuildKit's clients send, for `targets`: packets of files to headers of a tar, requests to an order."""

from __future__ import annotations

import os

from agent.api.docker.buildkit import messages, packets, wire
from agent.api.docker.buildkit.attributes import read_attributes, read_exporters
from agent.api.docker.buildkit.file_sync import header_of
from agent.api.docker.buildkit.packets import read_packet, write_packet

_ATTRIBUTES = {
    "filename": "a/Dockerfile", "target": "t", "build-arg:A": "1", "label:b": "c", "no-cache": "",
    "platform": "linux/arm64/v8", "ulimit": "nofile=1:2", "add-hosts": "a=10.0.0.1,b=host-gateway",
    "cache-imports": '[{"Type": "registry", "Attrs": {"ref": "lab/c:1"}}]', "shm-size": "65536",
}  # fmt: skip


def packet(data: bytes) -> None:
    found = read_packet(data)
    if found.status is None:
        return
    parts = found.status.path.split("/")
    assert not {"", ".", ".."} & set(parts) and len(os.fsencode(found.status.path)) <= packets.MAX_PATH_BYTES
    assert found.status.size >= 0 and 0 <= found.status.mode <= 0o7777
    header = header_of(found.status)
    assert header is None or len(header) % 512 == 0


def solve(data: bytes) -> None:
    request = messages.read_solve(data)
    names = read_exporters(request.exporters)
    asked = read_attributes(request.attributes, "0" * 32, names, is_trusted=False)
    assert asked.order.context_kind in ("none", "git", "url")
    assert asked.order.network in ("default", "none", "host")
    assert not asked.order.is_trusted and not asked.order.secrets and not asked.order.ssh


def _stat(path: bytes, mode: int, size: int = 0, link: bytes = b"") -> bytes:
    body = wire.blob(1, path) + wire.number(2, mode) + wire.number(5, size) + wire.number(6, 10**18)
    xattrs = wire.inner(10, wire.text(1, "user.a") + wire.blob(2, b"b"))
    return wire.number(1, packets.STAT) + wire.inner(2, body + wire.blob(7, link) + xattrs)


PACKETS = (
    _stat(b"d", 1 << 31 | 0o755), _stat(b"d/f\xff", 0o100644 & 0o7777 | 1 << 23, 1 << 40),
    _stat(b"l", 1 << 27 | 0o777, link=b"../../x"), _stat(b"h", 0o644, 3, b"d/f"),
    wire.number(1, packets.STAT), write_packet(packets.DATA, 7, b"abc"), write_packet(packets.FIN),
)  # fmt: skip


def _solve(attributes: dict[str, str]) -> bytes:
    exporter = wire.text(1, "moby") + wire.text_map(2, {"name": "lab/a:1,lab/b"})
    return (
        wire.text(1, "ref") + wire.text(5, "session") + wire.text(6, "dockerfile.v0")
        + wire.text_map(7, attributes) + wire.inner(13, exporter)
    )  # fmt: skip


SOLVES = (_solve(_ATTRIBUTES), _solve({"context": "https://example.org/a.git#b:c", "dockerfilekey": "d"}))
