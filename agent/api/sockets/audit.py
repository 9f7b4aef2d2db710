"""Who asked what at a scoped socket, and what was answered: a line of JSON each in
/var/lib/INSTANCE/audit/PROJECT.NAME.jsonl, which is cut in two files of bounded size. Called by `gate`.

Bodies and values of queries are not written: they hold secrets.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import time
from pathlib import Path
from typing import Any

from aiohttp import web

MAX_BYTES = 8 * 1024 * 1024
MAX_TEXT = 300


def entry(
    request: web.Request, permission: str | None, status: int, seconds: float, refused: str
) -> dict[str, Any]:
    """The line's content."""
    uid, gid, pid = peer(request)
    found: dict[str, Any] = {
        "at": round(time.time(), 3), "uid": uid, "gid": gid, "pid": pid, "method": request.method,
        "path": request.path[:MAX_TEXT], "query": sorted(request.query)[:20],
        "permission": permission or "", "status": status, "seconds": round(seconds, 4),
    }  # fmt: skip
    return found | ({"refused": refused[:MAX_TEXT]} if refused else {})


def write(data: Path, name: str, line: dict[str, Any]) -> None:
    """Append. A disk that takes nothing holds nobody up: the answer was given."""
    directory = data / "audit"
    path = directory / f"{name.replace('/', '.')}.jsonl"
    with contextlib.suppress(OSError):
        directory.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size > MAX_BYTES:
                path.replace(path.with_suffix(".jsonl.1"))
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            os.write(descriptor, (json.dumps(line, separators=(",", ":")) + "\n").encode())
        finally:
            os.close(descriptor)


def peer(request: web.BaseRequest) -> tuple[int, int, int]:
    """uid, gid, pid of who connected (SO_PEERCRED, unix(7)); -1 where nobody knows."""
    connection = request.transport.get_extra_info("socket") if request.transport else None
    if connection is None or connection.family != socket.AF_UNIX:
        return -1, -1, -1
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, gid = struct.unpack("3i", found)
    return uid, gid, pid
