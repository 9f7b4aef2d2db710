"""What one scoped socket lets its clients do, as a value. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scope:
    """name: of the socket's object."""

    name: str
