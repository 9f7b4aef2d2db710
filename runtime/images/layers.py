"""Unpacked layers, each once and shared by all images that have it.

    layers/<hex>/diff         the tree, as overlayfs takes it
    layers/<hex>/layer.json   what it is: its diff id, sizes, the root's own attributes

A layer is named by its diff id. One whose tar leaves out parent directories is named by its chain id
instead when there are layers below it, because such directories take after those. A layer's directory
is whole or absent: it is filled in a staging directory, synced and renamed. Called by `images`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runtime import worker_bounds
from runtime.errors import Invalid
from runtime.images.content import CHUNK_BYTES, Reader, checked_hex, sync_directory
from runtime.images.limits import DEFAULT_LIMITS, Limits
from runtime.images.reference import is_digest

TREE = "diff"
RECORD = "layer.json"
_IMPLIED = "implied"  # while it is staged: directories that still take after the layers below


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """What is known of an unpacked layer. root: mode, uid and gid when the tar says them."""

    diff_id: str
    size_bytes: int
    entries: int
    has_implicit: bool
    root: tuple[int, int, int] | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundLayer:
    """A layer in the store: the key that names its directory, and its record."""

    key: str
    record: LayerRecord


@dataclass(frozen=True, slots=True)
class Layers:
    """The unpacked layers below one directory."""

    root: Path

    def path(self, key: str) -> Path:
        return self.root / "layers" / checked_hex(key)

    def tree(self, key: str) -> Path:
        return self.path(key) / TREE

    def keys(self) -> frozenset[str]:
        try:
            found = {f"sha256:{path.name}" for path in (self.root / "layers").iterdir()}
        except FileNotFoundError:
            return frozenset()
        return frozenset(filter(is_digest, found))

    def read(self, key: str) -> LayerRecord | None:
        """None when it is not there, or is not what this version writes: then it is unpacked again."""
        try:
            return parse_record(json.loads((self.path(key) / RECORD).read_bytes()))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def find(self, diff_ids: Sequence[str], position: int) -> FoundLayer | None:
        """The directory that serves as layer `position` of the stack `diff_ids`, lowest first."""
        chain = chain_id(diff_ids[: position + 1])
        record = self.read(chain)
        if record is not None and record.diff_id == diff_ids[position]:
            return FoundLayer(chain, record)
        record = self.read(diff_ids[position])
        if record is None or record.diff_id != diff_ids[position] or (position and record.has_implicit):
            return None
        return FoundLayer(diff_ids[position], record)

    def find_all(self, diff_ids: Sequence[str]) -> tuple[FoundLayer, ...] | None:
        """All layers of a stack, lowest first, or None when one is missing."""
        found = [self.find(diff_ids, position) for position in range(len(diff_ids))]
        present = tuple(layer for layer in found if layer is not None)
        return present if len(present) == len(found) else None

    def place(self, part: Path, key: str, aside: Path) -> None:
        """Rename a whole, synced directory into place. Another load's equal one may be there first; one
        that is damaged makes room and goes `aside`.
        """
        target = self.path(key)
        if target.exists():
            if self.read(key) is not None:
                return
            target.rename(aside)
        part.rename(target)

    def sync(self) -> None:
        sync_directory(self.root / "layers")


def chain_id(diff_ids: Sequence[str]) -> str:
    """Names a stack of layers (OCI image-spec, config.md, "Layer ChainID")."""
    chain = diff_ids[0]
    for diff_id in diff_ids[1:]:
        chain = "sha256:" + hashlib.sha256(f"{chain} {diff_id}".encode()).hexdigest()
    return chain


def unpack_layer(
    source: Reader,
    directory: Path,
    subject: str,
    *,
    expected_diff_id: str = "",
    lowers: Sequence[Path] = (),
    keeps_implied: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> LayerRecord:
    """Unpack a packed or plain tar into the new `directory`. The caller syncs and places it.

    lowers: trees of the layers below, topmost first. keeps_implied: they are not known yet, and `settle`
    will be called. expected_diff_id "" takes any content. Raises
    `Invalid` for a hostile or damaged layer and `Temporary` for a full disk; `directory` is then
    half-filled and the caller's to remove.
    """
    with worker_bounds.unpacking(subject):
        record, implied = _unpack(source, directory, subject, expected_diff_id, lowers, limits)
        if keeps_implied and implied:
            (directory / _IMPLIED).write_bytes(b"\0".join(implied))
        (directory / RECORD).write_text(json.dumps(record_view(record)))
    return record


def _unpack(
    source: Reader,
    directory: Path,
    subject: str,
    expected_diff_id: str,
    lowers: Sequence[Path],
    limits: Limits,
) -> tuple[LayerRecord, Sequence[bytes]]:
    """And the directories that it only implies."""
    # Late: the agent imports this module for its paths, and pays for decoders only when it unpacks.
    from runtime.images.directories import inherit
    from runtime.images.streams import ByteStream, Pump
    from runtime.images.tarheaders import read_entries
    from runtime.images.tree import Tree

    (directory / TREE).mkdir(parents=True)
    root = os.open(directory / TREE, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    tree = Tree(root, subject, limits)
    try:
        with Pump(source, subject, limits) as pump:
            stream = ByteStream(iter(pump))
            for entry in read_entries(stream, subject, limits, needs_end=not expected_diff_id):
                tree.add(entry, stream.take(entry.size))
            stream.drain()  # what follows the end mark counts for the digest
        if expected_diff_id and pump.digest != expected_diff_id:
            raise Invalid(
                "unpack layer", subject, f"its content has the diff id {pump.digest}, not {expected_diff_id}"
            )
        summary = tree.finish()
        inherit(root, summary.implicit, lowers)
    finally:
        tree.close()
        os.close(root)
    own = (summary.root.mode, summary.root.uid, summary.root.gid) if summary.root else None
    record = LayerRecord(
        pump.digest, summary.size_bytes, summary.entries, bool(summary.implicit), own, summary.warnings
    )
    return record, summary.implicit


def settle(directory: Path, lowers: Sequence[Path]) -> None:
    """Give the directories that a layer only implied what they have below. Doing it again changes nothing."""
    from runtime.images.directories import inherit

    try:
        implied = (directory / _IMPLIED).read_bytes().split(b"\0")
    except FileNotFoundError:
        return
    root = os.open(directory / TREE, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        inherit(root, implied, lowers)
    finally:
        os.close(root)
    (directory / _IMPLIED).unlink()


def record_view(record: LayerRecord) -> dict[str, Any]:
    return asdict(record)


def parse_record(value: Mapping[str, Any]) -> LayerRecord:
    """Of what `record_view` gave. KeyError, TypeError or ValueError for anything else."""
    root = value["root"]
    return LayerRecord(
        diff_id=str(value["diff_id"]),
        size_bytes=int(value["size_bytes"]),
        entries=int(value["entries"]),
        has_implicit=bool(value["has_implicit"]),
        root=(int(root[0]), int(root[1]), int(root[2])) if root else None,
        warnings=tuple(map(str, value["warnings"])),
    )


class ProgressReader:
    """A reader that tells how many bytes went through it."""

    def __init__(self, source: Reader, advance: Callable[[int], None]) -> None:
        self._source = source
        self._advance = advance

    def read(self, n: int = CHUNK_BYTES, /) -> bytes:
        data = self._source.read(n)
        self._advance(len(data))
        return data
