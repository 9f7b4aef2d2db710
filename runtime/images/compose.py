"""Makes an image of another one's layers and new ones: what `commit`, and a build at its end, put here.

    NewLayer, ... + config ─> stage ─> unpack what is new ─> syncfs ─> lock ─> rename into place ─> index

Called by `Images.compose`. As a load: whole or absent after a cut at any point, and durable when it returns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import NotFound
from runtime.images.config import parse_diff_ids
from runtime.images.content import Content
from runtime.images.documents import Descriptor, parse_json, parse_manifest
from runtime.images.facts import Admit, admit_all
from runtime.images.formats import FoundImage, build_manifest, layer_type
from runtime.images.index import read_index
from runtime.images.limits import DEFAULT_LIMITS
from runtime.images.loader import commit, stage_documents
from runtime.images.packed_file import NewLayer
from runtime.images.progress import Report
from runtime.images.reference import Reference
from runtime.images.stage import Stage, StagedImage
from runtime.images.staging_directory import staging_directory


@dataclass(frozen=True, slots=True)
class Composition:
    """What an image is to be.

    base: the id of an image in the store whose layers come first, "" for none. layers: those above, lowest
    first; their files are taken over. config: the image config (OCI image-spec, config.md) with its history;
    what it says of `rootfs` is written anew. names: all that it is to have; () is an image without a name.
    """

    base: str
    layers: Sequence[NewLayer]
    config: Mapping[str, Any]
    names: tuple[Reference, ...] = ()


def compose(
    root: Path, wanted: Composition, report: Report, *, moves_names: bool = True, admit: Admit = admit_all
) -> StagedImage:
    """Put it into the store. `Conflict` when a name is another image's and must not move."""
    with staging_directory(root) as directory:
        return compose_in(
            root, Stage(root, directory, report, DEFAULT_LIMITS, admit), wanted, moves_names=moves_names
        )


def compose_in(root: Path, stage: Stage, wanted: Composition, *, moves_names: bool = True) -> StagedImage:
    """The same with a stage of the caller's, where the layers were written."""
    for layer in wanted.layers:
        stage.add_blob(layer.path, layer.digest)

    def stage_images(stage: Stage) -> tuple[StagedImage, ...]:
        diff_ids, descriptors = _of_base(root, stage, wanted.base)
        diff_ids += [layer.diff_id for layer in wanted.layers]
        descriptors += [stage.describe(layer.digest) for layer in wanted.layers]
        config = _document(wanted.config, diff_ids)
        image = FoundImage(wanted.names, config, (), build_manifest(config, descriptors))
        return (stage_documents(stage, image, descriptors),)

    return commit(root, stage, stage_images, moves_names=moves_names)[0]


def read_config(root: Path, image_id: str) -> dict[str, Any]:
    """The config document of an image in the store, as it was written. `NotFound`, `Invalid`."""
    return parse_json(Content(root).read_document(image_id), image_id[:19])


def _of_base(root: Path, stage: Stage, base: str) -> tuple[list[str], list[Descriptor]]:
    """The diff ids and the packed layers of the image below, which stay as they are."""
    if not base:
        return [], []
    record = next(iter(read_index(root).of_image(base)), None)
    if record is None:
        raise NotFound("make image", base[:19], "the image below it is not here any more", "pull it again")
    manifest = parse_manifest(Content(root).read_document(record.digest), "", record.digest[:19])
    for layer in manifest.layers:
        if not stage.keep_blob(layer.digest):
            raise NotFound("make image", base[:19], "a packed layer of it is not here", "pull it again")
    diff_ids = parse_diff_ids(read_config(root, base), base[:19])
    return list(diff_ids), [_as_oci(layer) for layer in manifest.layers]


def _as_oci(layer: Descriptor) -> Descriptor:
    """Docker's media type of a layer in OCI's words: a manifest has one kind."""
    packing = next((name for name in ("gzip", "zstd") if layer.media_type.endswith(name)), "")
    return Descriptor(layer_type(packing), layer.digest, layer.size)


def _document(config: Mapping[str, Any], diff_ids: Sequence[str]) -> bytes:
    whole = {**config, "rootfs": {"type": "layers", "diff_ids": list(diff_ids)}}
    return json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()
