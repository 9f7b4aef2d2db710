"""fsutil's packets, by which BuildKit's client sends files. Pure. What is read was written by whoever
connects, and nothing of it is believed.

    STAT {path, mode, …} for each file, in order; an empty one at the end
    REQ id ─> DATA id bytes …, DATA id with none at the end        id: how many STATs came before
    FIN ─> FIN
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from agent.api.docker.buildkit import wire
from agent.api.docker.buildkit.wire import Message
from runtime.errors import Invalid

STAT, REQ, DATA, FIN, ERR = range(5)
MAX_PATH_BYTES = 4096
MAX_NAME_BYTES = 255
_MODE_DIRECTORY, _MODE_LINK, _MODE_PIPE, _MODE_SOCKET = 1 << 31, 1 << 27, 1 << 25, 1 << 24  # Go's os.FileMode
_MODE_DEVICE, _MODE_CHARACTER, _MODE_IRREGULAR = 1 << 26, 1 << 21, 1 << 19
_TYPES = (
    _MODE_DIRECTORY
    | _MODE_LINK
    | _MODE_PIPE
    | _MODE_SOCKET
    | _MODE_DEVICE
    | _MODE_CHARACTER
    | _MODE_IRREGULAR
)
_SPECIAL = ((1 << 23, stat.S_ISUID), (1 << 22, stat.S_ISGID), (1 << 20, stat.S_ISVTX))


@dataclass(frozen=True, slots=True)
class Packet:
    """status: of a STAT that is not the last."""

    kind: int
    id: int = 0
    data: bytes = b""
    status: FileStatus | None = None


@dataclass(frozen=True, slots=True)
class FileStatus:
    """kind: "file", "directory", "link", "hardlink" (to `link`, which came before) or "other". path: clean,
    without a slash at its beginning. mode: permissions. modified_ns: Unix time."""

    path: str
    kind: str
    mode: int
    size: int
    modified_ns: int
    link: str = ""


def read_packet(data: bytes) -> Packet:
    """`Invalid` for what is none."""
    message = Message(data)
    kind = message.whole(1)
    if kind > ERR:
        raise Invalid("read files", "", f"a packet of the kind {kind}")
    status = _status(message.message(2)) if kind == STAT and message.has(2) else None
    return Packet(kind, message.whole(3) & 0xFFFFFFFF, message.blob(4), status)


def write_packet(kind: int, id: int = 0, data: bytes = b"") -> bytes:
    return wire.number(1, kind) + wire.number(3, id) + wire.blob(4, data)


def _status(message: Message) -> FileStatus:
    path = clean_path(message.file_name(1))
    mode, link = message.whole(2), message.file_name(7)
    kind = _kind(mode, link)
    size = message.signed(5)
    if size < 0:
        raise Invalid("read files", path[:80], "less than no bytes")
    if kind == "hardlink":
        link = clean_path(link)
    if kind == "link" and (not link or len(os.fsencode(link)) > MAX_PATH_BYTES):
        raise Invalid("read files", path[:80], "a link to nowhere")
    return FileStatus(path, kind, _permissions(mode), size, message.signed(6), link)


def _kind(mode: int, link: str) -> str:
    match mode & _TYPES:
        case 0:
            return "hardlink" if link else "file"
        case 0x8000_0000:
            return "directory"
        case 0x0800_0000:
            return "link"
        case _:
            return "other"


def _permissions(mode: int) -> int:
    found = mode & 0o777
    for theirs, ours in _SPECIAL:
        if mode & theirs:
            found |= ours
    return found


def clean_path(path: str) -> str:
    """A path below the context, without `.` and `..`. `Invalid` for any other: nothing is mended."""
    parts = path.removeprefix("/").split("/")
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise Invalid("read files", path[:80], f"a path of over {MAX_PATH_BYTES} bytes")
    for part in parts:
        if part in ("", ".", "..") or len(os.fsencode(part)) > MAX_NAME_BYTES:
            raise Invalid("read files", path[:80], "not a path below the context")
    return "/".join(parts)
