"""Checks what the store holds of images: every blob against its digest, every unpacked layer against what its
packed layer unpacks to. Repairs a layer from its blob when that is whole.

    check_images(root, ids, repair=..., busy=...) ─> findings, in a worker as loads are

A tree that a running container has for its root is never put another in the place of: the kernel would go
on with the old one, and find files missing in it. What a registry must give again is left to a pull.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import Invalid, NotFound
from runtime.images.compare import differences
from runtime.images.config import parse_diff_ids
from runtime.images.content import Content
from runtime.images.documents import parse_json, parse_manifest
from runtime.images.facts import admit_all
from runtime.images.index import Record, locked, read_index
from runtime.images.layers import TREE, Layers
from runtime.images.limits import DEFAULT_LIMITS
from runtime.images.progress import Report
from runtime.images.removal import remove_tree
from runtime.images.stage import Stage
from runtime.images.staging_directory import staging_directory
from runtime.images.weak import weaknesses
from runtime.syscalls import renameat2

_RENAME_EXCHANGE = 2  # linux/fcntl.h
_FILES_TOLD = 20  # of a layer; more of them say nothing more


@dataclass(frozen=True, slots=True)
class Finding:
    """Something damaged. image: its id. subject: the digest of a blob or a layer. path: in the layer, "" for
    a blob. repair: "" as it is, "done", "pull" when a registry must give it again, or why there is none.
    is_warning: it is as it was made, and weak (`weak`); path is in the image then."""

    image: str
    subject: str
    path: str
    reason: str
    repair: str = ""
    is_warning: bool = False


@dataclass(frozen=True, slots=True)
class _Layer:
    position: int
    digest: str
    diff_ids: tuple[str, ...]


def check_images(
    root: Path, image_ids: Collection[str], report: Report, *, repair: bool, busy: Collection[str]
) -> tuple[Finding, ...]:
    """image_ids: only these, or all when it is empty. busy: images that running containers have."""
    if not read_index(root).records:
        return ()
    with staging_directory(root) as directory:
        stage = Stage(root, directory, report, DEFAULT_LIMITS, admit_all)
        return tuple(_Check(root, stage, repair, frozenset(busy)).run(image_ids))


class _Check:
    def __init__(self, root: Path, stage: Stage, repair: bool, busy: frozenset[str]) -> None:
        self._root = root
        self._stage = stage
        self._repair = repair
        self._content, self._layers = Content(root), Layers(root)
        # By key, the tree that is as its layer says. Implied directories take after the layers below, so one
        # that is damaged must not be what the next is unpacked on.
        self._whole: dict[str, Path] = {}
        self._busy_layers = frozenset(itertools.chain.from_iterable(map(self._keys, busy)))

    def run(self, image_ids: Collection[str]) -> Iterator[Finding]:
        records = {record.image_id: record for record in read_index(self._root).records}
        for image_id, record in records.items():
            if image_ids and image_id not in image_ids:
                continue
            found = list(self._image(record))
            if found and not read_index(self._root).of_image(image_id):
                continue  # removed as we looked
            yield from found

    def _image(self, record: Record) -> Iterator[Finding]:
        try:
            layers = self._layers_of(record)
        except (NotFound, Invalid) as error:
            subject = error.subject if error.subject in (record.image_id, record.digest) else record.image_id
            yield Finding(record.image_id, subject, "", error.reason, "pull" if self._repair else "")
            return
        for layer in layers:
            yield from self._layer(record.image_id, layer)
        yield from self._weak(record.image_id, layers)

    def _weak(self, image_id: str, layers: Sequence[_Layer]) -> Iterator[Finding]:
        found = self._layers.find_all(layers[-1].diff_ids) if layers else None
        if not found:
            return  # one is missing, which was told
        roots = [layer.record.root for layer in found if layer.record.root]
        trees = [self._layers.tree(layer.key) for layer in reversed(found)]
        told = list(weaknesses(trees, roots[-1][0] if roots else 0o755, image_id[:19]))
        for path, reason in told[:_FILES_TOLD]:
            yield Finding(image_id, image_id, _shown(path) or "/", reason, is_warning=True)
        if len(told) > _FILES_TOLD:
            reason = f"has {len(told) - _FILES_TOLD} more of these"
            yield Finding(image_id, image_id, "", reason, is_warning=True)

    def _layers_of(self, record: Record) -> list[_Layer]:
        what = record.image_id[:19]
        diff_ids = parse_diff_ids(parse_json(self._content.read_document(record.image_id), what), what)
        manifest = parse_manifest(self._content.read_document(record.digest), "", record.digest[:19])
        pairs = zip(manifest.layers, diff_ids, strict=True)
        return [_Layer(n, layer.digest, tuple(diff_ids[: n + 1])) for n, (layer, _) in enumerate(pairs)]

    def _keys(self, image_id: str) -> Iterator[str]:
        with contextlib.suppress(NotFound, Invalid):
            document = parse_json(self._content.read_document(image_id), image_id[:19])
            diff_ids = parse_diff_ids(document, image_id[:19])
            found = (self._layers.find(diff_ids, n) for n in range(len(diff_ids)))
            yield from (layer.key for layer in found if layer is not None)

    def _layer(self, image_id: str, layer: _Layer) -> Iterator[Finding]:
        if not self._content.is_whole(layer.digest):
            is_there = self._content.size(layer.digest) is not None
            reason = "its content has another digest" if is_there else "is missing"
            yield Finding(image_id, layer.digest, "", reason, "pull" if self._repair else "")
            return
        found = self._layers.find(layer.diff_ids, layer.position)
        if found is None:
            yield Finding(image_id, layer.diff_ids[-1], "", "is not unpacked", "pull" if self._repair else "")
            return
        if found.key in self._whole:
            return
        lowers = [self._layers.find(layer.diff_ids, n) for n in reversed(range(layer.position))]
        below = [
            self._whole.get(lower.key, self._layers.tree(lower.key)) for lower in lowers if lower is not None
        ]
        yield from self._tree(image_id, layer, found.key, below)

    def _tree(self, image_id: str, layer: _Layer, key: str, below: Sequence[Path]) -> Iterator[Finding]:
        part, _ = self._stage.unpack_blob(layer.digest, below, layer.diff_ids[-1])
        tree = self._layers.tree(key)
        found = list(itertools.islice(differences(part / TREE, tree), _FILES_TOLD))
        told = self._put_in_place(part, key) if found and self._repair else ""
        is_whole = not found or told == "done"
        self._whole[key] = tree if is_whole else part / TREE
        if is_whole:
            remove_tree(part)  # after a repair this is the damaged one
        for path, reason in found:
            yield Finding(image_id, key, _shown(path), reason, told)

    def _put_in_place(self, part: Path, key: str) -> str:
        """In one step, so that a container that starts finds the one or the other."""
        if key in self._busy_layers:
            return "a running container has it for its root: stop it, then repair"
        self._stage.sync()
        with locked(self._root):
            target = self._layers.path(key)
            renameat2(-100, os.fspath(part), -100, os.fspath(target), _RENAME_EXCHANGE)
            self._layers.sync()
        return "done"


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
