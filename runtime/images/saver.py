"""Images as one archive, byte for byte as they are in the store: what `load` of this and other engines takes.

    plan_archive(content, records, form) ─> Archive(size_bytes, ...) ─ chunks() ─> bytes, in order

An OCI layout in a tar; the form "docker-archive" has Docker's manifest.json beside it, as `docker save` has
written since version 25. Its names are whole: podman would make localhost/busybox of a short one. In the form
"docker-save" they are short: those look for that who read what Docker's clients saved.
The same images make the same archive: members in a fixed order, without times and owners. Every blob is
hashed on its way out, so that a damaged one is told and not handed on. Reads only, and blocks. Called by
`Images.save`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from runtime.errors import Invalid, NotFound
from runtime.images.content import Content
from runtime.images.documents import OCI_INDEX, Manifest, parse_json, parse_manifest
from runtime.images.formats import CONTAINERD_NAME, OCI_NAME, blob_member
from runtime.images.index import Record
from runtime.images.reference import parse_reference
from runtime.images.tarwriter import END, folder, header, member

Form = Literal["docker-archive", "oci-archive", "docker-save"]
FORMS: tuple[Form, ...] = ("docker-archive", "oci-archive")
LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_CHUNK_BYTES = 1024 * 1024
_BLOCK_BYTES = 512


@dataclass(frozen=True, slots=True)
class SavedImage:
    """One image of an archive. names: canonical, those that were asked for; () by its id."""

    record: Record
    manifest: Manifest
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Archive:
    """What will be written. documents: small members by name; blobs: digest -> bytes, sorted."""

    content: Content
    documents: tuple[tuple[str, bytes], ...]
    blobs: tuple[tuple[str, int], ...]

    @property
    def size_bytes(self) -> int:
        """Of the whole tar."""
        sizes = [len(data) for _, data in self.documents] + [size for _, size in self.blobs]
        return sum(_BLOCK_BYTES + _padded(size) for size in sizes) + 2 * _BLOCK_BYTES + len(END)

    def chunks(self) -> Iterator[bytes]:
        """The tar. `Invalid` when a blob is damaged: what was written so far is no archive then."""
        for name, data in self.documents:
            yield header(member(name, len(data))) + data + bytes(-len(data) % _BLOCK_BYTES)
        yield header(folder("blobs")) + header(folder("blobs/sha256"))
        for digest, size in self.blobs:
            yield header(member(blob_member(digest), size))
            yield from self._blob(digest, size)
            yield bytes(-size % _BLOCK_BYTES)
        yield END

    def _blob(self, digest: str, size: int) -> Iterator[bytes]:
        hasher, left = hashlib.sha256(), size
        try:
            with self.content.path(digest).open("rb", buffering=0) as file:
                while left and (data := file.read(min(left, _CHUNK_BYTES))):
                    hasher.update(data)
                    left -= len(data)
                    yield data
        except FileNotFoundError:
            raise NotFound("save image", digest, "it was removed meanwhile") from None
        if left or "sha256:" + hasher.hexdigest() != digest:
            raise Invalid("save image", digest, "damaged: its content has another digest", _REPAIR)


_REPAIR = "setpoint image check --repair"


def plan_archive(content: Content, wanted: Iterable[tuple[Record, str]], form: Form) -> Archive:
    """wanted: entries of the store's index, each with the name that it is asked for by, or "". `NotFound`,
    `Invalid` when something of an image is not here, or is damaged."""
    images = _read(content, wanted)
    blobs = sorted({(digest, _size(content, digest)) for image in images for digest in _digests(image)})
    index = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [entry for image in images for entry in _entries(content, image)],
    }
    documents = [("oci-layout", LAYOUT), ("index.json", _json(index))]
    if form != "oci-archive":
        rows = [_docker(image, is_short=form == "docker-save") for image in images]
        documents.append(("manifest.json", _json(rows)))
    return Archive(content, tuple(documents), tuple(blobs))


def _read(content: Content, wanted: Iterable[tuple[Record, str]]) -> Sequence[SavedImage]:
    """One for each manifest, in an order that does not depend on how they were asked for."""
    records: dict[str, Record] = {}
    names: dict[str, set[str]] = {}
    for record, name in wanted:
        records[record.digest] = record
        names.setdefault(record.digest, set()).update([name] if name else [])
    return [
        SavedImage(record, _manifest(content, record), tuple(sorted(names[digest])))
        for digest, record in sorted(records.items(), key=lambda item: (sorted(names[item[0]]), item[0]))
    ]


def _manifest(content: Content, record: Record) -> Manifest:
    return parse_manifest(content.read_document(record.digest), record.media_type, record.digest[:19])


def _digests(image: SavedImage) -> Iterator[str]:
    yield image.record.digest
    yield image.manifest.config.digest
    yield from (layer.digest for layer in image.manifest.layers)


def _size(content: Content, digest: str) -> int:
    size = content.size(digest)
    if size is None:
        raise NotFound("save image", digest, "a blob of it is not in the store", _REPAIR)
    return size


def _entries(content: Content, image: SavedImage) -> Iterator[dict[str, Any]]:
    """One for each name, as podman and skopeo read them: an entry has one."""
    record = image.record
    entry = {"mediaType": record.media_type, "digest": record.digest, "size": record.manifest_size}
    config = parse_json(content.read_document(record.image_id), record.image_id[:19])
    platform = {
        key: config[key] for key in ("architecture", "os", "variant") if isinstance(config.get(key), str)
    }
    if platform.keys() >= {"architecture", "os"}:
        entry["platform"] = platform
    for name in image.names or ("",):
        yield {**entry, "annotations": {CONTAINERD_NAME: name, OCI_NAME: name}} if name else entry


def _docker(image: SavedImage, *, is_short: bool) -> dict[str, Any]:
    names = [parse_reference(name).familiar if is_short else name for name in image.names]
    return {
        "Config": blob_member(image.manifest.config.digest),
        "RepoTags": names or None,
        "Layers": [blob_member(layer.digest) for layer in image.manifest.layers],
    }


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _padded(size: int) -> int:
    return -(-size // _BLOCK_BYTES) * _BLOCK_BYTES
