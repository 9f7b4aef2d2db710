"""The cache of builds by way of a registry: an image whose layers are those of steps, and whose config says
which step each is of.

    export ─> image NAME ─ push ─> registry ─ pull ─> image NAME ─ take_in ─> entries of the cache

A registry that is named for this is trusted with what it says that steps come to: nothing is ever taken in of
an image that was not named so. Its layers are checked as those of any image.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.errors import Invalid, NotFound
from runtime.images.build.cache import Cache, Cached, is_key
from runtime.images.build.states import Layer
from runtime.images.config import parse_diff_ids
from runtime.images.content import Content
from runtime.images.documents import Platform, parse_json, parse_manifest
from runtime.images.formats import layer_type
from runtime.images.index import locked, read_index
from runtime.images.layers import Layers

FIELD = "setpoint.build.cache"
MAX_ENTRIES = 10_000
MAX_LAYERS = 120  # an image has at most 127


def export_document(used: Mapping[str, Cached], platform: Platform) -> tuple[bytes, tuple[Layer, ...]]:
    """The config and the layers of an image that carries these entries, in order of use; the last ones, where
    there are more than an image can have."""
    entries = list(used.items())
    layers: dict[str, Layer] = {}
    told: dict[str, Any] = {}
    for key, cached in reversed(entries):
        if cached.layer is not None:
            if cached.layer.diff_id not in layers and len(layers) >= MAX_LAYERS:
                continue
            layers[cached.layer.diff_id] = cached.layer
        told[key] = [cached.layer.diff_id if cached.layer else None, cached.created]
    document = {
        "architecture": platform.architecture, "os": platform.os, "config": {},
        "rootfs": {"type": "layers", "diff_ids": list(layers)}, FIELD: told,
    }  # fmt: skip
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode(), tuple(layers.values())


def take_in(root: Path, image_id: str) -> int:
    """Entries of an image that is here, into the cache; how many. `Invalid` for one that carries none."""
    content, cache = Content(root), Cache(root)
    document = parse_json(content.read_document(image_id), image_id[:19])
    told = document.get(FIELD)
    if not isinstance(told, dict) or len(told) > MAX_ENTRIES:
        raise Invalid("read cache", image_id[:19], "it carries no cache of builds", "--cache-to makes one")
    layers = _layers(root, image_id, parse_diff_ids(document, image_id[:19]))
    with locked(root):
        count = 0
        for key, value in told.items():
            cached = _cached(value, layers)
            if is_key(key) and cached is not None and cache.get(key) is None:
                cache.put(key, cached)
                count += 1
    return count


def _layers(root: Path, image_id: str, diff_ids: tuple[str, ...]) -> dict[str, Layer]:
    """By diff id; those alone that stand by themselves, whatever is below them."""
    record = next(iter(read_index(root).of_image(image_id)), None)
    if record is None:
        raise NotFound("read cache", image_id[:19], "it is gone", "")
    manifest = parse_manifest(Content(root).read_document(record.digest), "", record.digest[:19])
    trees = Layers(root)
    found = {}
    for diff_id, packed in zip(diff_ids, manifest.layers, strict=True):
        known = trees.read(diff_id)
        if known is not None and known.diff_id == diff_id and not known.has_implicit:
            packing = next((name for name in ("gzip", "zstd") if packed.media_type.endswith(name)), "")
            found[diff_id] = Layer(diff_id, packed.digest, packed.size, layer_type(packing), diff_id)
    return found


def _cached(value: object, layers: Mapping[str, Layer]) -> Cached | None:
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[1], str) or len(value[1]) > 40:
        return None
    if value[0] is None:
        return Cached(None, value[1])
    layer = layers.get(value[0]) if isinstance(value[0], str) else None
    return Cached(layer, value[1]) if layer is not None else None
