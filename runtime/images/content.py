"""Content by digest: the blobs of an instance's images, under `blobs/sha256/`.

A blob is either whole and what its name says, or it is not there: bytes are hashed while they stream
into a temporary file, and only a file with the right digest is renamed into place. Called by the
loader and by whoever reads a manifest or a config. Knows nothing of images; never follows a path
that comes from outside.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from runtime.errors import Invalid, NotFound
from runtime.images.reference import is_digest

MAX_DOCUMENT_BYTES = 4 * 1024 * 1024  # a manifest, an index or a config; what registries accept
CHUNK_BYTES = 1024 * 1024


class Reader(Protocol):
    """Bytes from an archive or a connection: at most n at a time, b"" at the end."""

    def read(self, n: int = -1, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Blob:
    """What was ingested: its digest, and its length in bytes."""

    digest: str
    size: int


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def checked_hex(digest: str) -> str:
    """The hex part of a digest, which is safe as a file's name. `Invalid` for anything else."""
    if not is_digest(digest):
        raise Invalid("read digest", repr(digest[:100]), "not sha256 and 64 lower-case hex digits")
    return digest[7:]


@dataclass(frozen=True, slots=True)
class Content:
    """The blobs below one directory."""

    root: Path

    def path(self, digest: str) -> Path:
        return self.root / "blobs" / "sha256" / checked_hex(digest)

    def size(self, digest: str) -> int | None:
        """Bytes on disk, or None when it is not there."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def digests(self) -> frozenset[str]:
        """The digests of all blobs that are whole."""
        try:
            found = {f"sha256:{path.name}" for path in (self.root / "blobs" / "sha256").iterdir()}
        except FileNotFoundError:
            return frozenset()
        return frozenset(filter(is_digest, found))

    def read_document(self, digest: str) -> bytes:
        """A JSON document, at most 4 MiB, checked against its digest. `NotFound`, `Invalid`."""
        try:
            with self.path(digest).open("rb") as file:
                data = file.read(MAX_DOCUMENT_BYTES + 1)
        except FileNotFoundError:
            raise NotFound("read blob", digest, "not in the store", "load the image again") from None
        if len(data) > MAX_DOCUMENT_BYTES:
            raise Invalid("read blob", digest, f"longer than {MAX_DOCUMENT_BYTES} bytes")
        if digest_of(data) != digest:
            raise Invalid(
                "read blob", digest, "damaged: its content has another digest", "load the image again"
            )
        return data

    def is_whole(self, digest: str) -> bool:
        """Read it all and compare: False when it is missing or damaged."""
        try:
            with self.path(digest).open("rb") as file:
                return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest() == digest
        except FileNotFoundError:
            return False

    def place(self, part: Path, digest: str) -> None:
        """Rename a checked, synced file into place. The caller syncs the directory."""
        target = self.path(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        part.rename(target)

    def remove(self, digest: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.path(digest).unlink()


def ingest(
    source: Reader,
    part: Path,
    *,
    expected_digest: str = "",
    expected_size: int | None = None,
    advance: Callable[[int], None] = lambda size: None,
) -> Blob:
    """Stream `source` into the new file `part`, hashing. The file is gone when the bytes are wrong.

    expected_digest "" takes any content. advance is told the bytes of each chunk.
    """
    hasher, size = hashlib.sha256(), 0
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            for chunk in _chunks(source):
                size += len(chunk)
                if expected_size is not None and size > expected_size:
                    break
                hasher.update(chunk)
                write_all(file.fileno(), chunk)
                advance(len(chunk))
        _check(Blob("sha256:" + hasher.hexdigest(), size), expected_digest, expected_size)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return Blob("sha256:" + hasher.hexdigest(), size)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """write(2) until all of it is written."""
    done = os.write(descriptor, data)
    while done < len(data):
        done += os.write(descriptor, memoryview(data)[done:])


def sync_directory(path: Path) -> None:
    """fsync(2) of a directory: a rename in it lasts only after this."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes) -> None:
    """Put a small file in place of another: after a crash there is the old one or the new one."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def _chunks(source: Reader) -> Iterator[bytes]:
    while chunk := source.read(CHUNK_BYTES):
        yield chunk


def _check(blob: Blob, digest: str, size: int | None) -> None:
    if size is not None and blob.size != size:
        shape = "longer" if blob.size > size else "shorter"
        raise Invalid(
            "read blob", digest, f"{shape} than the {size} bytes it is said to have", "the archive is damaged"
        )
    if digest and blob.digest != digest:
        raise Invalid(
            "read blob", digest, f"its content has the digest {blob.digest}", "the archive is damaged"
        )
