"""What no image needs any more: a pure value from what is there and what is wanted.

Called by the store after names were taken away. Not knowing is never not wanting: the caller gives
`None` for an image whose documents cannot be read, and then nothing is garbage.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Holdings:
    """Digests of blobs, and keys of unpacked layers."""

    blobs: frozenset[str] = frozenset()
    layers: frozenset[str] = frozenset()


def find_garbage(present: Holdings, needs: Iterable[Holdings | None]) -> Holdings:
    """What is present and that no image needs."""
    blobs: set[str] = set()
    layers: set[str] = set()
    for need in needs:
        if need is None:
            return Holdings()
        blobs |= need.blobs
        layers |= need.layers
    return Holdings(present.blobs - blobs, present.layers - layers)
