"""What earlier builds on this machine made, by the content that it was made of.

    build-cache/<key>.json   {"layer": {…} | null, "created": "…", "used_at": …}

A key is a digest over the parent's key, the instruction and the content of all it read (`states.key_of`): no
time is in it, and no word of an image that came from elsewhere: its history is never looked at. An entry is
written under the store's lock with the layer that it names, and keeps that layer from being collected.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runtime.images.build.states import Layer
from runtime.images.content import Content
from runtime.images.garbage import Holdings
from runtime.images.layers import Layers
from runtime.images.reference import is_digest

DIRECTORY = "build-cache"
LEASE = "lease.json"  # in a build's staging directory: what it needs while it lives
_KEY = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[0-9a-f]{64}\.json")
_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Cached:
    """What a step came to. layer None: it changed no file. created: RFC 3339."""

    layer: Layer | None
    created: str


@dataclass(frozen=True, slots=True)
class CachedStep:
    """An entry. used_at: when it was found or made last."""

    key: str
    used_at: float
    cached: Cached


class Cache:
    """The entries below one image store."""

    def __init__(self, root: Path) -> None:
        self._directory = root / DIRECTORY
        self._content = Content(root)
        self._layers = Layers(root)

    def get(self, key: str) -> Cached | None:
        """None also when its layer is damaged or gone: the step is run again."""
        path = self._path(key)
        found = _read(path)
        if found is None:
            return None
        layer = found.layer
        if layer is not None:
            record = self._layers.read(layer.key)
            is_here = self._content.size(layer.digest) == layer.size_bytes
            if record is None or record.diff_id != layer.diff_id or not is_here:
                return None
        with contextlib.suppress(OSError):
            os.utime(path)  # used now: the oldest go first
        return found

    def put(self, key: str, cached: Cached) -> None:
        """Call it with the store's lock held, when the layer is in place."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self._write(key, json.dumps(asdict(cached)))

    def get_value(self, key: str) -> str | None:
        """Something small that follows from the key alone, such as the digest of files in known layers."""
        try:
            data = json.loads(self._path(key).read_bytes())
            return str(data["value"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put_value(self, key: str, value: str) -> None:
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self._write(key, json.dumps({"value": value}))

    def _write(self, key: str, text: str) -> None:
        """Torn by a loss of power it is no JSON, and so no entry."""
        path = self._path(key)
        part = path.with_name(f".{path.name}.{os.urandom(6).hex()}.part")
        part.write_text(text)
        part.rename(path)

    def entries(self) -> Iterator[CachedStep]:
        """In no order."""
        for path in _paths(self._directory):
            with contextlib.suppress(OSError):
                used_at = path.stat().st_mtime
                found = _read(path)
                if found is not None:
                    yield CachedStep(path.stem, used_at, found)

    def remove(self, keys: Collection[str]) -> tuple[str, ...]:
        """Those that were there. As `prune` otherwise."""
        gone = []
        for key in keys:
            with contextlib.suppress(FileNotFoundError):
                self._path(key).unlink()
                gone.append(key)
        return tuple(gone)

    def prune(self, *, unused_seconds: float = 0.0) -> int:
        """Forget what was not used within that time; how many entries went. Their layers go with the next
        collection of garbage, unless an image has them. Call it with the store's lock held."""
        gone = 0
        for path in _paths(self._directory):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime >= unused_seconds:
                    path.unlink()
                    gone += 1
        for part in self._directory.glob(".*.part"):
            with contextlib.suppress(OSError):
                part.unlink()
        return gone

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is no key")
        return self._directory / f"{key}.json"


def is_key(text: str) -> bool:
    return _KEY.fullmatch(text) is not None


def held(root: Path) -> Iterator[Holdings]:
    """What the cache, and builds that are under way, keep in the store. OSError where that cannot be told:
    what is not named here is removed. A glob, from Python 3.13 on, finds nothing then."""
    for path in _paths(root / DIRECTORY):
        found = _read(path)
        if found is not None and found.layer is not None:
            layer = found.layer
            yield Holdings(frozenset({layer.digest}), frozenset({layer.key, layer.diff_id}))
    for stage in _entries(root / "ingest"):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            data = json.loads((stage / LEASE).read_bytes())
            yield Holdings(frozenset(data["blobs"]), frozenset(data["layers"]))


def write_lease(stage: Path, holdings: Holdings) -> None:
    """What a live build needs. Gone with its staging directory."""
    part = stage / f".{LEASE}.part"
    part.write_text(json.dumps({"blobs": sorted(holdings.blobs), "layers": sorted(holdings.layers)}))
    part.rename(stage / LEASE)


def _paths(directory: Path) -> list[Path]:
    return [path for path in _entries(directory) if _NAME.fullmatch(path.name)]


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except FileNotFoundError:
        return []


def _read(path: Path) -> Cached | None:
    """None for what is not there, not whole, or not what this version writes."""
    try:
        with path.open("rb") as file:
            data = json.loads(file.read(_MAX_BYTES))
        layer = data["layer"]
        return Cached(_layer(layer) if layer is not None else None, str(data["created"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _layer(data: dict[str, Any]) -> Layer:
    found = Layer(**data)
    if not (is_digest(found.diff_id) and is_digest(found.digest) and is_digest(found.key)):
        raise ValueError("not digests")
    return found
