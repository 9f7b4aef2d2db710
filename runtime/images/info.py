"""What is known of an image: apart from the model's other values, so that a process that only works on images
starts without those. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """An image in the store. id is the digest of its config; the rest are its config's fields."""

    id: str
    names: tuple[str, ...]
    size_bytes: int
    created_at: float
    architecture: str
    os: str
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    volumes: tuple[str, ...] = ()
    exposed_ports: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = ""
    healthcheck: Mapping[str, object] | None = None
    layers: tuple[str, ...] = ()  # diff ids, lowest first
    digest: str = ""  # of its manifest
