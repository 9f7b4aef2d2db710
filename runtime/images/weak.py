"""What makes an image easy to take over from inside: programs that give rights away, passwords that are none,
directories that everybody writes to. Told by `image check`; nothing is changed or refused.

    weaknesses(layers, root_mode) ─> ("bin/su", "is set-user-id root"), ...

Reads the layers' directories as `root_files` does. Called by `check`, in a worker.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from runtime.images.walk import Found, opened, walk

_ACCOUNTS = (b"etc/passwd", b"etc/shadow")
_MAX_ACCOUNTS_BYTES = 1024 * 1024
_CAPABILITY = "security.capability"
_SYSTEM = frozenset(
    {b"bin", b"boot", b"etc", b"home", b"lib", b"lib64", b"opt", b"root", b"sbin", b"srv", b"usr", b"var"}
    | {b"usr/bin", b"usr/lib", b"usr/local", b"usr/local/bin", b"usr/sbin"}
)


def weaknesses(layers: Sequence[Path], root_mode: int, subject: str) -> Iterator[tuple[bytes, str]]:
    """(path, why); b"" is the root. layers: of one image, topmost first; root_mode: of its root directory."""
    if root_mode & stat.S_IWOTH:
        yield b"", "is writable for everybody"
    with opened(layers) as roots:
        for found in walk(roots, subject, is_merged=True):
            yield from ((found.path, why) for why in _of(found))


def _of(found: Found) -> Iterator[str]:
    mode = found.status.st_mode
    if found.is_directory:
        if found.path in _SYSTEM and mode & stat.S_IWOTH:
            yield "is writable for everybody"
        return
    if not stat.S_ISREG(mode):
        return
    if mode & stat.S_ISUID:
        yield f"is set-user-id {found.status.st_uid or 'root'}"
    elif mode & stat.S_ISGID and mode & stat.S_IXGRP:
        yield f"is set-group-id {found.status.st_gid or 'root'}"
    if mode & 0o111 and found.xattr(_CAPABILITY) is not None:
        yield "has capabilities of its own"
    if found.path in _ACCOUNTS:
        yield from (f"user {name} has an empty password" for name in _without_password(found))


def _without_password(found: Found) -> Iterator[str]:
    """passwd(5), shadow(5): the second field, where an empty one asks for no password."""
    descriptor = found.open()
    try:
        data = os.read(descriptor, _MAX_ACCOUNTS_BYTES)
    finally:
        os.close(descriptor)
    for line in data.splitlines():
        fields = line.split(b":")
        if len(fields) > 1 and fields[0] and not fields[1]:
            yield fields[0][:64].decode("ascii", "backslashreplace")
