"""What a push did: the value, apart from it because importing it costs nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pushed:
    """name: familiar. digest: of the manifest, which the registry has under that name now. The rest counts
    blobs: sent, taken from another repository of the registry, and there already. sent_bytes: packed."""

    name: str
    digest: str
    sent: int
    mounted: int
    there: int
    sent_bytes: int
