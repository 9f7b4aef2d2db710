"""An image like those that people pull, made of this host's own files: three gzip layers. Nothing is
fetched; the same host gives the same image.

make_image(folder) ─> an OCI layout          of 60, 25 and 15 per cent of the files
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import stat
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

SHARES = (0.60, 0.25, 0.15)
_TOPS = ("/usr/lib", "/usr/share", "/usr/include", "/usr/bin", "/usr/local/lib", "/opt")
_LARGEST = 2_000_000  # a few huge libraries would leave no bytes for 25,000 files
_LEVEL = 6  # what docker push and buildah use


def make_image(folder: Path, files: int, size_bytes: int) -> Path:
    """Returns the layout: `folder`, new, with its blobs. files, size_bytes: at most so many, unpacked."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)
    chosen = _choose(tuple(_files()), files, size_bytes)
    layers, diff_ids, start = [], [], 0
    for share in SHARES:
        end = min(len(chosen), start + round(len(chosen) * share))
        packed, diff_id = _layer(sorted(chosen[start:end]), blobs)
        layers.append(_place(packed, "layer.v1.tar+gzip"))
        diff_ids.append(diff_id)
        start = end
    config = {
        "architecture": _architecture(), "os": "linux", "config": {"Cmd": ["/bin/true"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }  # fmt: skip
    manifest = {
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _put(json.dumps(config).encode(), blobs, "config.v1+json"), "layers": layers,
    }  # fmt: skip
    entry = _put(json.dumps(manifest).encode(), blobs, "manifest.v1+json")
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return folder


def _files() -> Iterator[tuple[str, int]]:
    for top in _TOPS:
        for directory, _, names in os.walk(top):
            for name in names:
                path = f"{directory}/{name}"
                found = os.lstat(path)
                is_link = stat.S_ISLNK(found.st_mode)
                if is_link or (stat.S_ISREG(found.st_mode) and found.st_size <= _LARGEST):
                    yield path, 0 if is_link else found.st_size


def _choose(found: Sequence[tuple[str, int]], files: int, size_bytes: int) -> list[str]:
    """Any of them in an order of chance that is the same each time."""
    chosen: list[str] = []
    size = 0
    for path, file_size in sorted(found, key=lambda each: hashlib.sha256(each[0].encode()).digest()):
        if len(chosen) == files:
            break
        if size + file_size <= size_bytes:
            chosen.append(path)
            size += file_size
    return chosen


def _layer(paths: Sequence[str], blobs: Path) -> tuple[Path, str]:
    """The packed layer's path, and the digest of its tar. Directories come before what they hold."""
    part = blobs / "part"
    with part.open("wb") as file, gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed:
        hashing = _Hashing(packed)
        with tarfile.open(fileobj=hashing, mode="w|", format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
            seen: set[str] = set()
            for path in paths:
                parents = [str(parent) for parent in reversed(Path(path).parents)][1:]
                for each in (*(parent for parent in parents if parent not in seen), path):
                    seen.add(each)
                    archive.add(each, recursive=False, filter=_as_docker_does)
    return part, f"sha256:{hashing.digest.hexdigest()}"


def _as_docker_does(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Whole seconds, so that most entries need no pax header."""
    member.mtime = int(member.mtime)
    return member


class _Hashing:
    def __init__(self, file: gzip.GzipFile) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._file.write(data)


def _put(data: bytes, blobs: Path, kind: str) -> dict[str, object]:
    part = blobs / "part"
    part.write_bytes(data)
    return _place(part, kind)


def _place(part: Path, kind: str) -> dict[str, object]:
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = part.stat().st_size
    part.rename(part.with_name(digest))
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": size}


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
