"""What a path in a container names, as the header X-Docker-Container-Path-Stat tells it. Pure."""

from __future__ import annotations

import base64
import json
import stat

from agent.api.docker.stamps import rfc3339
from runtime.copies.places import PathStat

HEADER = "X-Docker-Container-Path-Stat"
# Go's io/fs.FileMode: its own bits above the permissions.
_DIRECTORY, _SYMLINK, _DEVICE, _PIPE, _SOCKET, _SETUID, _SETGID, _CHARACTER, _STICKY = (
    1 << 31, 1 << 27, 1 << 26, 1 << 25, 1 << 24, 1 << 23, 1 << 22, 1 << 21, 1 << 20,
)  # fmt: skip
_KINDS = {
    stat.S_IFDIR: _DIRECTORY, stat.S_IFLNK: _SYMLINK, stat.S_IFBLK: _DEVICE, stat.S_IFIFO: _PIPE,
    stat.S_IFSOCK: _SOCKET, stat.S_IFCHR: _DEVICE | _CHARACTER,
}  # fmt: skip
_SPECIAL = {stat.S_ISUID: _SETUID, stat.S_ISGID: _SETGID, stat.S_ISVTX: _STICKY}


def header_of(found: PathStat) -> str:
    view = {
        "name": _text(found.name),
        "size": found.size,
        "mode": go_mode(found.mode),
        "mtime": rfc3339(found.mtime_ns / 1e9),
        "linkTarget": _text(found.link_target),
    }
    return base64.b64encode(json.dumps(view, separators=(",", ":")).encode()).decode("ascii")


def go_mode(mode: int) -> int:
    """A st_mode as Go's FileMode."""
    special = sum(bit for ours, bit in _SPECIAL.items() if mode & ours)
    return mode & 0o777 | special | _KINDS.get(stat.S_IFMT(mode), 0)


def _text(name: str) -> str:
    """A name that is no UTF-8, as Go writes it into JSON."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
