"""What a worker does with the layers of a container's root: all of it as a tar, and what was changed.

Called by the worker, bound to these directories; the caller has opened them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from runtime.copies.outlet import Outlet
from runtime.images.root_diff import changes_of
from runtime.images.root_files import export_opened

_PIECE_BYTES = 32 * 1024  # of paths, in one line


def export(roots: Sequence[int], pipe: int, name: str) -> None:
    """roots: topmost first. OSError (EPIPE) of a reader that went away."""
    outlet = Outlet(pipe)
    export_opened(roots, outlet.write, name, outlet.send)
    outlet.flush()


def diff(roots: Sequence[int], name: str) -> Iterator[list[tuple[str, str]]]:
    """(kind, path), sorted by path, some at once."""
    piece: list[tuple[str, str]] = []
    size = 0
    for change in changes_of(roots, name):
        piece.append((change.kind, os.fsdecode(change.path)))
        size += len(change.path)
        if size >= _PIECE_BYTES:
            yield piece
            piece, size = [], 0
    yield piece
