"""An image of the busybox one with another config: what manifests override is in it first."""

from __future__ import annotations

import gzip
import json
import tarfile
from pathlib import Path
from typing import Any

from tests.unit.images import craft


def write_image(path: Path, busybox: Path, name: str, *more_layers: bytes, **config: Any) -> Path:
    """An OCI archive: busybox's layer and further ones (plain tars), with this config."""
    with tarfile.open(busybox) as archive:
        blobs = {member.name: _read(archive, member) for member in archive if member.isfile()}
    found = json.loads(blobs["index.json"])["manifests"][0]["digest"]
    manifest = json.loads(blobs["blobs/sha256/" + found[7:]])
    layer = gzip.decompress(blobs["blobs/sha256/" + manifest["layers"][0]["digest"][7:]])
    return craft.write_tar(path, craft.image(layer, *more_layers, name=name, **config))


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None
    return file.read()
