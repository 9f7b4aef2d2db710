"""What a stage has come to after each step: a root made of layers, and how it came about. Pure values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer in the store. key: names its tree (`layers.Layers`). size_bytes: packed."""

    diff_id: str
    digest: str
    size_bytes: int
    media_type: str
    key: str


@dataclass(frozen=True, slots=True)
class State:
    """key: what it was made of, by content alone: equal keys, equal roots. history: OCI's objects; those
    without a time have the image's. document: the base's config, for what a build does not know of."""

    key: str = ""
    layers: tuple[Layer, ...] = ()
    history: tuple[Mapping[str, Any], ...] = ()
    document: Mapping[str, Any] | None = None

    @property
    def diff_ids(self) -> tuple[str, ...]:
        return tuple(layer.diff_id for layer in self.layers)


def key_of(kind: str, *parts: object) -> str:
    """64 hex digits for what a step is made of. Parts: strings, numbers, None, lists and mappings of them."""
    text = json.dumps([VERSION, kind, *parts], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


VERSION = 1
"""Of the keys. Goes up when steps come to do something else: then nothing that is cached counts."""
