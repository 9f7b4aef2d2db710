"""A host that may have an image, and who we are to it. Costs nothing to import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from runtime.images.registry.credentials import ANYBODY, Credential
from runtime.images.registry.endpoints import Endpoint


@dataclass(frozen=True, slots=True)
class Origin:
    """credential: None asks as anybody."""

    endpoint: Endpoint
    credential: Credential | None = None


def asked_as(credential: Credential | None, origins: Sequence[Origin]) -> Sequence[Origin]:
    """The same origins, but that the registry itself, which comes last, is told this one: mirrors are not
    those that it was given for. None: all are told what is known here; ANYBODY: none is."""
    if credential is None or not origins:
        return origins
    if credential == ANYBODY:
        return tuple(replace(origin, credential=None) for origin in origins)
    return (*origins[:-1], replace(origins[-1], credential=credential))
