"""How far a load is: the value that loads report, apart from them because importing it costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

LAYER, EXISTS, MOUNTED = "layer", "exists", "mounted"
"""Steps that are told once for each layer: it is to be fetched; it is there already; the registry has taken
it from another repository of its own."""

NAMED = "named"
"""Once for each name that an archive gave to an image, in its familiar form, when it has it."""

WRITTEN = "written"
"""Of a commit: the container's files are not read any more."""


@dataclass(frozen=True, slots=True)
class Progress:
    """step: "fetch", "copy", "write" (what is read of a container), "unpack", "send" or "sync", or one of
    those above; subject: a layer's digest or member. Bytes are packed."""

    step: str
    subject: str
    done_bytes: int
    total_bytes: int


Report = Callable[[Progress], None]
