"""Archives that ADD unpacks, and contexts that come as a tar: into a directory of the build's own.

The extractor is that of layers, with its bounds: what it makes is copied from there like any other tree.
"""

from __future__ import annotations

import io
from pathlib import Path

from runtime.errors import SetpointError
from runtime.images.layers import TREE, unpack_layer
from runtime.images.limits import DEFAULT_LIMITS
from runtime.images.streams import unpack_chunks
from runtime.images.tarheaders import BLOCK_BYTES, HEADER

_CHECKSUM = slice(148, 156)


def is_archive(path: Path) -> bool:
    """Whether it is a tar, plain or packed by gzip, bzip2, xz or zstd: by its content, whatever its name."""
    try:
        with path.open("rb") as file:
            head = b""
            for chunk in unpack_chunks(file, str(path), DEFAULT_LIMITS):
                head += bytes(chunk[:BLOCK_BYTES])
                if len(head) >= BLOCK_BYTES:
                    break
    except (SetpointError, OSError, EOFError):
        return False
    return _is_header(head[:BLOCK_BYTES])


def _is_header(block: bytes) -> bool:
    if len(block) < BLOCK_BYTES or not any(block):
        return False
    HEADER.unpack(block)
    said = block[_CHECKSUM].strip(b" \0")
    try:
        number = int(said, 8)
    except ValueError:
        return False
    rest = block[: _CHECKSUM.start] + b" " * 8 + block[_CHECKSUM.stop :]
    return number == sum(rest)


def unpack(path: Path, directory: Path) -> Path:
    """The tree of an archive, below a new directory. `Invalid` for one that is damaged or hostile."""
    with path.open("rb") as file:
        return unpack_stream(file, directory)


def unpack_stream(file: io.BufferedIOBase, directory: Path) -> Path:
    unpack_layer(file, directory, "archive")
    return directory / TREE
