"""Manifests and indexes of images, OCI and Docker: JSON from outside to checked values. Pure.

    index ──> descriptor ──> manifest ──> config (a descriptor) + layers (descriptors, lowest first)

Called by the archive reader and by the store when it reads its own blobs. A document decides nothing
that its descriptor denies: media types must agree, digests are checked by the caller before parsing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runtime.errors import Invalid, Unsupported
from runtime.images.reference import is_digest

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
CONFIG_TYPES = frozenset({OCI_CONFIG, DOCKER_CONFIG})
LAYER_TYPES = frozenset(
    base + packing
    for base in (
        OCI_LAYER, "application/vnd.oci.image.layer.nondistributable.v1.tar",
        DOCKER_LAYER, "application/vnd.docker.image.rootfs.foreign.diff.tar",
    )
    for packing in ("", "+gzip", "+zstd", ".gzip", ".zstd")
)  # fmt: skip

MAX_LAYERS = 128
MAX_SIZE = 1 << 50
_NESTING_HINT = "the archive is damaged or was made to harm"


@dataclass(frozen=True, slots=True)
class Platform:
    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A pointer to a blob: what it is, what it must hash to, and how long it is."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    config: Descriptor
    layers: tuple[Descriptor, ...]


def parse_json(data: bytes, what: str) -> dict[str, Any]:
    """A JSON object. `Invalid` for anything else, nesting that exhausts the parser included."""
    value = _parse_any(data, what)
    if not isinstance(value, dict):
        raise Invalid("read image", what, "not a JSON object")
    return value


def parse_json_list(data: bytes, what: str) -> list[Any]:
    """A JSON array. `Invalid` for anything else."""
    value = _parse_any(data, what)
    if not isinstance(value, list):
        raise Invalid("read image", what, "not a JSON array")
    return value


def _parse_any(data: bytes, what: str) -> Any:
    try:
        return json.loads(data, parse_constant=_refuse_constant)
    except RecursionError:
        raise Invalid("read image", what, "nested too deeply", _NESTING_HINT) from None
    except ValueError as error:
        raise Invalid("read image", what, f"not JSON: {error}", "the archive is damaged") from None


def parse_index(data: bytes, descriptor_type: str, what: str) -> tuple[Descriptor, ...]:
    """The manifests that an index lists. descriptor_type "" is the archive's own index.json."""
    value = parse_json(data, what)
    _check_type(value, descriptor_type, INDEX_TYPES, what)
    entries = value.get("manifests")
    if not isinstance(entries, list) or "layers" in value or "config" in value:
        raise Invalid("read image", what, "not an image index", _NESTING_HINT)
    return tuple(parse_descriptor(entry, what) for entry in entries)


def parse_manifest(data: bytes, descriptor_type: str, what: str) -> Manifest:
    value = parse_json(data, what)
    _check_type(value, descriptor_type, MANIFEST_TYPES, what)
    layers = value.get("layers")
    if not isinstance(layers, list) or "manifests" in value:
        raise Invalid("read image", what, "not an image manifest", _NESTING_HINT)
    if len(layers) > MAX_LAYERS:
        raise Invalid("read image", what, f"has {len(layers)} layers, {MAX_LAYERS} is the most")
    config = parse_descriptor(value.get("config"), what)
    if config.media_type not in CONFIG_TYPES:
        raise Unsupported(
            "read image", what, f"not a container image: its config is {config.media_type[:100]!r}"
        )
    return Manifest(config, tuple(_parse_layer(layer, what) for layer in layers))


def parse_descriptor(value: object, what: str) -> Descriptor:
    if not isinstance(value, dict):
        raise Invalid("read image", what, "a descriptor is not an object")
    media_type, digest, size = value.get("mediaType"), value.get("digest"), value.get("size")
    if not isinstance(media_type, str) or not isinstance(digest, str) or not is_digest(digest):
        raise Invalid("read image", what, f"a descriptor has no valid digest: {str(digest)[:100]!r}")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_SIZE:
        raise Invalid("read image", what, f"a descriptor has no valid size: {str(size)[:40]!r}")
    return Descriptor(
        media_type, digest, size, _parse_platform(value.get("platform")), _strings(value.get("annotations"))
    )


def choose_platform(entries: tuple[Descriptor, ...], host: Platform, what: str) -> Descriptor:
    """The entry that runs here best. `Unsupported` names what there is instead."""
    images = [entry for entry in entries if not _is_attestation(entry)]
    ranked = [(rank, entry) for entry in images if (rank := _rank(entry.platform, host)) is not None]
    if not ranked:
        there = _shown(sorted({str(entry.platform) for entry in images})) or "nothing"
        raise Unsupported("read image", what, f"made for {there}, not for {host}", "get it for this platform")
    return min(ranked, key=lambda pair: pair[0])[1]


def _shown(words: list[str]) -> str:
    """In one short line, whatever they are: they come from outside."""
    return ", ".join(word if word.isprintable() else repr(word) for word in words)[:200]


def _rank(platform: Platform | None, host: Platform) -> int | None:
    """Lower is better; None does not run here."""
    if platform is None:
        return 2
    if (platform.os, platform.architecture) != (host.os, host.architecture):
        return None
    if platform.variant == host.variant:
        return 0
    if host.architecture == "arm":  # an older variant runs on a newer processor, not the other way round
        return 1 if "" < platform.variant < host.variant or not platform.variant else None
    return 1


def _is_attestation(entry: Descriptor) -> bool:
    return "vnd.docker.reference.type" in entry.annotations or (
        entry.platform is not None and entry.platform.os == "unknown"
    )


def _parse_layer(value: object, what: str) -> Descriptor:
    layer = parse_descriptor(value, what)
    if layer.media_type not in LAYER_TYPES:
        raise Unsupported("read image", what, f"a layer of the kind {layer.media_type[:100]!r}")
    return layer


def _parse_platform(value: object) -> Platform | None:
    if not isinstance(value, dict):
        return None
    fields = [value.get(key, "") for key in ("os", "architecture", "variant")]
    return Platform(*(text if isinstance(text, str) else "" for text in fields))


def _check_type(value: dict[str, Any], descriptor_type: str, allowed: frozenset[str], what: str) -> None:
    """The document and the descriptor that led to it must agree on what it is (CVE-2021-41190)."""
    own = value.get("mediaType", descriptor_type)
    is_allowed = isinstance(own, str) and (own in allowed or own == "")
    if not is_allowed or (descriptor_type and own != descriptor_type):
        raise Invalid("read image", what, f"unexpected media type {str(own)[:100]!r}", _NESTING_HINT)
    if value.get("schemaVersion") != 2:
        raise Invalid("read image", what, "not of schema version 2", "build or save the image again")


def _strings(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {key: text for key, text in value.items() if isinstance(text, str)}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
