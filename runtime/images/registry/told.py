"""What a registry tells, as values and words that others look for. Imports nothing that speaks to one: the
agent shows these, and its workers speak.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DENIED = "the registry does not let us in"  # how the reason of an `Invalid` begins, after a login that failed


@dataclass(frozen=True, slots=True)
class FoundRepository:
    """name: familiar, as it is pulled. stars: -1 where the registry counts none."""

    name: str
    description: str = ""
    stars: int = -1
    is_official: bool = False


@dataclass(frozen=True, slots=True)
class RemoteDigest:
    """digest: what the registry has under that name now, an index's where it is one."""

    digest: str


@dataclass(frozen=True, slots=True)
class RemoteImage:
    """source_digest: of the index that the manifest was chosen from, or "". size_bytes: packed."""

    name: str
    digest: str
    source_digest: str
    media_type: str
    size_bytes: int
    layers: tuple[Mapping[str, Any], ...]
    platforms: tuple[str, ...]
    config: Mapping[str, Any]
    config_digest: str


@dataclass(frozen=True, slots=True)
class RemoteDescriptor:
    """What the registry has under a name, an index where it is one. platforms: as
    `documents.Platform` has them."""

    digest: str
    media_type: str
    size_bytes: int
    platforms: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class RemoteSignatures:
    """signatures: as `facts.signature_to_json` has them. failure: why the registry itself did not say all
    that there are, as `error_view` has it, or None."""

    signatures: tuple[Mapping[str, str], ...]
    failure: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class RemoteTag:
    name: str
