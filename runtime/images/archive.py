"""Where an archive's members are: a directory, or a tar file that is read where it lies.

    open_source(path) ─> Source: size(name), open(name), read(name, max_bytes)

Called by `formats`, which knows what the members mean. A tar is indexed once by its headers and read
by position, never extracted; a packed one, or a pipe, is first unpacked into the staging directory.
Names inside are data: no link of an archive is ever followed on disk.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runtime.errors import Invalid, NotFound, Unsupported
from runtime.images.content import Reader, write_all
from runtime.images.limits import DEFAULT_LIMITS, Limits
from runtime.images.streams import MAGIC_BYTES, ByteStream, detect_packing, unpack_chunks
from runtime.images.tarheaders import BLOCK_BYTES, read_entries
from runtime.syscalls import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2

_MAX_LINKS = 8  # from member to member, as docker save writes them
_RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS


class Source(Protocol):
    """The members of an archive by name."""

    @property
    def subject(self) -> str: ...
    def size(self, name: str) -> int | None:
        """Bytes of a regular member, or None when there is none of that name."""

    def open(self, name: str) -> contextlib.AbstractContextManager[Reader]:
        """`NotFound` when there is none."""


def read_member(source: Source, name: str, max_bytes: int) -> bytes:
    """All of a small member. `Invalid` when it is longer, `NotFound` when it is not there."""
    size = source.size(name)
    if size is not None and size > max_bytes:
        raise Invalid("load image", source.subject, f"{name[:200]!r} is longer than {max_bytes} bytes")
    with source.open(name) as reader:
        parts = []
        while chunk := reader.read(max_bytes + 1):
            parts.append(chunk)
    return b"".join(parts)


@contextlib.contextmanager
def open_source(path: Path, staging: Path, limits: Limits = DEFAULT_LIMITS) -> Iterator[Source]:
    """Open a layout directory or a tar, plain or packed, file or pipe."""
    subject = str(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        kind = NotFound if error.errno in (errno.ENOENT, errno.ENOTDIR) else Invalid
        raise kind("load image", subject, os.strerror(error.errno or 0)) from None
    try:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            yield DirectorySource(descriptor, subject)
        else:
            plain = _plain_file(descriptor, subject, staging, limits)
            try:
                yield TarSource(plain, subject, index_tar(plain, subject, limits))
            finally:
                if plain != descriptor:
                    os.close(plain)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class DirectorySource:
    """An OCI image layout on disk. Links in it are refused, so that it shows nothing but itself."""

    directory: int
    subject: str

    def size(self, name: str) -> int | None:
        descriptor = self._open(name)
        if descriptor is None:
            return None
        try:
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[Reader]:
        descriptor = self._open(name)
        if descriptor is None:
            raise _missing(self.subject, name)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            yield file

    def _open(self, name: str) -> int | None:
        try:  # O_NONBLOCK: a FIFO of that name must not hold the load up
            descriptor = openat2(self.directory, name, os.O_RDONLY | os.O_NONBLOCK, resolve=_RESOLVE)
        except (OSError, ValueError):
            return None
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        return None


@dataclass(frozen=True, slots=True)
class Member:
    """Where a regular member lies in the tar, or what a link member points to."""

    offset: int
    size: int
    link: str = ""


@dataclass(frozen=True, slots=True)
class TarSource:
    descriptor: int
    subject: str
    members: Mapping[str, Member]

    def size(self, name: str) -> int | None:
        member = self._find(name)
        return member.size if member else None

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[Reader]:
        member = self._find(name)
        if member is None:
            raise _missing(self.subject, name)
        yield Slice(self.descriptor, member.offset, member.size)

    def _find(self, name: str) -> Member | None:
        for _ in range(_MAX_LINKS):
            member = self.members.get(name)
            if member is None or not member.link:
                return member
            name = member.link
        return None


class Slice:
    """A part of a file as a reader, by pread(2): several may read one descriptor."""

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        self._descriptor = descriptor
        self._at = offset
        self._end = offset + size

    def read(self, n: int = -1, /) -> bytes:
        left = self._end - self._at
        data = os.pread(self._descriptor, left if n < 0 else min(n, left), self._at)
        self._at += len(data)
        return data


def index_tar(descriptor: int, subject: str, limits: Limits = DEFAULT_LIMITS) -> dict[str, Member]:
    """The members of a plain tar by their clean names. A name that leads out is no member of ours."""
    size = os.fstat(descriptor).st_size
    stream = _SeekingStream(descriptor, size)
    members: dict[str, Member] = {}
    for entry in read_entries(stream, subject, limits):
        name = _member_name(entry.name, "")
        if name is None:
            continue
        if entry.holes is not None:
            raise Unsupported(
                "load image", subject, f"{name[:200]!r} is a sparse file", "make the archive without --sparse"
            )  # fmt: skip
        if entry.kind == "file":
            if stream.position + entry.size > size:
                raise Invalid("load image", subject, f"ends inside {name[:200]!r}", "the file was cut off")
            members[name] = Member(stream.position, entry.size)
        elif entry.kind in ("symlink", "hardlink"):
            above = name.rpartition("/")[0] if entry.kind == "symlink" else ""
            target = _member_name(entry.link, above)
            if target is not None:
                members[name] = Member(0, 0, target)
    return members


class _SeekingStream(ByteStream):
    """A ByteStream over a seekable file that jumps over data instead of reading it."""

    def __init__(self, descriptor: int, size: int) -> None:
        super().__init__(iter(()))
        self._descriptor = descriptor
        self._offset = 0
        self._size = size

    @property
    def position(self) -> int:
        return self._offset

    def read(self, size: int) -> bytes:
        data = os.pread(self._descriptor, size, self._offset)
        self._offset += len(data)
        return data

    def skip(self, size: int) -> int:
        skipped = min(size, self._size - self._offset)
        self._offset += skipped
        return skipped


def _member_name(name: bytes, above: str) -> str | None:
    """`./blobs//x` is `blobs/x`; None for what leaves the archive or is no text."""
    parts: list[str] = above.split("/") if above else []
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return None
    if text.startswith("/"):
        return None
    for part in text.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts) or None


def _plain_file(descriptor: int, subject: str, staging: Path, limits: Limits) -> int:
    """The descriptor itself, or that of an unpacked copy that has no name any more."""
    seekable = stat.S_ISREG(os.fstat(descriptor).st_mode)
    if seekable and not detect_packing(os.pread(descriptor, MAGIC_BYTES, 0)):
        return descriptor
    copy = os.open(staging, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(os.dup(descriptor), "rb", buffering=0) as file:
            for chunk in unpack_chunks(file, subject, limits):
                write_all(copy, chunk)
        if os.fstat(copy).st_size < BLOCK_BYTES:
            raise Invalid("load image", subject, "holds no tar archive")
    except BaseException:
        os.close(copy)
        raise
    return copy


def _missing(subject: str, name: str) -> NotFound:
    return NotFound("load image", subject, f"it holds no {name[:200]!r}", "the archive is incomplete")
