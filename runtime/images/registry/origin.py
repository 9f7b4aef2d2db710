"""A host that may have an image, and who we are to it. Costs nothing to import."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.images.registry.credentials import Credential
from runtime.images.registry.endpoints import Endpoint


@dataclass(frozen=True, slots=True)
class Origin:
    """credential: None asks as anybody."""

    endpoint: Endpoint
    credential: Credential | None = None
