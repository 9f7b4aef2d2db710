"""What an archive holds: OCI image layouts, and what `docker save` writes, to one kind of value.

    Source ─> find_images ─> FoundImage, ...       (config and manifest checked; layers still packed)

Called by the loader. Where an archive is both, as `docker save` has written since version 25, the OCI
part counts, because there every byte has its digest. Writes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from runtime.errors import Invalid, SetpointError
from runtime.images.archive import Source, read_member
from runtime.images.config import parse_diff_ids
from runtime.images.content import MAX_DOCUMENT_BYTES, digest_of
from runtime.images.documents import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Platform,
    choose_platform,
    parse_index,
    parse_json,
    parse_json_list,
    parse_manifest,
)
from runtime.images.reference import Reference, parse_reference

CONTAINERD_NAME = "io.containerd.image.name"
OCI_NAME = "org.opencontainers.image.ref.name"
MAX_IMAGES = 1000
IMAGE_TYPES = INDEX_TYPES | MANIFEST_TYPES
_MAX_NESTING = 4  # indexes in indexes
_BARE_TAG = re.compile(r"latest|v?[0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class FoundLayer:
    """A packed layer of an archive. digest "" when the archive does not say it (docker save)."""

    member: str
    digest: str
    size: int | None
    diff_id: str


@dataclass(frozen=True, slots=True)
class FoundImage:
    """An image of an archive. manifest is b"" when it is the loader's to write (docker save).

    source_digest: of the index that the manifest was chosen from, else "".
    """

    names: tuple[Reference, ...]
    config: bytes
    layers: tuple[FoundLayer, ...]
    manifest: bytes = b""
    manifest_type: str = OCI_MANIFEST
    source_digest: str = ""


def find_images(source: Source, host: Platform) -> tuple[FoundImage, ...]:
    """All images of an archive that run here. `Invalid` when it is damaged or no image archive."""
    if source.size("oci-layout") is not None and source.size("index.json") is not None:
        return _find_oci(source, host)
    if source.size("manifest.json") is not None:
        return _find_docker(source)
    if source.size("repositories") is not None:
        raise _invalid(source, "saved by Docker before version 1.10", "save it again with a newer one")
    raise _invalid(
        source, "neither an OCI layout nor a docker archive",
        "for the tar of a root file system use `setpoint image import`",
    )  # fmt: skip


# --- OCI --------------------------------------------------------------------------------------


def _find_oci(source: Source, host: Platform) -> tuple[FoundImage, ...]:
    layout = parse_json(read_member(source, "oci-layout", MAX_DOCUMENT_BYTES), "oci-layout")
    if not str(layout.get("imageLayoutVersion", "")).startswith("1."):
        raise _invalid(source, "an image layout of an unknown version")
    entries = parse_index(read_member(source, "index.json", MAX_DOCUMENT_BYTES), "", "index.json")
    if len(entries) > MAX_IMAGES:
        raise _invalid(source, f"more than {MAX_IMAGES} images")
    images = [entry for entry in entries if entry.media_type in IMAGE_TYPES and not _is_attestation(entry)]
    return _merge(
        [(_read_oci(source, _choose(group, host, source), host), name) for name, group in _by_name(images)]
    )


def _by_name(entries: Iterable[Descriptor]) -> list[tuple[Reference | None, list[Descriptor]]]:
    """Entries of one name are one image for several platforms; nameless ones stand alone."""
    named: dict[Reference, list[Descriptor]] = {}
    nameless: list[tuple[Reference | None, list[Descriptor]]] = []
    for entry in entries:
        name = oci_name(entry)
        if name is None:
            nameless.append((None, [entry]))
        else:
            named.setdefault(name, []).append(entry)
    return [*named.items(), *nameless]


def oci_name(entry: Descriptor) -> Reference | None:
    """The name in the annotations: a full one, or one as skopeo writes it; a bare tag names nothing."""
    for key in (CONTAINERD_NAME, OCI_NAME):
        text = entry.annotations.get(key, "")
        if not text or (key == OCI_NAME and _BARE_TAG.fullmatch(text)):
            continue
        try:
            return parse_reference(text)
        except SetpointError:
            continue
    return None


def _choose(group: list[Descriptor], host: Platform, source: Source) -> Descriptor:
    return group[0] if len(group) == 1 else choose_platform(tuple(group), host, source.subject)


def _read_oci(source: Source, entry: Descriptor, host: Platform) -> FoundImage:
    top, source_digest = entry, ""
    for _ in range(_MAX_NESTING):
        data = _read_blob(source, entry)
        if entry.media_type not in INDEX_TYPES:
            break
        source_digest = top.digest
        entry = choose_platform(parse_index(data, entry.media_type, entry.digest[:19]), host, source.subject)
    else:
        raise _invalid(source, f"indexes nested more than {_MAX_NESTING} deep")
    manifest = parse_manifest(data, entry.media_type, entry.digest[:19])
    config = _read_blob(source, manifest.config)
    diff_ids = parse_diff_ids(parse_json(config, manifest.config.digest[:19]), manifest.config.digest[:19])
    if len(diff_ids) != len(manifest.layers):
        raise _invalid(source, f"{len(manifest.layers)} layers, but {len(diff_ids)} diff ids")
    layers = tuple(
        FoundLayer(blob_member(layer.digest), layer.digest, layer.size, diff_id)
        for layer, diff_id in zip(manifest.layers, diff_ids, strict=True)
    )
    return FoundImage((), config, layers, data, entry.media_type, source_digest)


def blob_member(digest: str) -> str:
    return "blobs/sha256/" + digest.removeprefix("sha256:")


def _read_blob(source: Source, descriptor: Descriptor) -> bytes:
    data = read_member(source, blob_member(descriptor.digest), MAX_DOCUMENT_BYTES)
    if len(data) != descriptor.size or digest_of(data) != descriptor.digest:
        raise _invalid(source, f"{descriptor.digest} has another content or size than its descriptor says")
    return data


def _is_attestation(entry: Descriptor) -> bool:
    return entry.platform is not None and entry.platform.os == "unknown"


def _merge(found: list[tuple[FoundImage, Reference | None]]) -> tuple[FoundImage, ...]:
    """One image for each manifest, with all its names."""
    images: dict[bytes, FoundImage] = {}
    names: dict[bytes, list[Reference]] = {}
    for image, name in found:
        images.setdefault(image.manifest, image)
        names.setdefault(image.manifest, []).extend([name] if name else [])
    return tuple(replace(image, names=tuple(names[key])) for key, image in images.items())


# --- docker save ------------------------------------------------------------------------------


def _find_docker(source: Source) -> tuple[FoundImage, ...]:
    entries = parse_json_list(read_member(source, "manifest.json", MAX_DOCUMENT_BYTES), "manifest.json")
    if not 0 < len(entries) <= MAX_IMAGES:
        raise _invalid(source, f"manifest.json is not a list of 1 to {MAX_IMAGES} images")
    return tuple(_read_docker(source, entry) for entry in entries)


def _read_docker(source: Source, entry: Any) -> FoundImage:
    fields = entry if isinstance(entry, dict) else {}
    member, layers, tags = (
        fields.get("Config"),
        _texts(fields.get("Layers")),
        _texts(fields.get("RepoTags") or []),
    )
    if not isinstance(member, str) or layers is None or tags is None:
        raise _invalid(source, "manifest.json has no Config, Layers and RepoTags")
    config = read_member(source, member, MAX_DOCUMENT_BYTES)
    diff_ids = parse_diff_ids(parse_json(config, member[:19]), member[:19])
    if len(diff_ids) != len(layers):
        raise _invalid(source, f"{len(layers)} layers, but {len(diff_ids)} diff ids")
    names = tuple(dict.fromkeys(parse_reference(tag) for tag in tags))
    found = tuple(
        FoundLayer(layer, "", source.size(layer), diff_id)
        for layer, diff_id in zip(layers, diff_ids, strict=True)
    )  # fmt: skip
    return FoundImage(names, config, found)


def build_manifest(config: bytes, layers: Iterable[Descriptor]) -> bytes:
    """An OCI manifest for what comes without one."""
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": digest_of(config), "size": len(config)},
            "layers": [
                {"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size}
                for layer in layers
            ],
        },
        separators=(",", ":"),
    ).encode()


def layer_type(packing: str) -> str:
    return f"{OCI_LAYER}+{packing}" if packing else OCI_LAYER


def _texts(value: object) -> list[str] | None:
    return value if isinstance(value, list) and all(isinstance(item, str) for item in value) else None


def _invalid(
    source: Source, reason: str, hint: str = "the archive is damaged, or was made to harm"
) -> Invalid:
    return Invalid("load image", source.subject, reason, hint)
