"""Layers with a table of contents for partial pulls, zstd:chunked and eStargz, are whole layers to us: all is
hashed as the registry has it, what is beside their data is skipped, and their tree is that of a plain one."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import struct
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import zstandard

from runtime.errors import Invalid
from runtime.images.images import Images
from runtime.images.registry.endpoints import Endpoint
from runtime.images.registry.origin import Origin
from runtime.images.streams import unpack_chunks
from runtime.images.worker import IsolatedImages
from runtime.layout import Layout
from tests.kernel.images.trees import Facts, describe
from tests.registry import PROGRAM, Registry, make_image, started
from tests.unit.images import craft

FILES = [
    {"etc/one": b"1" * 100_000, "etc/empty": b"", "usr/large": os.urandom(3 << 20)},
    {"usr/" + "n" * 60 + str(number): os.urandom(20_000) for number in range(20)},
]
TOC = "stargz.index.json"
needs_registry = pytest.mark.skipif(PROGRAM is None, reason="needs docker-registry")


def trees(images: Images, id: str) -> list[Facts]:
    return [describe(directory) for directory in images.layer_directories(id)]


def pulled(layout: Layout, registry: Registry, name: str) -> list[Facts]:
    """Its trees, once a second look has found nothing amiss."""
    images = IsolatedImages(layout)
    origin = Origin(Endpoint(registry.host, is_insecure=True))
    info = images.pull(f"{registry.host}/{name}", [origin])
    assert images.check([info.id], repair=False, busy=()) == ()
    return trees(images, info.id)


def manifest_of(registry: Registry, name: str) -> dict[str, Any]:
    repository, tag = name.split(":")
    wanted = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    url = f"http://{registry.host}/v2/{repository}/manifests/{tag}"
    with urllib.request.urlopen(urllib.request.Request(url, headers=wanted)) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


@needs_registry
@pytest.mark.skipif(shutil.which("podman") is None, reason="needs podman")
def test_zstd_chunked_as_podman_pushes_it(layout: Layout, tmp_path: Path) -> None:
    image = make_image(tmp_path / "image", FILES)
    with started(tmp_path / "registry") as registry:
        registry.put(f"oci:{image}", "lab/plain:1")
        podman = ["podman", "--root", tmp_path / "podman", "--runroot", tmp_path / "podman-run"]
        words = ["--compression-format", "zstd:chunked", "--force-compression", "--tls-verify=false"]
        said = subprocess.run([*podman, "pull", "-q", f"oci:{image}"], capture_output=True, check=True).stdout
        try:
            target = f"docker://{registry.host}/lab/chunked:1"
            subprocess.run([*podman, "push", "-q", *words, said.split()[-1].decode(), target], check=True)
        finally:
            subprocess.run([*podman, "rmi", "-a", "-f"], capture_output=True, check=False)
        for layer in manifest_of(registry, "lab/chunked:1")["layers"]:
            assert layer["mediaType"].endswith("+zstd")
            assert any(name.startswith("io.github.containers.zstd-chunked.") for name in layer["annotations"])
        plain = pulled(layout, registry, "lab/plain:1")
        other = Layout(layout.instance, tmp_path / "other", tmp_path / "run")
        assert pulled(other, registry, "lab/chunked:1") == plain
        assert len(plain[1]) > len(FILES[1])


def estargz(files: dict[str, bytes]) -> tuple[bytes, bytes]:
    """(packed, plain), as estargz.md of stargz-snapshotter describes it: a gzip member for each chunk of 1
    MiB, one for the table, and an empty one of 51 bytes, whose extra field says where the table begins."""
    members: list[bytes] = []
    plain = b""

    def put(data: bytes) -> int:
        nonlocal plain
        plain += data
        members.append(gzip.compress(data, mtime=0))
        return sum(map(len, members[:-1]))

    entries: list[dict[str, object]] = []
    for name, content in {".prefetch.landmark": b"\xf0", **files}.items():
        whole = craft.entry(name, content)
        header = len(whole) - len(content) - (-len(content) % 512)
        offset = put(whole[: header + (1 << 20)])
        for at in range(header + (1 << 20), len(whole), 1 << 20):
            put(whole[at : at + (1 << 20)])
        digest = craft.digest(content)
        entries.append(
            {"name": name, "type": "reg", "size": len(content), "offset": offset, "digest": digest}
        )
    table = json.dumps({"version": 1, "entries": entries}).encode()
    toc_at = put(craft.tar(craft.entry(TOC, table)))
    field = b"SG" + struct.pack("<H", 22) + b"%016xSTARGZ" % toc_at
    footer = b"\x1f\x8b\x08\x04" + bytes(5) + b"\xff" + struct.pack("<H", len(field)) + field
    footer += b"\x01\x00\x00\xff\xff" + bytes(8)
    assert len(footer) == 51 and gzip.decompress(footer) == b""
    return b"".join(members) + footer, plain


@needs_registry
def test_estargz(layout: Layout, tmp_path: Path) -> None:
    """With what is in it for partial pulls as plain files, as other engines have it that pull it whole."""
    packed, plain = zip(*(estargz(files) for files in FILES), strict=True)
    config = craft.config(plain)
    manifest = json.loads(craft.manifest(config, packed))
    for layer in manifest["layers"]:
        layer["annotations"] = {"containerd.io/snapshot/stargz/toc.digest": craft.digest(b"toc")}
    document = json.dumps(manifest).encode()
    index = craft.index(craft.manifest_entry(document, "1"))
    image = craft.write_directory(tmp_path / "image", craft.layout(index, config, document, *packed))
    with started(tmp_path / "registry") as registry:
        registry.put(f"oci:{image}", "lab/star:1")
        assert [layer["digest"] for layer in manifest_of(registry, "lab/star:1")["layers"]] == [
            craft.digest(layer) for layer in packed
        ]
        found = pulled(layout, registry, "lab/star:1")
    (archived,) = Images(layout).list()
    for directory, files in zip(Images(layout).layer_directories(archived.id), FILES, strict=True):
        for name, content in files.items():
            assert (directory / name).read_bytes() == content
        assert json.loads((directory / TOC).read_bytes())["version"] == 1
    assert all(TOC in tree for tree in found)


def skippable(content: bytes, number: int = 0) -> bytes:
    """RFC 8878, 3.1.2."""
    return struct.pack("<II", 0x184D2A50 + number, len(content)) + content


@pytest.mark.parametrize("place", ["first", "between", "last"])
@pytest.mark.parametrize("size", [0, 8, 3 << 20])
def test_frames_to_skip(place: str, size: int) -> None:
    pack = zstandard.ZstdCompressor().compress
    data = [os.urandom(300_000), os.urandom(10)]
    frames = [pack(each) for each in data]
    at = {"first": 0, "between": 1, "last": 2}[place]
    frames[at:at] = [skippable(os.urandom(size), number) for number in (0, 15)]
    assert b"".join(unpack_chunks(io.BytesIO(b"".join(frames)), "x")) == b"".join(data)


def test_a_frame_to_skip_that_is_cut_off_is_no_layer(layout: Layout, tmp_path: Path) -> None:
    """It says that four thousand million bytes are to be skipped: nothing is taken for it."""
    (tmp_path / "layer").write_bytes(struct.pack("<II", 0x184D2A50, 0xFFFFFFFF) + bytes(100_000))
    with pytest.raises(Invalid):
        Images(layout).import_rootfs(tmp_path / "layer", "made:1")
    assert Images(layout).list() == ()
