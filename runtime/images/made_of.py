"""What an image is made of, by its documents. Each is read and checked once: what has a digest never changes.

Called by who takes away what nobody needs, and who counts what images take: both ask about all images.
NotFound and Invalid, for a document that is gone or damaged before it was read, are not remembered.
"""

from __future__ import annotations

import functools

from runtime.images.config import parse_diff_ids
from runtime.images.content import Content
from runtime.images.documents import parse_json, parse_manifest

_MOST = 4096  # some hundred bytes each


@functools.lru_cache(_MOST)
def diff_ids_of(content: Content, image_id: str) -> tuple[str, ...]:
    what = image_id[:19]
    return tuple(parse_diff_ids(parse_json(content.read_document(image_id), what), what))


@functools.lru_cache(_MOST)
def packed_layers_of(content: Content, manifest_digest: str) -> tuple[str, ...]:
    """Their digests, lowest first."""
    manifest = parse_manifest(content.read_document(manifest_digest), "", manifest_digest[:19])
    return tuple(layer.digest for layer in manifest.layers)
