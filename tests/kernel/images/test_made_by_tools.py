"""Layers of other programs give the tree that podman makes of them, entry for entry.

SETPOINT_LAYERS=1000 tries as many (seeds 0 to 999); without it a few of each tool. SETPOINT_SUITE=trixie
fetches that distribution and compares it, too. Compared are the unpacked layers themselves, as both keep them
for overlayfs: type, mode, owner, time, content, target, device, extended attributes, whiteouts, opaque
directories, and which names are one file.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from runtime.images.images import Images
from runtime.images.layers import TREE, unpack_layer
from runtime.images.worker import IsolatedImages
from runtime.layout import Layout
from tests.kernel.images.made_by_tools import OLD_SPARSE, TOOLS, tool_for, write_layer
from tests.kernel.images.trees import Facts, describe
from tests.unit.images import craft

COUNT = int(os.environ.get("SETPOINT_LAYERS", 2 * len(TOOLS)))
AT_ONCE = 50  # an image's layers: podman takes no more than 125 or so
PROGRAMS = ("podman", "bsdtar", "tar")

pytestmark = pytest.mark.skipif(
    any(shutil.which(program) is None for program in PROGRAMS), reason=f"needs {', '.join(PROGRAMS)}"
)


@pytest.mark.parametrize("first", range(0, COUNT, AT_ONCE))
def test_as_podman_unpacks_them(first: int, layout: Layout, tmp_path: Path) -> None:
    seeds = range(first, min(first + AT_ONCE, COUNT))
    layers = [write_layer(seed, tmp_path / f"seed-{seed}").read_bytes() for seed in seeds]
    archive = craft.write_tar(tmp_path / "image.tar", craft.image(*layers, name="localhost/made:1"))
    (info,) = IsolatedImages(layout).load(archive)
    ours = Images(layout).layer_directories(info.id)
    try:
        theirs = _podman_layers(tmp_path, archive)
        for seed, layer, mine in zip(seeds, layers, ours, strict=True):
            _compare(seed, _comparable(mine), _comparable(theirs[craft.digest(layer)]))
    finally:
        subprocess.run([*_podman(tmp_path), "rmi", "-a", "-f"], capture_output=True, check=False)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("SETPOINT_SUITE"), reason="fetches a distribution")
def test_a_distribution_as_podman_unpacks_it(layout: Layout, tmp_path: Path) -> None:
    tree = tmp_path / "tree.tar"
    made = ["mmdebstrap", "--variant=apt", "--include=iputils-ping", os.environ["SETPOINT_SUITE"], tree]
    subprocess.run(made, check=True, capture_output=True)
    layer = tree.read_bytes()
    archive = craft.write_tar(tmp_path / "image.tar", craft.image(layer, name="localhost/distribution:1"))
    (info,) = IsolatedImages(layout).load(archive)
    (mine,) = Images(layout).layer_directories(info.id)
    try:
        theirs = _podman_layers(tmp_path, archive)[craft.digest(layer)]
        ours = _comparable(mine)
        assert len(ours) > 3000
        _compare(0, ours, _comparable(theirs))
    finally:
        subprocess.run([*_podman(tmp_path), "rmi", "-a", "-f"], capture_output=True, check=False)


@pytest.mark.parametrize("seed", range(6))
def test_as_gnu_tar_unpacks_its_own_sparse_files(seed: int, tmp_path: Path) -> None:
    """Without whiteouts, which mean nothing to it."""
    path = write_layer(seed, tmp_path / "made", OLD_SPARSE)
    with path.open("rb") as file:
        unpack_layer(file, tmp_path / "ours", "test")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    subprocess.run(["tar", "--numeric-owner", "-p", "-C", theirs, "-xf", path], check=True)
    mine = {name: facts[:5] for name, facts in describe(tmp_path / "ours" / TREE).items()}
    other = {name: facts[:5] for name, facts in describe(theirs).items()}
    hidden = {name for name in mine.keys() ^ other.keys() if "hidden" in name or ".wh." in name}
    for name in (mine.keys() | other.keys()) - hidden:
        assert mine.get(name) == other.get(name), name


def test_zstd_and_gzip_give_the_same(layout: Layout, tmp_path: Path) -> None:
    """Both by their own programs, in several frames and members."""
    data = write_layer(1, tmp_path / "layer").read_bytes()
    half = len(data) // 2
    packed = {
        "zstd": b"".join(_piped(part, "zstd", "-q", "-c") for part in (data[:half], data[half:])),
        "gzip": gzip.compress(data[:half]) + gzip.compress(data[half:]),
        "plain": data,
    }
    trees = []
    for name, content in packed.items():
        (tmp_path / name).write_bytes(content)
        info = Images(layout).import_rootfs(tmp_path / name, f"made:{name}")
        trees.append(info.layers)
    assert trees[0] == trees[1] == trees[2]


def _piped(data: bytes, *command: str) -> bytes:
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


def _podman(folder: Path) -> list[str | Path]:
    return [
        "podman",
        "--root",
        folder / "podman",
        "--runroot",
        folder / "podman-run",
        "--storage-driver=overlay",
    ]


def _podman_layers(folder: Path, archive: Path) -> dict[str, Path]:
    """The unpacked layers by diff id."""
    done = subprocess.run(
        [*_podman(folder), "load", "-q", "-i", archive], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    known = json.loads((folder / "podman/overlay-layers/layers.json").read_text())
    return {layer["diff-digest"]: folder / "podman/overlay" / layer["id"] / "diff" for layer in known}


def _comparable(tree: Path) -> Facts:
    """Without the root, whose mode and time podman keeps elsewhere, and without the times of whiteouts."""
    facts = describe(tree)
    del facts["."]
    for name, (mode, uid, gid, _, content, *more) in facts.items():
        if (mode, content) == ("0o20000", 0):
            facts[name] = mode, uid, gid, 0, content, *more
    return facts


def _compare(seed: int, mine: Facts, theirs: Facts) -> None:
    names = sorted({name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name)})
    shown = [f"{name!r}\n  ours   {mine.get(name)}\n  podman {theirs.get(name)}" for name in names[:5]]
    assert not names, f"seed {seed}, {' '.join(tool_for(seed))}:\n" + "\n".join(shown)
