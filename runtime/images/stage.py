"""What one load has brought so far: blobs and trees in its own directory, and what the store had already.

Called by the loader. Stages, syncs and, at the end, renames into the store; decides nothing about
names. Everything that is found in the store is checked before it counts, so that a load also repairs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.images import unpackers
from runtime.images.archive import Source
from runtime.images.content import Content, digest_of, ingest, sync_directory
from runtime.images.documents import Descriptor
from runtime.images.facts import Admit
from runtime.images.formats import FoundLayer, layer_type
from runtime.images.info import ImageInfo
from runtime.images.layers import (
    TREE,
    LayerRecord,
    Layers,
    ProgressReader,
    chain_id,
    settle,
    unpack_layer,
)
from runtime.images.limits import DEFAULT_LIMITS, Limits
from runtime.images.progress import Progress, Report
from runtime.images.reference import Reference
from runtime.images.streams import MAGIC_BYTES, detect_packing
from runtime.images.unpackers import Growth, Job
from runtime.images.writeback import Writeback

if TYPE_CHECKING:
    from concurrent.futures import Future


@dataclass(frozen=True, slots=True)
class StagedImage:
    """What will be recorded. blobs and layers: all that it needs, staged or in the store already."""

    info: ImageInfo
    media_type: str
    manifest_size: int
    names: tuple[Reference, ...]
    source_digest: str
    blobs: tuple[str, ...]
    layers: tuple[str, ...]
    is_pulled: bool = False


class Stage:
    """One load's staged content, and what of it is in the store already. admit: asked by `commit` about each
    image, before it has a name."""

    def __init__(self, root: Path, directory: Path, report: Report, limits: Limits, admit: Admit) -> None:
        self.admit = admit
        self._directory = directory
        self._content = Content(root)
        self._layers = Layers(root)
        self._report = report
        self._limits = limits
        self._writeback = Writeback(directory)
        self._count = 0
        self._blobs: dict[str, Path] = {}
        self._trees: dict[str, tuple[Path, LayerRecord]] = {}
        self._whole: set[str] = set()
        # By packed digest and diff id: what is being unpacked ahead, in other processes.
        self._ahead: dict[tuple[str, str], tuple[Path, Future[LayerRecord]]] = {}

    def new_path(self, kind: str) -> Path:
        self._count += 1
        return self._directory / f"{kind}-{self._count}"

    # --- blobs --------------------------------------------------------------------------------

    def add_document(self, data: bytes) -> str:
        digest = digest_of(data)
        if not self.has_blob(digest):
            part = self.new_path("blob")
            part.write_bytes(data)
            self._blobs[digest] = part
        return digest

    def add_blob(self, part: Path, digest: str) -> None:
        """Take over a file that was hashed."""
        if self.has_blob(digest):
            part.unlink()
        else:
            self._blobs[digest] = part

    def copy_layer(self, source: Source, layer: FoundLayer) -> Descriptor:
        """Copy a packed layer out of the archive, unless the store has it, whole."""
        size = source.size(layer.member)
        if layer.digest and self.has_blob(layer.digest):
            return self.describe(layer.digest)
        part = self.new_path("blob")
        advance = self.advance("copy", layer.digest or layer.member, size or 0)
        with source.open(layer.member) as reader:
            blob = ingest(
                reader, part, expected_digest=layer.digest, expected_size=layer.size, advance=advance
            )  # fmt: skip
        self.add_blob(part, blob.digest)
        return self.describe(blob.digest)

    def blob_path(self, digest: str) -> Path:
        return self._blobs.get(digest) or self._content.path(digest)

    def packing(self, digest: str) -> str:
        with self.blob_path(digest).open("rb") as file:
            return detect_packing(file.read(MAGIC_BYTES))

    def describe(self, digest: str) -> Descriptor:
        """A packed layer that is staged or in the store, by what its bytes are."""
        return Descriptor(layer_type(self.packing(digest)), digest, self.blob_path(digest).stat().st_size)

    def has_blob(self, digest: str) -> bool:
        """Staged, or in the store and whole: a damaged one is written anew."""
        if digest in self._blobs or digest in self._whole:
            return True
        if self._content.is_whole(digest):
            self._whole.add(digest)
            return True
        return False

    def keep_blob(self, digest: str) -> bool:
        """Count a blob of an image that is here already, without reading it. Whether it is there."""
        if self._content.size(digest) is None:
            return False
        self._whole.add(digest)
        return True

    # --- layers -------------------------------------------------------------------------------

    def unpack_ahead(
        self, diff_ids: Sequence[str], position: int, digest: str, blob: Path, growth: Growth
    ) -> None:
        """Begin with a layer whose packed file is still being written, where there are processes for it. Call
        it lowest first."""
        others, names = unpackers.current(), (digest, diff_ids[position])
        if others is None or self._limits is not DEFAULT_LIMITS or names in self._ahead:
            return
        if self._find_layer(diff_ids, position) is not None:
            return
        part = self.new_path("layer")
        job = Job(blob, part, digest[:19], diff_ids[position], has_lowers=position > 0)
        self._ahead[names] = (
            part,
            others.submit(job, growth, lambda: self.advance("unpack", digest, growth.size)),
        )

    def give_up(self) -> None:
        """Nothing is unpacked ahead any more, and nothing written to the stage."""
        if self._ahead and (others := unpackers.current()) is not None:
            others.kill()
        self._ahead.clear()

    def unpack_all(
        self, descriptors: Sequence[Descriptor], diff_ids: Sequence[str]
    ) -> tuple[tuple[str, ...], int]:
        """Unpack what is missing of a stack, lowest first. Returns the layers' keys and all their bytes."""
        keys: list[str] = []
        size_bytes = 0
        for position, descriptor in enumerate(descriptors):
            found = self._find_layer(diff_ids, position)
            if found is None:
                found = self._unpack(descriptor, diff_ids, position, keys)
            keys.append(found[0])
            size_bytes += found[1].size_bytes
        return tuple(keys), size_bytes

    def unpack_blob(
        self, digest: str, lowers: Sequence[Path], expected_diff_id: str
    ) -> tuple[Path, LayerRecord]:
        part, blob = self.new_path("layer"), self.blob_path(digest)
        with blob.open("rb", buffering=0) as file:
            advance = self.advance("unpack", digest, os.fstat(file.fileno()).st_size)
            record = unpack_layer(
                ProgressReader(file, advance), part, digest[:19],
                expected_diff_id=expected_diff_id, lowers=lowers, limits=self._limits,
            )  # fmt: skip
        return part, record

    def add_tree(self, key: str, part: Path, record: LayerRecord) -> None:
        self._trees[key] = (part, record)

    def _unpack(
        self, descriptor: Descriptor, diff_ids: Sequence[str], position: int, below: Sequence[str]
    ) -> tuple[str, LayerRecord]:
        lowers = [self._tree(key) for key in reversed(below)]
        ahead = self._ahead.pop((descriptor.digest, diff_ids[position]), None)
        if ahead is None:
            part, record = self.unpack_blob(descriptor.digest, lowers, diff_ids[position])
        else:
            part, record = ahead[0], ahead[1].result()
            settle(part, lowers)
        is_stacked = record.has_implicit and position > 0
        key = chain_id(diff_ids[: position + 1]) if is_stacked else diff_ids[position]
        self.add_tree(key, part, record)
        return key, record

    def _tree(self, key: str) -> Path:
        return self._trees[key][0] / TREE if key in self._trees else self._layers.tree(key)

    def _find_layer(self, diff_ids: Sequence[str], position: int) -> tuple[str, LayerRecord] | None:
        for key in (chain_id(diff_ids[: position + 1]), diff_ids[position]):
            _, record = self._trees.get(key, (None, None))
            # Under its diff id, a tree that has implied directories only serves as a lowest layer.
            if record and (position == 0 or key != diff_ids[position] or not record.has_implicit):
                return key, record
        found = self._layers.find(diff_ids, position)
        return (found.key, found.record) if found else None

    # --- end ----------------------------------------------------------------------------------

    def forget_lost(self, images: Sequence[StagedImage]) -> bool:
        """Whether what was found in the store at first was removed since; then it is staged again."""
        self._whole = {digest for digest in self._whole if self._content.size(digest) is not None}
        blobs = {digest for image in images for digest in image.blobs} - self._blobs.keys() - self._whole
        layers = {key for image in images for key in image.layers} - self._trees.keys()
        return bool(blobs) or any(self._layers.read(key) is None for key in layers)

    def sync(self) -> None:
        self._report(Progress("sync", "", 0, 0))
        self._writeback.finish()

    def place(self) -> None:
        """Rename all that is staged into the store; lasting when this returns."""
        for digest, part in self._blobs.items():
            self._content.place(part, digest)
        for key, (part, _) in self._trees.items():
            self._layers.place(part, key, self.new_path("dead"))
        if self._blobs:
            sync_directory(self._content.path(next(iter(self._blobs))).parent)
        if self._trees:
            self._layers.sync()

    def tell(self, step: str, subject: str, total: int) -> None:
        self._report(Progress(step, subject, 0, total))

    def advance(self, step: str, subject: str, total: int) -> Callable[[int], None]:
        done = 0

        def advance(size: int) -> None:
            nonlocal done
            done += size
            self._writeback.add(size)
            self._report(Progress(step, subject, done, total))

        return advance
