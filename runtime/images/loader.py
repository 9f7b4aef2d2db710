"""Takes archives into the store: all of an archive's images, or nothing of it.

    stage (copy and hash blobs, unpack layers) ─> syncfs ─> lock ─> rename into place ─> index ─> unlock

Called by `Images`, in a thread or a process of its own. A kill at any point leaves either no trace but
a staging directory, which the next load removes, or whole content that no name needs yet. Nothing is
renamed before syncfs(2), so that a power cut leaves no layer with holes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from runtime.errors import Conflict, Temporary
from runtime.images.archive import Source, open_source
from runtime.images.config import parse_config
from runtime.images.content import Content, digest_of
from runtime.images.documents import Descriptor, Platform
from runtime.images.facts import Admit, ImageFacts, admit_all
from runtime.images.formats import FoundImage, build_manifest, find_images, layer_type
from runtime.images.index import Index, Record, locked, read_index, write_index
from runtime.images.limits import DEFAULT_LIMITS, Limits
from runtime.images.needs import drop_other_forms
from runtime.images.progress import NAMED, Progress, Report
from runtime.images.reference import Reference
from runtime.images.rootfs import Wanted, ingest_rootfs, rootfs_config
from runtime.images.stage import Stage, StagedImage
from runtime.images.staging_directory import staging_directory
from runtime.images.unpackers import Growth

_ATTEMPTS = 5


def load_archive(
    root: Path,
    path: Path,
    host: Platform,
    report: Report,
    limits: Limits = DEFAULT_LIMITS,
    *,
    admit: Admit = admit_all,
    moves_names: bool = False,
    kept: Collection[str] = (),
) -> tuple[StagedImage, ...]:
    """Take all images of an archive into the store, and give them their names. `Conflict` for a name that is
    another image's and must not move. kept: canonical names that never do."""

    def stage_images(stage: Stage) -> tuple[StagedImage, ...]:
        return tuple(_stage_image(stage, source, image) for image in found)

    with staging_directory(root) as directory, open_source(path, directory, limits) as source:
        found = find_images(source, host)
        if not moves_names:  # looked at again under the lock; here before any work
            refuse_moves(read_index(root), [(digest_of(image.config), image.names) for image in found])
        stage = Stage(root, directory, report, limits, admit)
        images = commit(root, stage, stage_images, moves_names=moves_names, kept=kept)
    for image in images:
        for name in image.names:
            report(Progress(NAMED, name.familiar, 0, 0))
    return images


def load_rootfs(
    root: Path,
    path: Path,
    wanted: Wanted,
    report: Report,
    *,
    admit: Admit = admit_all,
    moves_names: bool = False,
) -> StagedImage:
    """Make an image of one layer from the tar of a root file system."""
    with staging_directory(root) as directory:
        stage = Stage(root, directory, report, DEFAULT_LIMITS, admit)
        part = stage.new_path("blob")
        blob, created_at = ingest_rootfs(path, part, DEFAULT_LIMITS)
        stage.add_blob(part, blob.digest)
        tree, record = stage.unpack_blob(blob.digest, (), "")
        stage.add_tree(record.diff_id, tree, record)
        descriptor = Descriptor(layer_type(stage.packing(blob.digest)), blob.digest, blob.size)
        document = rootfs_config(wanted, record.diff_id, created_at)
        names = (wanted.name,) if wanted.name else ()
        image = FoundImage(names, document, (), build_manifest(document, [descriptor]))

        def stage_images(stage: Stage) -> tuple[StagedImage, ...]:
            return (stage_documents(stage, image, [descriptor]),)

        return commit(root, stage, stage_images, moves_names=moves_names)[0]


