"""How far a load is: the value that loads report, apart from them because importing it costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """step: "fetch", "copy", "write" (what is read of a container), "unpack" or "sync"; subject: a layer's
    digest or member. Bytes are packed."""

    step: str
    subject: str
    done_bytes: int
    total_bytes: int


Report = Callable[[Progress], None]
