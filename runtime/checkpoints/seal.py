"""Checkpoints outside of our own directories: copied there with a seal, and taken back only with it.

CRIU makes what its images say with root's rights: other users, open files of the host, no namespaces. So only
images that this instance wrote, unchanged, are ever given to it. The seal is an HMAC over every file's name
and content; its key never leaves the instance's data directory, and what is checked is a private copy.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import stat
from pathlib import Path

from runtime import disk
from runtime.errors import Conflict, Invalid

NAME = "checkpoint.seal"
KEY_BYTES = 32
MAX_FILES = 100_000
_PIECE = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def read_key(path: Path) -> bytes:
    """The instance's key, which is made at the first use. OSError."""
    with contextlib.suppress(FileNotFoundError):
        key = path.read_bytes()
        if len(key) == KEY_BYTES:
            return key
    key = os.urandom(KEY_BYTES)
    temporary = path.with_name(f".{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    fd = os.open(temporary, _WRITE, 0o600)
    try:
        disk.write_all(fd, key)
        os.fsync(fd)
    finally:
        os.close(fd)
    temporary.rename(path)
    return key


def copy_out(source: str, target: int, key: bytes) -> None:
    """Every file of the directory source into target, an open empty directory, and the seal last. OSError."""
    place = os.open(source, _DIRECTORY)
    try:
        seal = _copy(place, target, key)
    finally:
        os.close(place)
    fd = os.open(NAME, _WRITE, 0o600, dir_fd=target)
    try:
        disk.write_all(fd, seal.encode())
        os.fsync(fd)
    finally:
        os.close(fd)


def copy_in(source: int, target: str, key: bytes, name: str) -> None:
    """The inverse: from an open directory that anybody may write to, into an own and empty one, which is only
    to be used when this returns. Conflict unless it is just what `copy_out` wrote. OSError."""
    claimed = _read_seal(source)
    place = os.open(target, _DIRECTORY)
    try:
        seal = _copy(source, place, key)
    finally:
        os.close(place)
    if not hmac.compare_digest(seal.encode(), claimed):
        raise Conflict(
            "start", "", f"checkpoint {name} is not as this instance wrote it",
            "only checkpoints that were made here, and not changed since, can be started from",
        )  # fmt: skip


def _read_seal(directory: int) -> bytes:
    try:
        fd = os.open(NAME, _READ, dir_fd=directory)
    except OSError:
        return b""
    try:
        return os.read(fd, 2 * hashlib.sha256().digest_size) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)


def _copy(source: int, target: int, key: bytes) -> str:
    """Copy the files and say what was copied: nothing is read twice."""
    whole = hmac.new(key, b"setpoint checkpoint 1\n", "sha256")
    names = sorted(set(os.listdir(source)) - {NAME})
    if len(names) > MAX_FILES:
        raise Invalid("copy checkpoint", "", f"it has over {MAX_FILES} files")
    for name in names:
        content = _copy_file(name, source, target)
        whole.update(_framed(os.fsencode(name)) + content)
    return whole.hexdigest()


def _framed(name: bytes) -> bytes:
    return len(name).to_bytes(4, "big") + name


def _copy_file(name: str, source: int, target: int) -> bytes:
    """Its content's digest. Invalid for what is no file: a checkpoint has no others."""
    try:
        reader = os.open(name, _READ, dir_fd=source)
    except OSError as error:
        raise Invalid("copy checkpoint", "", f"{name!r}: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(reader).st_mode):
            raise Invalid("copy checkpoint", "", f"{name!r} is not a file")
        writer = os.open(name, _WRITE, 0o600, dir_fd=target)
        try:
            return _pour(reader, writer)
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def _pour(reader: int, writer: int) -> bytes:
    digest = hashlib.sha256()
    while piece := os.read(reader, _PIECE):
        digest.update(piece)
        disk.write_all(writer, piece)
    os.fsync(writer)
    return digest.digest()
