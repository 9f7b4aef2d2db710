"""The layers that a build makes: staged while it runs, and put into the store once, at its end.

    upper ─ keep ─> blob and tree, in the build's staging directory ─> what later steps stand on
    finish or give_up: one syncfs ─ lock ─> all renamed into the store, the image's name, the cache's entries

One sync a build, not one a step: it waits for everything that anybody writes to that disk. A build that is
killed leaves its staging directory, which the next load removes; one that fails keeps what it had done.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from runtime.errors import NotFound
from runtime.images.build.cache import Cache, Cached, write_lease
from runtime.images.build.states import Layer, State
from runtime.images.config import parse_config
from runtime.images.content import digest_of
from runtime.images.documents import Descriptor
from runtime.images.facts import Admit
from runtime.images.formats import FoundImage, build_manifest, layer_type
from runtime.images.garbage import Holdings
from runtime.images.images import Stack
from runtime.images.index import locked
from runtime.images.layer_writer import write_layer
from runtime.images.layers import TREE, LayerRecord, Layers, unpack_layer
from runtime.images.limits import DEFAULT_LIMITS
from runtime.images.loader import commit, stage_documents
from runtime.images.progress import Progress
from runtime.images.reference import Reference
from runtime.images.stage import Stage, StagedImage

_PACKING: Literal["gzip"] = "gzip"
NO_ROOT = (0o755, 0, 0)


class Keeper:
    """directory: the build's staging directory. admit: asked about the image before it has its names. Used by
    the threads of all stages."""

    def __init__(self, root: Path, directory: Path, cache: Cache, admit: Admit) -> None:
        self._root = root
        self._directory = directory
        self._cache = cache
        self._admit = admit
        self._layers = Layers(root)
        self._stage = Stage(root, directory, _ignore, DEFAULT_LIMITS, admit)
        self._lock = threading.Lock()
        self._fresh: dict[str, Cached] = {}
        self.used: dict[str, Cached] = {}  # all that steps came to, found or made
        self._trees: dict[str, tuple[Path, LayerRecord]] = {}
        self._held = Holdings()

    # --- while it runs

    def hold(self, holdings: Holdings) -> None:
        """Nothing of that is collected while the build lives."""
        with self._lock:
            self._held = Holdings(self._held.blobs | holdings.blobs, self._held.layers | holdings.layers)
            write_lease(self._directory, self._held)

    def get(self, key: str) -> Cached | None:
        """Of this build, or of an earlier one: that one stays while this build lives."""
        fresh = self._fresh.get(key)
        if fresh is not None:
            return fresh
        cached = self._cache.get(key)
        if cached is not None:
            self.used[key] = cached
        if cached is not None and cached.layer is not None:
            self.hold(Holdings(frozenset({cached.layer.digest}), frozenset({cached.layer.key})))
        return cached

    def stack(self, state: State) -> Stack:
        """The trees of a state's layers, topmost first, and its root's mode, uid and gid."""
        found = [self._tree(layer) for layer in state.layers]
        roots = [record.root for _, record in found if record.root]
        lower = tuple(os.fspath(tree / TREE) for tree, _ in reversed(found))
        return Stack(lower, roots[-1] if roots else NO_ROOT)

    def _tree(self, layer: Layer) -> tuple[Path, LayerRecord]:
        staged = self._trees.get(layer.key)
        if staged is not None:
            return staged
        record = self._layers.read(layer.key)
        if record is None:
            raise NotFound("build image", layer.key[:19], "a layer of it is gone", "build again")
        return self._layers.path(layer.key), record

    def keep(
        self, upper: Path, before: tuple[int, int, int], key: str, *, created: str, epoch: int | None
    ) -> Cached:
        """The changes of a step as a layer. before: mode, uid and gid that the root had: unchanged, it is no
        part of the layer."""
        cached = Cached(self._layer(upper, is_root_same=_own(upper) == before, epoch=epoch), created)
        with self._lock:
            self._fresh[key] = self.used[key] = cached
        return cached

    def _layer(self, upper: Path, *, is_root_same: bool, epoch: int | None) -> Layer | None:
        """None when nothing was changed."""
        if is_root_same and not os.listdir(upper):  # noqa: PTH208
            return None
        new = write_layer(
            upper, self._new_path("blob"), packing=_PACKING, epoch=epoch,
            leaves_out=lambda path: not path and is_root_same,
        )  # fmt: skip
        with self._lock:
            self._stage.add_blob(new.path, new.digest)
        layer = Layer(new.diff_id, new.digest, new.size_bytes, layer_type(_PACKING), new.diff_id)
        if layer.key not in self._trees and self._layers.read(layer.key) is None:
            part, record = self._unpacked(layer)
            with self._lock:
                self._trees[layer.key] = part, record
                self._stage.add_tree(layer.key, part, record)
        self.hold(Holdings(frozenset({layer.digest}), frozenset({layer.key})))
        return layer

    def _unpacked(self, layer: Layer) -> tuple[Path, LayerRecord]:
        part = self._new_path("layer")
        with self._stage.blob_path(layer.digest).open("rb", buffering=0) as file:
            return part, unpack_layer(file, part, layer.diff_id[:19], expected_diff_id=layer.diff_id)

    def _new_path(self, kind: str) -> Path:
        with self._lock:
            return self._stage.new_path(kind)

    # --- at the end

    def give_up(self) -> None:
        """The build failed: what its steps made is found by the next one."""
        with self._lock:
            if self._fresh:
                self._stage.sync()
                with locked(self._root):
                    self._stage.place()
                    self._remember()

    def finish(self, config: bytes, layers: Sequence[Layer], names: Sequence[Reference]) -> StagedImage:
        """The image of these layers, by these names. Lasting when it returns."""
        descriptors = [Descriptor(layer.media_type, layer.digest, layer.size_bytes) for layer in layers]
        image = FoundImage(tuple(names), config, (), build_manifest(config, descriptors))

        def stage_images(stage: Stage) -> tuple[StagedImage, ...]:
            for layer in layers:
                stage.keep_blob(layer.digest)
            return (stage_documents(stage, image, descriptors),)

        with self._lock:
            made = commit(self._root, self._stage, stage_images)[0]
            with locked(self._root):
                self._remember()
            return made

    def _remember(self) -> None:
        """What was staged is in the store by now."""
        for key, cached in self._fresh.items():
            self._cache.put(key, cached)
        self._fresh.clear()
        self._trees.clear()
        again = self._stage.new_path("more")
        again.mkdir(mode=0o700)
        self._stage = Stage(self._root, again, _ignore, DEFAULT_LIMITS, self._admit)


def check_config(config: bytes) -> None:
    """`Invalid` for what no later reader would take."""
    parse_config(config, digest_of(config))


def _own(upper: Path) -> tuple[int, int, int]:
    found = upper.stat()
    return stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid


def _ignore(progress: Progress) -> None:
    return None
