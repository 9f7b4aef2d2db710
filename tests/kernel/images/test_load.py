"""Archives as other tools write them, into the store and out to a root file system."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import stat
import subprocess
import threading
from pathlib import Path

import pytest
import zstandard

from runtime.errors import Invalid, NotFound, SetpointError, Unsupported
from runtime.images import snapshots
from runtime.images.images import Images
from runtime.images.layers import chain_id
from runtime.layout import Layout
from tests.kernel.images.trees import describe, overlay
from tests.unit.images import craft
from tests.unit.images.craft import directory, entry, hardlink, pax, symlink, tar

BASE = tar(
    directory("etc"), entry("etc/passwd", b"root:x:0:0::/:/bin/sh\n"), directory("tmp", 0o1777),
    directory("d"), entry("d/old", b"old"), directory("gone"), entry("gone/x", b"x"), entry("replaced", b"1"),
)  # fmt: skip
TOP = tar(
    directory("d"), entry("d/.wh..wh..opq"), entry("d/new", b"new"), entry(".wh.gone"),
    entry("replaced", b"2"), symlink("link", "/etc/passwd"), hardlink("hard", "replaced"),
)  # fmt: skip


def ingest_is_empty(layout: Layout) -> bool:
    ingest = layout.images / "ingest"
    return not ingest.exists() or not list(ingest.iterdir())


def merged(images: Images, image_id: str, tmp_path: Path) -> overlay:
    lower = [str(path) for path in reversed(images.layer_directories(image_id))]
    return overlay(tmp_path / "merged", lower)


# --- formats ----------------------------------------------------------------------------------


def test_busybox(images: Images, layout: Layout, busybox_archive: Path) -> None:
    (info,) = images.load(busybox_archive)
    assert info.names == ("busybox:latest",)
    assert info.command == ("sh",)
    assert images.get("busybox") == images.get("docker.io/library/busybox:latest") == info
    assert images.get(info.id) == images.get(info.id[7:]) == images.get(info.id[7:19]) == info
    assert images.get(f"busybox@{info.digest}") == info
    assert images.get("busybox:other") is None
    assert images.list() == (info,)
    (tree,) = images.layer_directories(info.id)
    assert stat.S_IMODE((tree / "tmp").stat().st_mode) == 0o1777
    assert (tree / "bin/sh").stat().st_ino == (tree / "bin/busybox").stat().st_ino
    assert stat.S_IMODE(layout.images.stat().st_mode) == 0o700
    assert ingest_is_empty(layout)


@pytest.mark.parametrize("target", [
    "gzip docker-archive:{path}/out.tar:registry.test/team/box:1.2",
    "gzip oci-archive:{path}/out.tar:registry.test/team/box:1.2",
    "zstd oci-archive:{path}/out.tar:registry.test/team/box:1.2",
    "zstd oci:{path}/out.tar:registry.test/team/box:1.2",
])  # fmt: skip
def test_what_skopeo_writes(images: Images, tmp_path: Path, busybox_archive: Path, target: str) -> None:
    packing, target = target.split(" ")
    where = target.format(path=tmp_path)
    subprocess.run(
        ["skopeo", "copy", "-q", "--dest-compress", f"--dest-compress-format={packing}",
         f"oci-archive:{busybox_archive}", where],
        check=True, capture_output=True,
    )  # fmt: skip
    (info,) = images.load(tmp_path / "out.tar")
    assert info.names == ("registry.test/team/box:1.2",)
    (original,) = images.load(busybox_archive)
    assert info.layers == original.layers
    assert images.layer_directories(info.id) == images.layer_directories(original.id)


def test_skopeo_reads_the_store(images: Images, layout: Layout, busybox_archive: Path) -> None:
    images.load(busybox_archive)
    shown = subprocess.run(
        ["skopeo", "inspect", f"oci:{layout.images}:docker.io/library/busybox:latest"],
        check=True, capture_output=True,
    )  # fmt: skip
    assert json.loads(shown.stdout)["Os"] == "linux"


@pytest.mark.parametrize("pack", [
    lambda data: data, gzip.compress, bz2.compress, lzma.compress, zstandard.compress,
    lambda data: gzip.compress(data[:700]) + gzip.compress(data[700:]) + bytes(512),
    lambda data: zstandard.compress(data[:700]) + zstandard.compress(data[700:]),
])  # fmt: skip
def test_docker_save_packed(images: Images, tmp_path: Path, pack: object) -> None:
    plain = craft.write_tar(tmp_path / "plain.tar", craft.docker_save(BASE, TOP, tags=["a:1", "b/c:2"]))
    packed = tmp_path / "packed"
    packed.write_bytes(pack(plain.read_bytes()))  # type: ignore[operator]
    (info,) = images.load(packed)
    assert info.names == ("a:1", "b/c:2")
    with merged(images, info.id, tmp_path) as root:
        check_merged(root)


def check_merged(root: Path) -> None:
    assert sorted(path.name for path in root.iterdir()) == ["d", "etc", "hard", "link", "replaced", "tmp"]
    assert [path.name for path in (root / "d").iterdir()] == ["new"]
    assert (root / "hard").read_bytes() == (root / "replaced").read_bytes() == b"2"
    assert stat.S_IMODE((root / "tmp").stat().st_mode) == 0o1777


def test_docker_save_with_layers_that_are_links(images: Images, tmp_path: Path) -> None:
    members = craft.docker_save(BASE, TOP)
    listing = json.loads(members["manifest.json"])
    pieces = [entry(name, data) for name, data in members.items()]
    pieces += [symlink("again/layer.tar", "../0/layer.tar"), hardlink("more/layer.tar", "1/layer.tar")]
    listing[0]["Layers"] = ["again/layer.tar", "more/layer.tar"]
    pieces.append(entry("manifest.json", json.dumps(listing).encode()))
    (tmp_path / "saved.tar").write_bytes(tar(*pieces))
    (info,) = images.load(tmp_path / "saved.tar")
    assert len(info.layers) == 2


def test_several_images_share_layers(images: Images, layout: Layout, tmp_path: Path) -> None:
    members = craft.image(BASE, TOP, name="one:1")
    other = craft.image(BASE, name="two:2")
    both = json.loads(members["index.json"])
    both["manifests"] += json.loads(other["index.json"])["manifests"]
    path = craft.write_tar(
        tmp_path / "both.tar", {**members, **other, "index.json": json.dumps(both).encode()}
    )
    first, second = images.load(path)
    assert (first.names, second.names) == (("one:1",), ("two:2",))
    assert len(list((layout.images / "layers").iterdir())) == 2
    gone = images.remove("one:1", in_use=())
    assert gone == ("one:1", first.id, first.layers[1])
    assert images.get("two:2") == second
    assert images.layer_directories(second.id)[0].is_dir()
    images.remove("two:2", in_use=())
    assert not list((layout.images / "layers").iterdir())
    assert not list((layout.images / "blobs/sha256").iterdir())


def test_a_pipe(images: Images, tmp_path: Path) -> None:
    path = craft.write_tar(tmp_path / "image.tar", craft.image(BASE))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(path.read_bytes()))
    writer.start()
    try:
        assert images.load(pipe)[0].names == ("crafted:latest",)
    finally:
        writer.join()


def host_index(*manifests: tuple[str, bytes]) -> bytes:
    return craft.index(
        *(
            craft.manifest_entry(data, platform={"os": "linux", "architecture": arch})
            for arch, data in manifests
        )
    )


def test_an_index_gives_the_image_of_this_platform(images: Images, tmp_path: Path) -> None:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    packed, other = gzip.compress(BASE), gzip.compress(TOP)
    config, foreign = craft.config([BASE]), craft.config([TOP])
    here, there = craft.manifest(config, [packed]), craft.manifest(foreign, [other])
    nested = host_index(("mips", there), (machine, here))
    top = craft.index(craft.descriptor(craft.OCI + "index.v1+json", nested, annotations={
        "org.opencontainers.image.ref.name": "docker.io/library/multi:1",
    }))  # fmt: skip
    members = craft.layout(
        top, nested, here, there, config, packed
    )  # the other platform's blobs are not there
    (info,) = images.load(craft.write_directory(tmp_path / "layout", members))
    assert info.layers == (craft.digest(BASE),)
    assert images.get(f"multi@{craft.digest(nested)}") == images.get(f"multi@{craft.digest(here)}") == info
    foreign_index = host_index(("mips", there))
    only = craft.index(craft.descriptor(craft.OCI + "index.v1+json", foreign_index))
    members = craft.layout(only, foreign_index, there, foreign, other)
    with pytest.raises(Unsupported, match="mips") as caught:
        images.load(craft.write_directory(tmp_path / "foreign", members))
    assert caught.value.hint


# --- names ------------------------------------------------------------------------------------


def test_a_name_moves_and_the_old_image_stays_without_one(images: Images, tmp_path: Path) -> None:
    (old,) = images.load(craft.write_tar(tmp_path / "1.tar", craft.image(BASE)))
    (new,) = images.load(craft.write_tar(tmp_path / "2.tar", craft.image(BASE, TOP)), moves_names=True)
    assert images.get("crafted") == new
    kept = images.get(old.id)
    assert kept is not None and kept.names == ()
    assert images.prune(in_use=[old.id]) == ()
    assert images.prune(in_use=[]) == (old.id,)
    assert images.get(old.id) is None
    assert images.layer_directories(new.id)


def test_tag_and_remove(images: Images, tmp_path: Path) -> None:
    (info,) = images.load(craft.write_tar(tmp_path / "1.tar", craft.image(BASE)))
    images.tag("crafted", "other:2")
    assert images.get("other:2").names == ("crafted:latest", "other:2")  # type: ignore[union-attr]
    with pytest.raises(SetpointError, match="2 names"):
        images.remove(info.id, in_use=())
    assert images.remove("crafted", in_use=[info.id]) == ("crafted:latest",)
    with pytest.raises(SetpointError, match="containers use it"):
        images.remove("other:2", in_use=[info.id])
    assert images.remove("other:2", in_use=[info.id], force=True) == ("other:2",)
    assert images.get("other:2") is None
    assert images.layer_directories(info.id)[0].is_dir()
    assert images.remove(info.id[7:20], in_use=()) == (info.id, *info.layers)
    with pytest.raises(NotFound):
        images.remove(info.id, in_use=())
    with pytest.raises(NotFound):
        images.tag("other:2", "x")


def test_another_process_is_seen(images: Images, layout: Layout, tmp_path: Path) -> None:
    assert images.get("crafted") is None
    Images(layout).load(craft.write_tar(tmp_path / "1.tar", craft.image(BASE)))
    assert images.get("crafted") is not None
    Images(layout).remove("crafted", in_use=())
    assert images.get("crafted") is None


def test_layers_in_use_stay_when_the_index_is_lost(images: Images, layout: Layout, tmp_path: Path) -> None:
    (used,) = images.load(craft.write_tar(tmp_path / "1.tar", craft.image(BASE, name="used:1")))
    (layout.images / "index.json").unlink()
    images.load(craft.write_tar(tmp_path / "2.tar", craft.image(TOP, name="other:1")))
    images.remove("other:1", in_use=[used.id])
    assert (layout.images / "layers" / used.layers[0][7:] / "diff").is_dir()
    (again,) = images.load(tmp_path / "1.tar")
    assert again == used


# --- another form of the same image ---------------------------------------------------------------


def packed_layers(images: Images, reference: str) -> dict[str, int]:
    return {each.digest: each.packed_bytes for each in images.details(reference).layers if each.is_kept}


def test_another_form_of_an_image_takes_the_place_of_the_old(images: Images, tmp_path: Path) -> None:
    plain = craft.write_tar(tmp_path / "plain.tar", craft.docker_save(BASE, TOP))
    packed = craft.write_tar(tmp_path / "packed.tar", craft.image(BASE, TOP))
    (before,) = images.load(plain)
    were = packed_layers(images, "crafted")
    for path in (packed, plain, packed):
        (after,) = images.load(path)
        assert after.id == before.id and len(images.list()) == 1
        assert images.litter(in_use=()) == () == images.litter(in_use=[after.id])
    now = packed_layers(images, "crafted")
    assert len(now) == 2 and not now.keys() & were.keys()
    assert len(images.layer_directories(after.id)) == 2


def test_a_form_that_another_name_has_stays(images: Images, tmp_path: Path) -> None:
    plain = craft.write_tar(tmp_path / "plain.tar", craft.docker_save(BASE, tags=["one:1"]))
    (one,) = images.load(plain)
    (two,) = images.load(craft.write_tar(tmp_path / "packed.tar", craft.image(BASE, name="two:1")))
    forms = {digest for name in ("one:1", "two:1") for digest in packed_layers(images, name)}
    assert one.id == two.id and len(forms) == 2 and images.litter(in_use=()) == ()
    images.tag("one:1", "two:1")
    assert packed_layers(images, "two:1") == packed_layers(images, "one:1")
    assert images.litter(in_use=()) == ()


def test_a_form_without_a_name_of_an_image_that_is_here_is_not_kept(images: Images, tmp_path: Path) -> None:
    (named,) = images.load(craft.write_tar(tmp_path / "packed.tar", craft.image(BASE)))
    were = packed_layers(images, "crafted")
    (same,) = images.load(craft.write_tar(tmp_path / "plain.tar", craft.docker_save(BASE, tags=())))
    assert same == named and packed_layers(images, "crafted") == were
    assert images.litter(in_use=()) == ()


def test_what_another_image_has_of_a_form_stays(images: Images, tmp_path: Path) -> None:
    images.load(craft.write_tar(tmp_path / "plain.tar", craft.docker_save(BASE)))
    other = craft.write_tar(tmp_path / "other.tar", craft.docker_save(BASE, TOP, tags=["other:1"]))
    images.load(other)
    were = packed_layers(images, "other:1")
    images.load(craft.write_tar(tmp_path / "packed.tar", craft.image(BASE)))
    assert packed_layers(images, "other:1") == were and len(were) == 2
    assert images.litter(in_use=()) == ()


# --- layers without their directories ---------------------------------------------------------


def test_implied_directories_take_after_the_layers_below(images: Images, tmp_path: Path) -> None:
    low = tar(
        directory("home", 0o711, uid=3),
        directory("home/u", 0o700, uid=1000, gid=1000),
        directory("tmp", 0o1777),
    )
    bare = tar(entry("home/u/file", b"x"), entry("tmp/file", b"x"), entry("fresh/file", b"x"))
    (stacked,) = images.load(craft.write_tar(tmp_path / "1.tar", craft.image(low, bare, name="stacked:1")))
    (alone,) = images.load(craft.write_tar(tmp_path / "2.tar", craft.image(bare, name="alone:1")))
    with merged(images, stacked.id, tmp_path) as root:
        modes = {name: (root / name).stat() for name in ("home", "home/u", "tmp", "fresh")}
        found = {name: (oct(stat.S_IMODE(status.st_mode)), status.st_uid) for name, status in modes.items()}
    assert found == {
        "home": ("0o711", 3),
        "home/u": ("0o700", 1000),
        "tmp": ("0o1777", 0),
        "fresh": ("0o755", 0),
    }
    assert images.layer_directories(stacked.id)[1].parent.name == chain_id(stacked.layers)[7:]
    assert images.layer_directories(alone.id)[0].parent.name == alone.layers[0][7:]
    assert stat.S_IMODE((images.layer_directories(alone.id)[0] / "tmp").stat().st_mode) == 0o755
    (again,) = images.load(tmp_path / "1.tar")
    assert images.layer_directories(again.id) == images.layer_directories(stacked.id)


# --- snapshots --------------------------------------------------------------------------------


def test_prepare(images: Images, tmp_path: Path) -> None:
    rooted = tar(directory("./", 0o750, uid=5, gid=6), directory("a"))
    (info,) = images.load(craft.write_tar(tmp_path / "1.tar", craft.image(rooted, TOP)))
    container = tmp_path / "container"
    with pytest.raises(NotFound):
        snapshots.prepare(images, info.id, container)
    container.mkdir()
    made = snapshots.prepare(images, info.id, container)
    assert snapshots.prepare(images, info.id, container) == made
    assert made.lower == tuple(str(path) for path in reversed(images.layer_directories(info.id)))
    with overlay(tmp_path / "merged", made.lower, made.upper, made.work) as root:
        status = root.stat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o750, 5, 6)
        (root / "new").write_text("x")
    assert (container / "upper/new").read_text() == "x"


def test_an_image_of_many_layers(images: Images, tmp_path: Path) -> None:
    layers = [
        tar(entry(f"f{number}", b"%d" % number), entry("same", b"%d" % number)) for number in range(128)
    ]
    (info,) = images.load(craft.write_tar(tmp_path / "1.tar", craft.image(*layers)))
    assert len(images.layer_directories(info.id)) == 128
    with pytest.raises(Invalid, match="128 is the most"):
        images.load(craft.write_tar(tmp_path / "2.tar", craft.image(*layers, tar(entry("more")))))


def test_a_missing_layer_is_named_and_brought_back(images: Images, layout: Layout, tmp_path: Path) -> None:
    path = craft.write_tar(tmp_path / "1.tar", craft.image(BASE))
    (info,) = images.load(path)
    subprocess.run(["rm", "-r", layout.images / "layers" / info.layers[0][7:]], check=True)
    with pytest.raises(NotFound, match="lacks"):
        Images(layout).layer_directories(info.id)
    images.load(path)
    assert images.layer_directories(info.id)[0].is_dir()


def test_a_damaged_blob_is_written_anew(images: Images, layout: Layout, tmp_path: Path) -> None:
    path = craft.write_tar(tmp_path / "1.tar", craft.image(BASE))
    (info,) = images.load(path)
    for blob in (layout.images / "blobs/sha256").iterdir():
        data = bytearray(blob.read_bytes())
        data[len(data) // 2] ^= 1
        blob.write_bytes(data)
    assert Images(layout).list() == ()
    with pytest.raises(Invalid, match="damaged"):
        Images(layout).get("crafted")
    images.load(path)
    assert Images(layout).get("crafted") == info
    for blob in (layout.images / "blobs/sha256").iterdir():
        assert craft.digest(blob.read_bytes())[7:] == blob.name


# --- import -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pack", [lambda data: data, gzip.compress, bz2.compress, lzma.compress, zstandard.compress]
)
def test_import(images: Images, layout: Layout, tmp_path: Path, pack: object) -> None:
    path = tmp_path / "root.tar"
    path.write_bytes(pack(BASE))  # type: ignore[operator]
    info = images.import_rootfs(path, "own/root:1", {"Cmd": ["/bin/sh"], "Env": ["A=b"]})
    assert (info.names, info.command, info.environment) == (("own/root:1",), ("/bin/sh",), ("A=b",))
    assert info.layers == (craft.digest(BASE),)
    assert images.import_rootfs(path, "own/root:2", {"Cmd": ["/bin/sh"], "Env": ["A=b"]}).id == info.id
    assert ingest_is_empty(layout)
    subprocess.run(
        ["skopeo", "inspect", f"oci:{layout.images}:docker.io/own/root:1"], check=True, capture_output=True
    )


def test_import_refuses(images: Images, layout: Layout, tmp_path: Path) -> None:
    path = tmp_path / "root.tar"
    path.write_bytes(BASE[:-1024])
    for reference, config, error in (
        ("x", {}, "end mark"), ("x@" + "sha256:" + "0" * 64, {}, "no digest"), ("X", {}, "upper-case"),
    ):  # fmt: skip
        with pytest.raises(Invalid, match=error):
            images.import_rootfs(path, reference, config)
    path.write_bytes(BASE)
    with pytest.raises(Invalid, match="NAME=VALUE"):
        images.import_rootfs(path, "x", {"Env": ["A"]})
    with pytest.raises(NotFound):
        images.import_rootfs(tmp_path / "none", "x")
    assert images.list() == ()
    assert not list((layout.images / "blobs/sha256").iterdir())
    assert ingest_is_empty(layout)


# --- the same tree as others unpack -----------------------------------------------------------


def test_a_real_tree_as_gnu_tar_unpacks_it(images: Images, tmp_path: Path) -> None:
    source = tmp_path / "source"
    build_tree(source)
    archive, reference = tmp_path / "source.tar", tmp_path / "reference"
    reference.mkdir()
    flags = ["--xattrs", "--xattrs-include=user.*", "--xattrs-include=security.capability"]
    for form in ("gnu", "posix"):
        extra = flags if form == "posix" else []
        subprocess.run(["tar", "-C", source, "-cf", archive, f"--format={form}", *extra, "."], check=True)
        subprocess.run(["tar", "-C", reference, "-xpf", archive, "--numeric-owner", *extra], check=True)
        info = images.import_rootfs(archive, f"tree:{form}")
        assert describe(images.layer_directories(info.id)[0]) == describe(reference)
        subprocess.run(["rm", "-r", reference], check=True)
        reference.mkdir()


def build_tree(root: Path) -> None:
    """All kinds of files, odd names, times, owners and modes."""
    root.mkdir(mode=0o751)
    for number in range(300):
        below = root / f"d{number % 7}" / f"e{number % 5}"
        below.mkdir(parents=True, exist_ok=True)
        path = below / f"f{number}"
        path.write_bytes(os.urandom(number * 37 % 5000))
        os.chown(path, number * 1001 % 70000, number % 3)
        path.chmod((0o644, 0o4755, 0o2711, 0o600, 0)[number % 5])
        os.utime(path, ns=(0, 1_600_000_000_000_000_000 + number * 10**9))
    (root / ("long-" + "n" * 200) / ("deep-" * 30)).mkdir(parents=True)
    (root / ("long-" + "n" * 200) / ("deep-" * 30) / "x").write_text("x")
    for name in ("sp ace", "new\nline", "ünïcödé", "-dash", "quote'\""):
        (root / name).write_text(name)
    (root / os.fsdecode(b"bytes\xff\xfe")).write_text("x")
    os.link(root / "d0/e0/f0", root / "hard")
    os.symlink("t" * 150, root / "long-link")
    os.symlink("/etc/passwd", root / "absolute-link")
    os.mkfifo(root / "fifo", 0o640)
    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.setxattr(root / "d1", "user.note", b"dir")
    os.setxattr(root / "hard", "user.note", b"file")
    for path in sorted(root.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755 if path.name.startswith("d") else 0o711)
            os.utime(path, (0, 1_500_000_000))
    os.utime(root, (0, 1_500_000_000))


def test_a_stack_as_podman_unpacks_it(images: Images, tmp_path: Path) -> None:
    """Twelve layers that add, change, hide and make anew, over each other."""
    layers = [tar(*random_layer(number)) for number in range(12)]
    path = craft.write_tar(tmp_path / "stack.tar", craft.image(*layers, name="localhost/stack:1"))
    (info,) = images.load(path)
    podman = [
        "podman",
        "--root",
        tmp_path / "podman",
        "--runroot",
        tmp_path / "podman-run",
        "--storage-driver=vfs",
    ]
    try:
        subprocess.run([*podman, "load", "-q", "-i", path], check=True, capture_output=True)
        shown = subprocess.run(
            [*podman, "image", "mount", "localhost/stack:1"], check=True, capture_output=True, text=True
        )
        expected = describe(Path(shown.stdout.strip()), times=False)
        with merged(images, info.id, tmp_path) as root:
            found = describe(root, times=False)
    finally:
        subprocess.run([*podman, "image", "umount", "-a"], capture_output=True)
        subprocess.run([*podman, "rmi", "-a", "-f"], capture_output=True)
    # An overlay gives the names of one file that come from different layers different inodes.
    assert {name: facts[:-1] for name, facts in found.items()} == {
        name: facts[:-1] for name, facts in expected.items()
    }
    assert len(found) > 40


def random_layer(seed: int) -> list[bytes]:
    import random

    pick = random.Random(seed)
    pieces = [directory("./", 0o755)]
    places = ["a", "b", "c"]
    for place in places:
        pieces.append(directory(place, pick.choice((0o755, 0o700, 0o1777)), uid=pick.randrange(3)))
        if seed and pick.random() < 0.2:
            pieces.append(entry(f"{place}/.wh..wh..opq"))
        for number in range(pick.randrange(8)):
            name = f"{place}/f{number}-{seed % 3}"
            pieces.append(entry(name, bytes(pick.randbytes(50)), mode=pick.choice((0o644, 0o4711)), gid=seed))
        sub = f"{place}/sub{pick.randrange(3)}"
        pieces += [directory(sub), entry(f"{sub}/{seed}", b"x"), symlink(f"{place}/l{seed}", f"../{sub}")]
        if seed:
            hidden = (
                f"{place}/.wh.sub{pick.randrange(3)}"
                if pick.random() < 0.5
                else f"{place}/.wh.f1-{(seed - 1) % 3}"
            )
            if hidden != f"{place}/.wh.{sub.rpartition('/')[2]}":
                pieces.append(entry(hidden))
    return pieces


def test_names_in_pax_headers(images: Images, tmp_path: Path) -> None:
    name = "d/" + "x" * 180
    data = tar(pax({"path": name, "mtime": "1234567890.123456789", "uid": "70000"}), entry("short", b"x"))
    (tmp_path / "root.tar").write_bytes(data)
    info = images.import_rootfs(tmp_path / "root.tar", "x")
    status = (images.layer_directories(info.id)[0] / name).stat()
    assert (status.st_mtime_ns, status.st_uid) == (1234567890123456789, 70000)