def commit(
    root: Path,
    stage: Stage,
    stage_images: Callable[[Stage], tuple[StagedImage, ...]],
    *,
    moves_names: bool = True,
    kept: Collection[str] = (),
) -> tuple[StagedImage, ...]:
    """Stage, sync, and rename under the lock; again when a removal was faster. `Conflict` when a name is
    another image's and must not move. All images come in by here, and none that is not admitted."""
    for _ in range(_ATTEMPTS):
        try:
            images = stage_images(stage)
        except BaseException:
            stage.give_up()
            raise
        for facts in _facts(images):
            stage.admit(facts)
        stage.sync()
        with locked(root):
            if stage.forget_lost(images):
                continue
            index = read_index(root)
            if not moves_names:
                refuse_moves(index, [(image.info.id, image.names) for image in images])
            refuse_moves(index, [(image.info.id, _among(image.names, kept)) for image in images])
            stage.place()
            digests = {*(record.digest for record in index.records), *(image.info.digest for image in images)}
            for record in _records(images):
                index = index.with_record(record)
            write_index(root, index)
            drop_other_forms(Content(root), digests, index)
            return images
    raise Temporary("load image", str(root), "its layers are removed as fast as they are loaded")


def _among(names: Iterable[Reference], kept: Collection[str]) -> Iterator[Reference]:
    return (name for name in names if name.canonical in kept)


def refuse_moves(index: Index, images: Iterable[tuple[str, Iterable[Reference]]]) -> None:
    """`Conflict` for a name that another image has: who may hand us an archive must not be able to change
    what a container is made of. images: id and names."""
    for image_id, names in images:
        for name in names:
            known = index.find(name.canonical)
            if known is not None and known.image_id != image_id:
                raise Conflict(
                    "name image", name.familiar, f"it is another image here, {known.image_id[7:19]}",
                    "--force moves the name to the new one; or remove it first",
                )  # fmt: skip


def _stage_image(stage: Stage, source: Source, image: FoundImage) -> StagedImage:
    diff_ids = parse_config(image.config, digest_of(image.config)).layers
    descriptors = []
    for position, layer in enumerate(image.layers):
        descriptors.append(stage.copy_layer(source, layer))
        digest = descriptors[-1].digest
        stage.unpack_ahead(
            diff_ids, position, digest, stage.blob_path(digest), Growth.of(descriptors[-1].size)
        )
    whole = image if image.manifest else replace(image, manifest=build_manifest(image.config, descriptors))
    return stage_documents(stage, whole, descriptors)


def stage_documents(stage: Stage, image: FoundImage, descriptors: Sequence[Descriptor]) -> StagedImage:
    """The layers' trees and the two documents, once all blobs of layers are staged."""
    image_id = digest_of(image.config)
    # Before anything is unpacked: an image that could not be read later is refused now.
    info = parse_config(image.config, image_id)
    keys, size_bytes = stage.unpack_all(descriptors, info.layers)
    documents = (stage.add_document(image.config), stage.add_document(image.manifest))
    return StagedImage(
        info=replace(
            info,
            names=tuple(sorted(name.familiar for name in image.names)),
            digest=documents[1],
            size_bytes=size_bytes,
        ),
        media_type=image.manifest_type,
        manifest_size=len(image.manifest),
        names=image.names,
        source_digest=image.source_digest,
        blobs=(*documents, *(descriptor.digest for descriptor in descriptors)),
        layers=keys,
    )


def _facts(images: Sequence[StagedImage]) -> Iterator[ImageFacts]:
    """Of every name. An image without one is judged when it gets one, or is to run by its id."""
    for image in images:
        digests = tuple(filter(None, (image.info.digest, image.source_digest)))
        for name in image.names:
            yield ImageFacts(
                name.canonical, digests, image.info.architecture, is_exact=not image.is_pulled
            )  # fmt: skip


def _records(images: Sequence[StagedImage]) -> Iterator[Record]:
    for image in images:
        for name in [name.canonical for name in image.names] or [""]:
            yield Record(
                name, image.info.id, image.info.digest, image.manifest_size, image.media_type,
                image.info.size_bytes, image.source_digest, image.is_pulled,
            )  # fmt: skip
