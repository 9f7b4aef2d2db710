"""An overlay's upper directory as a layer: what the container saw is what the image of it shows."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import socket
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.errors import Conflict, Invalid, NotFound, Unsupported
from runtime.images.compose import Composition
from runtime.images.content import digest_of
from runtime.images.images import Images
from runtime.images.layer_writer import write_layer
from runtime.images.limits import Limits
from runtime.images.packed_file import NewLayer, PackedFile
from runtime.images.reference import parse_reference
from runtime.layout import Layout
from runtime.model import ImageInfo
from tests.kernel.images.trees import Facts, describe, overlay
from tests.unit.images import craft
from tests.unit.images.craft import directory, entry, symlink, tar

BASE = tar(
    directory("etc"), entry("etc/passwd", b"root:x:0:0::/:/bin/sh\n"), directory("tmp", 0o1777),
    directory("d"), entry("d/old", b"old"), directory("d/deep"), entry("d/deep/x", b"x"),
    directory("gone"), entry("gone/x", b"x"), entry("file", b"1"), symlink("link", "etc"),
)  # fmt: skip
OCI = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["sh"]}}


@pytest.fixture
def base(images: Images, tmp_path: Path) -> ImageInfo:
    archive = craft.write_tar(tmp_path / "base.tar", craft.image(BASE, name="base:1"))
    return images.load(archive)[0]


def changed(
    images: Images, base: ImageInfo, folder: Path, change: Callable[[Path], None]
) -> tuple[Path, Facts]:
    """The upper directory after a change through overlayfs, and what the merged tree then shows."""
    upper, work = folder / "upper", folder / "work"
    upper.mkdir(parents=True)
    work.mkdir()
    upper.chmod(0o755)
    lower = [str(path) for path in reversed(images.layer_directories(base.id))]
    with overlay(folder / "merged", lower, str(upper), str(work)) as merged:
        change(merged)
        return upper, seen(merged)


def seen(root: Path) -> Facts:
    """Times as layers hold them, whole seconds; a socket is in no layer."""
    facts = {
        name: (*fact[:3], int(str(fact[3])) // 10**9, *fact[4:])
        for name, fact in describe(root).items()
        if not str(fact[0]).startswith("0o140")
    }
    return {name: fact for name, fact in facts.items() if name != "."}


def composed(images: Images, base: ImageInfo | None, layer: NewLayer, name: str, tmp_path: Path) -> Facts:
    info = images.compose(Composition(base.id if base else "", (layer,), OCI, (parse_reference(name),)))
    assert info.layers[-1] == layer.diff_id
    lower = [str(path) for path in reversed(images.layer_directories(info.id))]
    with overlay(tmp_path / "shown", lower) as shown:
        return seen(shown)


def everything(root: Path) -> None:
    (root / "new").mkdir(0o2770)
    (root / "new/file").write_bytes(b"content" * 1000)
    (root / "new/empty").touch(mode=0o600)
    os.chown(root / "new/file", 70000, 2**31 + 5)
    (root / "new/file").chmod(0o4755)
    os.link(root / "new/file", root / "hard")
    os.link(root / "new/file", root / "new/hard2")
    (root / "new/link").symlink_to("../../../etc/passwd")
    os.mknod(root / "new/node", 0o20600, os.makedev(1, 3))
    os.mkfifo(root / "new/fifo")
    os.setxattr(root / "new/file", "user.note", b"\0\xff=\n")
    os.setxattr(root / "new", "user.dir", b"1")
    os.setxattr(root / "new/empty", "security.capability", b"\x00\x00\x00\x02" + bytes(16))
    Path(os.fsdecode(bytes(root) + b"/new/\xff\xfe name")).write_text("no UTF-8")
    (root / "new/čeština").write_text("UTF-8")
    (root / ("n" * 255)).write_text("long")
    (root / "new" / ("p" * 200)).mkdir()
    (root / "new" / ("p" * 200) / ("q" * 200)).symlink_to("r" * 300)
    with (root / "new/sparse").open("wb") as file:
        file.truncate(3_000_000)
        file.seek(1_000_000)
        file.write(b"data")
    os.utime(root / "new/sparse", ns=(0, 1_234_567_890_987_654_321))
    (root / "file").write_bytes(b"two")
    (root / "d/old").unlink()
    shutil.rmtree(root / "gone")
    shutil.rmtree(root / "d/deep")
    (root / "d/deep").mkdir()
    (root / "d/deep/other").touch()
    (root / "link").unlink()
    (root / "link").mkdir()
    (root / "etc/passwd").chmod(0o600)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "new/socket"))


@pytest.mark.parametrize("packing", ["", "gzip"])
def test_all_kinds_of_changes(images: Images, base: ImageInfo, tmp_path: Path, packing: str) -> None:
    upper, expected = changed(images, base, tmp_path / "c", everything)
    layer = write_layer(upper, tmp_path / "layer", packing=packing)  # type: ignore[arg-type]
    data = layer.path.read_bytes()
    assert layer.digest == digest_of(data)
    assert layer.size_bytes == len(data)
    assert layer.diff_id == digest_of(gzip.decompress(data) if packing else data)
    assert composed(images, base, layer, "made:1", tmp_path) == expected
    made = images.get("made:1")
    assert made is not None
    assert made.layers[:-1] == base.layers
    assert images.get("base:1") == base


def test_the_same_tree_makes_the_same_bytes(images: Images, base: ImageInfo, tmp_path: Path) -> None:
    upper, _ = changed(images, base, tmp_path / "c", everything)
    first = write_layer(upper, tmp_path / "one")
    # Another directory, made in another order, of the same content and times.
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", "--preserve=all", upper, copy], check=True)
    assert write_layer(upper, tmp_path / "two").digest == first.digest
    assert write_layer(copy, tmp_path / "three").digest == first.digest
    # Another process, whose memory is full of something else: a packer must not look at it.
    script = (
        "import sys; from pathlib import Path; from runtime.images.layer_writer import write_layer\n"
        "print(write_layer(Path(sys.argv[1]), Path(sys.argv[2])).digest)"
    )
    for number in ("0", "85", "255"):
        done = subprocess.run(
            [sys.executable, "-c", script, upper, tmp_path / f"of-{number}"],
            env={"MALLOC_PERTURB_": number}, cwd=Path(__file__).parents[3],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        assert done.stdout.strip() == first.digest


@pytest.mark.parametrize("is_portable", [False, True])
def test_the_pieces_that_it_comes_in_change_nothing(tmp_path: Path, is_portable: bool) -> None:
    luck = random.Random(1)
    words = [luck.randbytes(luck.randrange(3, 9)) for _ in range(500)]
    data = b"".join(luck.choices(words, k=500_000))
    made = set()
    for number, most in enumerate((len(data), 1 << 20, 100_000, 777)):
        packed = PackedFile(tmp_path / str(number), "gzip", is_portable=is_portable)
        for at in range(0, len(data), most):
            packed.write(data[at : at + most])
        made.add(replace(packed.finish(), path=tmp_path))
    assert len(made) == 1
    assert made.pop().diff_id == digest_of(data)


def test_other_tools_read_it_as_it_is(images: Images, base: ImageInfo, tmp_path: Path) -> None:
    upper, _ = changed(images, base, tmp_path / "c", everything)
    layer = write_layer(upper, tmp_path / "layer", packing="")
    with tarfile.open(layer.path, encoding="utf-8", errors="surrogateescape") as archive:
        members = {member.name: member for member in archive}
    assert members["new/file"].uid == 70000
    assert members["new/file"].gid == 2**31 + 5
    assert os.fsdecode(b"new/\xff\xfe name") in members
    assert "new/čeština" in members
    assert members["d/.wh.old"].isfile()
    assert "gone/x" not in members
    assert members[".wh.gone"].size == 0
    assert members["d/deep/.wh..wh..opq"].isfile()
    listed = subprocess.run(["tar", "tf", layer.path], check=True, capture_output=True, text=True).stdout
    assert f"new/{'p' * 200}/{'q' * 200}\n" in listed


def test_no_time_is_later_than_the_epoch(images: Images, base: ImageInfo, tmp_path: Path) -> None:
    upper, _ = changed(images, base, tmp_path / "c", everything)
    layer = write_layer(upper, tmp_path / "layer", packing="", epoch=1_300_000_000)
    with tarfile.open(layer.path) as archive:
        times = {member.name: member.mtime for member in archive}
    assert times["file"] == 1_300_000_000
    assert times["new/sparse"] == 1_234_567_890


def test_with_an_epoch_it_is_packed_as_any_machine_packs_it(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_bytes(os.urandom(1000) + b"x" * 1_000_000)
    plain = write_layer(tmp_path / "tree", tmp_path / "plain", packing="", epoch=1).path.read_bytes()
    packer = zlib.compressobj(6, wbits=31)
    packed = packer.compress(plain) + packer.flush()
    assert write_layer(tmp_path / "tree", tmp_path / "packed", epoch=1).path.read_bytes() == packed


def test_what_is_left_out(images: Images, base: ImageInfo, tmp_path: Path) -> None:
    upper, _ = changed(images, base, tmp_path / "c", everything)
    layer = write_layer(upper, tmp_path / "l", packing="", leaves_out=lambda path: path.startswith(b"new"))
    with tarfile.open(layer.path) as archive:
        assert [name for name in archive.getnames() if name.startswith("new")] == []


def test_a_deleted_file_of_the_longest_name(images: Images, tmp_path: Path) -> None:
    long = tar(craft.pax({"path": "n" * 255}), entry("n", b"1"))
    archive = craft.write_tar(tmp_path / "b.tar", craft.image(long, name="base:1"))
    (base,) = images.load(archive)
    upper, expected = changed(images, base, tmp_path / "c", lambda root: (root / ("n" * 255)).unlink())
    layer = write_layer(upper, tmp_path / "layer")
    assert composed(images, base, layer, "made:1", tmp_path) == expected == {}


def test_an_image_of_nothing_but_new_layers(images: Images, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir(0o755)
    (tree / "hello").write_text("hello")
    expected = seen(tree)
    layer = write_layer(tree, tmp_path / "layer")
    assert composed(images, None, layer, "scratch:1", tmp_path) == expected
    assert not layer.path.exists()


@pytest.mark.parametrize("name", [".wh.x", ".wh..wh..opq", ".wh."])
def test_a_name_that_a_layer_cannot_hold(tmp_path: Path, name: str) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / name).touch()
    with pytest.raises(Unsupported, match=r"begin with \.wh\."):
        write_layer(tmp_path / "tree", tmp_path / "layer", subject="web")
    assert not (tmp_path / "layer").exists()


@pytest.mark.parametrize("name", ["trusted.overlay.redirect", "trusted.overlay.metacopy"])
def test_content_that_lies_elsewhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/moved").mkdir()
    os.setxattr(tmp_path / "tree/moved", name, b"other")
    with pytest.raises(Unsupported, match="in a layer below"):
        write_layer(tmp_path / "tree", tmp_path / "layer")


def test_bombs(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    with (tree / "sparse").open("wb") as file:
        file.truncate(8 << 40)
    with pytest.raises(Invalid, match="over"):
        write_layer(tree, tmp_path / "layer")
    (tree / "sparse").unlink()
    descriptor = os.open(tree, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    with pytest.raises(Invalid, match="deeper than 256"):
        write_layer(tree, tmp_path / "layer")
    with pytest.raises(Invalid, match="more than 3 files"):
        write_layer(tree, tmp_path / "layer", limits=Limits(entries=3))
    assert not (tmp_path / "layer").exists()


def test_a_name_moves_only_when_it_may(images: Images, base: ImageInfo, tmp_path: Path) -> None:
    upper, _ = changed(images, base, tmp_path / "c", lambda root: (root / "x").touch())
    wanted = Composition(base.id, (write_layer(upper, tmp_path / "l"),), OCI, (parse_reference("base:1"),))
    with pytest.raises(Conflict, match=r"base:1.*another image"):
        images.compose(wanted, moves_names=False)
    assert images.get("base:1") == base
    wanted = Composition(base.id, (write_layer(upper, tmp_path / "m"),), OCI, wanted.names)
    assert images.get("base:1") == base != images.compose(wanted) == images.get("base:1")


def test_a_base_that_is_gone(images: Images, layout: Layout, base: ImageInfo, tmp_path: Path) -> None:
    upper, _ = changed(images, base, tmp_path / "c", lambda root: (root / "x").touch())
    layer = write_layer(upper, tmp_path / "l")
    images.remove("base:1", in_use=())
    with pytest.raises(NotFound, match="not here any more"):
        images.compose(Composition(base.id, (layer,), OCI))
    assert list((layout.images / "ingest").iterdir()) == []


def test_attributes_that_steer_are_left_out(tmp_path: Path) -> None:
    """What an image could not have, no image is made to have."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").touch()
    for name in ("trusted.x", "user.overlay.opaque", "user.note"):
        os.setxattr(tmp_path / "tree/file", name, b"1")
    layer = write_layer(tmp_path / "tree", tmp_path / "layer", packing="")
    with tarfile.open(layer.path) as archive:
        records = archive.getmember("file").pax_headers
    assert records == {"SCHILY.xattr.user.note": "1"}
