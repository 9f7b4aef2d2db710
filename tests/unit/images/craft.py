"""Crafts tars, layers and image archives byte by byte: also those that no tar program would write.

Used by the tests of images, with and without root. A tar is a list of pieces: `entry(...)`, `pax(...)`,
`long_name(...)`, and END.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import struct
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

END = bytes(1024)
OCI = "application/vnd.oci.image."


def entry(
    name: bytes | str,
    data: bytes = b"",
    *,
    kind: bytes = b"0",
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    mtime: int = 1_000_000_000,
    link: bytes | str = b"",
    major: int = 0,
    minor: int = 0,
    size: int | None = None,
    magic: bytes = b"ustar\x0000",
    fields: Mapping[str, bytes] = {},
) -> bytes:
    """One header with its data. size, magic and fields (raw bytes of a field) say what is not true."""
    values = {
        "name": _raw(name), "mode": b"%07o\0" % mode, "uid": _number(uid), "gid": _number(gid),
        "size": _number(len(data) if size is None else size, 12), "mtime": _number(mtime, 12),
        "checksum": b" " * 8, "kind": kind, "link": _raw(link), "magic": magic, "uname": b"", "gname": b"",
        "major": _number(major), "minor": _number(minor), "prefix": b"", **fields,
    }  # fmt: skip
    header = struct.pack("100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x", *values.values())
    if "checksum" not in fields:
        header = header[:148] + b"%06o\0 " % sum(header) + header[156:]
    return header + data + bytes(-len(data) % 512)


def directory(name: bytes | str, mode: int = 0o755, **more: object) -> bytes:
    return entry(name, kind=b"5", mode=mode, **more)  # type: ignore[arg-type]


def symlink(name: bytes | str, target: bytes | str, **more: object) -> bytes:
    return entry(name, kind=b"2", link=target, mode=0o777, **more)  # type: ignore[arg-type]


def hardlink(name: bytes | str, target: bytes | str) -> bytes:
    return entry(name, kind=b"1", link=target)


def pax(records: Mapping[str, bytes | str] | bytes, kind: bytes = b"x", size: int | None = None) -> bytes:
    """An extended header. Bytes are taken as they are."""
    data = records if isinstance(records, bytes) else b"".join(_record(*item) for item in records.items())
    return entry("PaxHeaders/x", data, kind=kind, size=size)


def long_name(name: bytes | str, kind: bytes = b"L") -> bytes:
    return entry("././@LongLink", _raw(name) + b"\0", kind=kind)


def tar(*pieces: bytes) -> bytes:
    return b"".join(pieces) + END


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def descriptor(kind: str, data: bytes, **more: object) -> dict[str, object]:
    return {"mediaType": kind, "digest": digest(data), "size": len(data), **more}


def config(layers: Iterable[bytes], **inner: object) -> bytes:
    return json.dumps(
        {
            "architecture": "amd64", "os": "linux", "created": "2020-01-02T03:04:05.678901234Z",
            "config": {"Cmd": ["sh"], **inner},
            "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
        }
    ).encode()  # fmt: skip


def manifest(config_data: bytes, layers: Iterable[bytes], packing: str = "+gzip") -> bytes:
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI + "manifest.v1+json",
            "config": descriptor(OCI + "config.v1+json", config_data),
            "layers": [descriptor(f"{OCI}layer.v1.tar{packing}", layer) for layer in layers],
        }
    ).encode()


def index(*entries: Mapping[str, object]) -> bytes:
    return json.dumps(
        {"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": list(entries)}
    ).encode()


def manifest_entry(data: bytes, name: str = "", **more: object) -> dict[str, object]:
    notes = {"annotations": {"org.opencontainers.image.ref.name": name}} if name else {}
    return descriptor(OCI + "manifest.v1+json", data, **notes, **more)


def layout(index_data: bytes, *blobs: bytes) -> dict[str, bytes]:
    """The members of an OCI image layout."""
    return {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": index_data,
        **{"blobs/sha256/" + digest(blob)[7:]: blob for blob in blobs},
    }


def image(*layers: bytes, name: str = "crafted:latest", **inner: object) -> dict[str, bytes]:
    """A layout with one image of these plain tars, packed with gzip."""
    packed = [gzip.compress(layer, 1, mtime=0) for layer in layers]
    config_data = config(layers, **inner)
    manifest_data = manifest(config_data, packed)
    return layout(index(manifest_entry(manifest_data, name)), config_data, manifest_data, *packed)


def docker_save(*layers: bytes, tags: Iterable[str] = ("crafted:latest",)) -> dict[str, bytes]:
    """What `docker save` wrote before version 25."""
    config_data = config(layers)
    names = [f"{position}/layer.tar" for position in range(len(layers))]
    listing = [{"Config": digest(config_data)[7:] + ".json", "RepoTags": list(tags), "Layers": names}]
    return {
        digest(config_data)[7:] + ".json": config_data,
        "manifest.json": json.dumps(listing).encode(),
        **dict(zip(names, layers, strict=True)),
    }


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def write_directory(path: Path, members: Mapping[str, bytes]) -> Path:
    for name, data in members.items():
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return path


def _raw(text: bytes | str) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _number(value: int, width: int = 8) -> bytes:
    if value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return b"\x80" + value.to_bytes(width - 1, "big")


def _record(key: str, value: bytes | str) -> bytes:
    body = b" " + key.encode() + b"=" + _raw(value) + b"\n"
    length = len(body)
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body
