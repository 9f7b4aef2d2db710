"""What archives hold, before anything of it is stored."""

from __future__ import annotations

import gzip
import importlib.machinery
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from runtime.errors import Invalid, SetpointError
from runtime.images.archive import open_source
from runtime.images.documents import Descriptor, Platform
from runtime.images.formats import CONTAINERD_NAME, OCI_NAME, FoundImage, find_images, oci_name
from tests.unit.images import craft
from tests.unit.images.craft import entry, tar

AMD64 = Platform("linux", "amd64")
LAYER = tar(entry("a", b"x"))
BUSYBOX_IMAGE = Path(__file__).resolve().parents[3] / "ops" / "busybox-image"


def find(tmp_path: Path, members: dict[str, bytes]) -> tuple[FoundImage, ...]:
    with open_source(craft.write_tar(tmp_path / "1.tar", members), tmp_path) as source:
        return find_images(source, AMD64)


@pytest.mark.parametrize(("notes", "name"), [
    ({CONTAINERD_NAME: "docker.io/library/a:1", OCI_NAME: "1"}, "docker.io/library/a:1"),
    ({OCI_NAME: "registry.test/a:1"}, "registry.test/a:1"), ({OCI_NAME: "a:1"}, "docker.io/library/a:1"),
    ({OCI_NAME: "a"}, "docker.io/library/a:latest"), ({OCI_NAME: "latest"}, None), ({OCI_NAME: "v1.2"}, None),
    ({OCI_NAME: "3.11-slim"}, None), ({OCI_NAME: "../../x"}, None), ({OCI_NAME: ""}, None), ({}, None),
    ({CONTAINERD_NAME: "NOT VALID", OCI_NAME: "a:1"}, "docker.io/library/a:1"),
])  # fmt: skip
def test_names_in_annotations(notes: dict[str, str], name: str | None) -> None:
    found = oci_name(Descriptor("m", craft.digest(b""), 0, annotations=notes))
    assert (found.canonical if found else None) == name


def test_a_layout(tmp_path: Path) -> None:
    (image,) = find(tmp_path, craft.image(LAYER, name="a:1"))
    assert [name.familiar for name in image.names] == ["a:1"]
    assert image.layers[0].diff_id == craft.digest(LAYER)
    assert image.layers[0].digest == craft.digest(gzip.compress(LAYER, 1, mtime=0))


def test_names_of_one_image_come_together(tmp_path: Path) -> None:
    members = craft.image(LAYER, name="a:1")
    data = next(value for value in members.values() if b"manifest.v1" in value and b'"layers"' in value)
    entries = [craft.manifest_entry(data, name) for name in ("a:1", "b:1", "a:1")] + [
        craft.manifest_entry(data)
    ]
    (image,) = find(tmp_path, {**members, "index.json": craft.index(*entries)})
    assert [name.familiar for name in image.names] == ["a:1", "b:1"]


def test_both_kinds_in_one_archive_is_the_oci_one(tmp_path: Path) -> None:
    members = {**craft.docker_save(tar(entry("b"))), **craft.image(LAYER, name="oci:1")}
    assert [name.familiar for image in find(tmp_path, members) for name in image.names] == ["oci:1"]


def test_docker_save(tmp_path: Path) -> None:
    (image,) = find(tmp_path, craft.docker_save(LAYER, LAYER, tags=["a:1", "a:1", "x.test/b:2"]))
    assert [name.familiar for name in image.names] == ["a:1", "x.test/b:2"]
    assert (image.manifest, [layer.member for layer in image.layers]) == (b"", ["0/layer.tar", "1/layer.tar"])


@pytest.mark.parametrize("change", [
    {"Layers": []}, {"Layers": ["0/layer.tar"] * 3}, {"Layers": "0/layer.tar"}, {"Layers": [1]},
    {"Config": 1},
    {"Config": "none"}, {"Config": "0/layer.tar"}, {"RepoTags": ["A"]}, {"RepoTags": "a:1"},
    {"RepoTags": [1]},
])  # fmt: skip
def test_docker_save_refused(tmp_path: Path, change: dict[str, object]) -> None:
    members = craft.docker_save(LAYER)
    listing = json.loads(members["manifest.json"])
    with pytest.raises(SetpointError):
        find(tmp_path, {**members, "manifest.json": json.dumps([{**listing[0], **change}]).encode()})


def test_indexes_that_never_end(tmp_path: Path) -> None:
    data = craft.manifest(craft.config([LAYER]), [LAYER])
    blobs = [data]
    for _ in range(6):
        kind = craft.OCI + ("manifest.v1+json" if len(blobs) == 1 else "index.v1+json")
        blobs.append(craft.index(craft.descriptor(kind, blobs[-1])))
    top = craft.index(craft.descriptor(craft.OCI + "index.v1+json", blobs[-1]))
    with pytest.raises(Invalid, match="nested"):
        find(tmp_path, craft.layout(top, *blobs, craft.config([LAYER])))


@pytest.mark.parametrize("count", [0, 2])
def test_layers_and_diff_ids_must_agree(tmp_path: Path, count: int) -> None:
    config = craft.config([LAYER] * count)
    data = craft.manifest(config, [LAYER])
    with pytest.raises(Invalid, match=f"1 layers, but {count} diff ids"):
        find(tmp_path, craft.layout(craft.index(craft.manifest_entry(data)), data, config, LAYER))


def test_a_descriptor_that_lies(tmp_path: Path) -> None:
    config = craft.config([LAYER])
    data = craft.manifest(config, [LAYER])
    for change in ({"size": len(data) + 1}, {"mediaType": craft.OCI + "index.v1+json"}):
        members = craft.layout(craft.index({**craft.manifest_entry(data), **change}), data, config)
        with pytest.raises(Invalid):
            find(tmp_path, members)


# --- ops/busybox-image ------------------------------------------------------------------------


def load_program() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("busybox_image", str(BUSYBOX_IMAGE))
    spec = importlib.util.spec_from_loader("busybox_image", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_small_image(tmp_path: Path) -> None:
    """With a stand-in for busybox: no package is needed to see that the archive is right."""
    program = load_program()
    layer = program.build_layer(b"\x7fELF", ["bin/sh", "usr/bin/env"])
    first, second = program.build_archive(layer), program.build_archive(layer)
    assert first == second
    (tmp_path / "1.tar").write_bytes(first)
    with open_source(tmp_path / "1.tar", tmp_path) as source:
        (image,) = find_images(source, Platform("linux", "mips"))
    assert [name.familiar for name in image.names] == ["busybox:latest"]
    assert image.layers[0].diff_id == craft.digest(layer)


def test_the_small_image_s_help() -> None:
    done = subprocess.run(
        [sys.executable, BUSYBOX_IMAGE, "--help"], capture_output=True, text=True, check=True
    )
    assert "setpoint image load" in done.stdout
