"""Makes an image of the tar of a root file system: what `import` needs and `load` does not.

Called by the loader. The image's time is the file's, so that the same file makes the same image.
"""

from __future__ import annotations

import datetime
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import Invalid, NotFound
from runtime.images.content import Blob, ingest
from runtime.images.documents import Platform
from runtime.images.limits import Limits
from runtime.images.reference import Reference
from runtime.images.streams import MAGIC_BYTES, detect_packing, unpack_chunks


def ingest_rootfs(path: Path, part: Path, limits: Limits) -> tuple[Blob, float]:
    """Copy the tar into the file `part`. Layers are plain, gzip or zstd: xz and bzip2 become plain."""
    try:
        file = path.open("rb")
    except OSError as error:
        kind = NotFound if isinstance(error, FileNotFoundError) else Invalid
        raise kind("import image", str(path), os.strerror(error.errno or 0)) from None
    with file:
        status = os.fstat(file.fileno())
        created_at = status.st_mtime if stat.S_ISREG(status.st_mode) else 0.0
        if detect_packing(file.peek(MAGIC_BYTES)[:MAGIC_BYTES]) in ("xz", "bzip2"):
            return ingest(ChunkReader(unpack_chunks(file, str(path), limits)), part), created_at
        return ingest(file, part), created_at


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an import is to make. name: None for an image without one. config: the inner object of an image
    config: Cmd, Env, WorkingDir, ... comment: of its history, "" for our own."""

    name: Reference | None
    config: Mapping[str, object]
    platform: Platform
    comment: str = ""


def rootfs_config(wanted: Wanted, diff_id: str, created_at: float) -> bytes:
    """The config document."""
    created = datetime.datetime.fromtimestamp(int(created_at), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    document = {
        "created": created,
        "architecture": wanted.platform.architecture,
        **({"variant": wanted.platform.variant} if wanted.platform.variant else {}),
        "os": wanted.platform.os,
        "config": dict(wanted.config),
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": created, "comment": wanted.comment or "imported root file system"}],
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


class ChunkReader:
    """Chunks as a reader; each read gives one chunk, however long."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def read(self, n: int = -1, /) -> bytes:
        return next(self._chunks, b"")
