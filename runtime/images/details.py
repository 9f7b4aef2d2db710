"""All that is known of an image that is here: its documents, its layers packed and unpacked, its history.

Called for `setpoint image inspect` and `history`. Reads the store and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.images.config import parse_diff_ids
from runtime.images.content import Content
from runtime.images.documents import parse_json, parse_manifest
from runtime.images.history import Step, read_history
from runtime.images.index import Record
from runtime.images.layers import Layers


@dataclass(frozen=True, slots=True)
class LayerDetails:
    """size_bytes: unpacked, 0 when it is not. packed_bytes: as its registry has it; is_kept: so are we."""

    diff_id: str
    digest: str
    media_type: str
    size_bytes: int
    packed_bytes: int
    is_kept: bool


@dataclass(frozen=True, slots=True)
class ImageDetails:
    """config: the image's own, as it stands. Layers and history lowest first."""

    id: str
    digest: str
    source_digest: str
    media_type: str
    config: Mapping[str, Any]
    layers: tuple[LayerDetails, ...]
    history: tuple[Step, ...]


def read_details(root: Path, record: Record) -> ImageDetails:
    """`NotFound`, `Invalid` for an image that is damaged."""
    content, layers = Content(root), Layers(root)
    config = parse_json(content.read_document(record.image_id), record.image_id[:19])
    manifest = parse_manifest(content.read_document(record.digest), "", record.digest[:19])
    diff_ids = parse_diff_ids(config, record.image_id[:19])
    found = []
    for position, (diff_id, packed) in enumerate(zip(diff_ids, manifest.layers, strict=False)):
        unpacked = layers.find(diff_ids, position)
        found.append(
            LayerDetails(
                diff_id, packed.digest, packed.media_type, unpacked.record.size_bytes if unpacked else 0,
                packed.size, content.size(packed.digest) == packed.size,
            )
        )  # fmt: skip
    return ImageDetails(
        record.image_id, record.digest, record.source_digest, record.media_type, config, tuple(found),
        read_history(config, diff_ids),
    )  # fmt: skip
