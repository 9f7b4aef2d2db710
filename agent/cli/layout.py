"""An OCI archive, as the agent sends it, into a directory: an OCI image layout.

Called by `setpoint image save --format oci-layout`. Only the names that a layout has are made, whatever the
archive says; `index.json` comes last, so that half of a directory is none.
"""

from __future__ import annotations

import contextlib
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from runtime.errors import Conflict, Invalid

_NAME = re.compile(r"oci-layout|index\.json|blobs/sha256/[0-9a-f]{64}")
_CHUNK_BYTES = 1 << 20
INDEX = "index.json"


class Pieces:
    """Bytes as they come, as a file to read from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        found, need = [self._rest], size - len(self._rest)
        while need > 0 or size < 0:
            piece = next(self._pieces, None)
            if piece is None:
                break
            found.append(piece)
            need -= len(piece)
        data = b"".join(found)
        end = len(data) if size < 0 else size
        self._rest = data[end:]
        return data[:end]


def write_layout(directory: Path, pieces: Iterator[bytes]) -> None:
    """`Conflict` when the directory holds something. What was written is removed when it fails."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise Conflict("save image", str(directory), "it is there and not empty", "name another directory")
    made: list[Path] = []
    try:
        (directory / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        index = b""
        for name, archive, member in _members(pieces):
            if name == INDEX:
                index = _read(archive, member)
                continue
            made.append(directory / name)
            with made[-1].open("xb") as file:
                _copy(archive, member, file)
        made.append(directory / INDEX)
        made[-1].write_bytes(index)
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        for path in (directory / "blobs" / "sha256", directory / "blobs", directory):
            with contextlib.suppress(OSError):
                path.rmdir()
        raise


def _members(pieces: Iterator[bytes]) -> Iterator[tuple[str, tarfile.TarFile, tarfile.TarInfo]]:
    reader = Pieces(pieces)
    file = cast("IO[bytes]", reader)  # only its read() is called
    with tarfile.open(fileobj=file, mode="r|", bufsize=_CHUNK_BYTES) as archive:
        for member in archive:
            if member.isdir():
                continue
            if not member.isreg() or not _NAME.fullmatch(member.name):
                raise Invalid("save image", member.name[:80], "no name of an image layout")
            yield member.name, archive, member
    while reader.read(_CHUNK_BYTES):  # to the end that says that it was whole
        pass


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return file.read() if file else b""


def _copy(archive: tarfile.TarFile, member: tarfile.TarInfo, to: IO[bytes]) -> None:
    file = archive.extractfile(member)
    while file and (data := file.read(_CHUNK_BYTES)):
        to.write(data)
