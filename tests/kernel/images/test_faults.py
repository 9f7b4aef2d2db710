"""Loads that end badly: damaged archives, kills at every step, two at once, full disks. After each, an
image is whole or absent, and the next load makes it whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.errors import Invalid, NotFound, SetpointError, Temporary
from runtime.images.images import Images
from runtime.images.worker import IsolatedImages
from runtime.layout import Layout
from runtime.syscalls import mount, umount2
from tests.kernel.images.trees import describe
from tests.unit.images import craft
from tests.unit.images.craft import directory, entry, symlink, tar

LOW = tar(directory("d"), *(entry(f"d/f{number}", os.urandom(3000)) for number in range(40)))
HIGH = tar(
    symlink("l", "d"), entry("d/.wh.f1"), *(entry(f"g{number}", b"%d" % number) for number in range(40))
)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return craft.write_tar(tmp_path / "image.tar", craft.image(LOW, HIGH))


@pytest.fixture
def expected(archive: Path, tmp_path: Path) -> list[object]:
    return trees(Layout("reference", tmp_path / "reference", tmp_path), archive)


def trees(layout: Layout, archive: Path) -> list[object]:
    """Load, and describe what there is then."""
    images = Images(layout)
    (info,) = images.load(archive)
    # A directory that no entry describes has the time of its making: times are compared elsewhere.
    return [describe(path, times=False) for path in images.layer_directories(info.id)]


def assert_nothing_stored(layout: Layout) -> None:
    assert Images(layout).list() == ()
    for place in ("blobs/sha256", "layers", "ingest"):
        found = layout.images / place
        assert not found.exists() or not list(found.iterdir()), f"{place} is not empty"


# --- damaged ----------------------------------------------------------------------------------


def test_cut_off_anywhere(layout: Layout, archive: Path, tmp_path: Path) -> None:
    data = archive.read_bytes()
    needed = len(data.rstrip(b"\0"))
    cut = tmp_path / "cut.tar"
    for length in {*range(0, needed, needed // 40), needed - 1}:
        cut.write_bytes(data[:length])
        with pytest.raises(SetpointError):
            Images(layout).load(cut)
        assert_nothing_stored(layout)


def test_any_byte_changed(layout: Layout, archive: Path, tmp_path: Path, expected: list[object]) -> None:
    data = archive.read_bytes()
    changed = tmp_path / "changed.tar"
    refused = 0
    for position in range(7, len(data), len(data) // 60):
        changed.write_bytes(data[:position] + bytes([data[position] ^ 0x41]) + data[position + 1 :])
        images = Images(layout)
        try:
            (info,) = images.load(changed)
        except SetpointError:
            refused += 1
            assert_nothing_stored(layout)
            continue
        # Only in padding and in names that nobody asked for does a byte not count.
        assert [describe(path, times=False) for path in images.layer_directories(info.id)] == expected
        images.remove(info.id, in_use=(), force=True)
    assert refused > 30


@pytest.mark.parametrize("blob", range(4))
def test_a_blob_is_missing(layout: Layout, tmp_path: Path, blob: int) -> None:
    members = craft.image(LOW, HIGH)
    del members[[name for name in members if name.startswith("blobs/")][blob]]
    with pytest.raises(NotFound, match="it holds no"):
        Images(layout).load(craft.write_tar(tmp_path / "1.tar", members))
    assert_nothing_stored(layout)


@pytest.mark.parametrize("members", [
    {}, {"x": b""}, {"oci-layout": b"{}"}, {"repositories": b"{}"}, {"manifest.json": b"[]"},
    {"manifest.json": b"{}"}, {"manifest.json": b'[{"Config":"x","Layers":[]}]'},
    {"manifest.json": b'[{"Config":7,"Layers":[]}]'}, {"manifest.json": b"[" * 100_000},
    {"manifest.json": b'[{"Config":"../../etc/passwd","Layers":[]}]'},
    {"oci-layout": b'{"imageLayoutVersion":"2.0"}', "index.json": craft.index()},
    {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": b"\xff"},
    {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": b" " * (5 << 20)},
])  # fmt: skip
def test_not_an_image(layout: Layout, tmp_path: Path, members: dict[str, bytes]) -> None:
    for path in (
        craft.write_tar(tmp_path / "1.tar", members),
        craft.write_directory(tmp_path / "1", members),
    ):
        path.mkdir(exist_ok=True) if path.suffix == "" else None
        with pytest.raises(SetpointError) as caught:
            Images(layout).load(path)
        assert caught.value.op in ("load image", "read image")
    assert_nothing_stored(layout)


def test_a_layout_directory_shows_nothing_but_itself(layout: Layout, tmp_path: Path) -> None:
    members = craft.image(LOW)
    root = craft.write_directory(tmp_path / "layout", members)
    (layer,) = [name for name, data in members.items() if data.startswith(b"\x1f\x8b")]
    outside = tmp_path / "outside"
    (root / layer).rename(outside)
    for make in (lambda: os.symlink(outside, root / layer), lambda: os.mkfifo(root / layer)):
        make()
        with pytest.raises(NotFound):
            Images(layout).load(root)
        (root / layer).unlink()
    assert_nothing_stored(layout)


def test_one_bad_image_of_two_stores_none(layout: Layout, tmp_path: Path) -> None:
    good, bad = craft.image(LOW, name="good:1"), craft.image(tar(entry("../x", b"x")), name="bad:1")
    both = [json.loads(members["index.json"])["manifests"][0] for members in (good, bad)]
    members = {**good, **bad, "index.json": craft.index(*both)}
    with pytest.raises(Invalid, match=r"'\.\.'"):
        Images(layout).load(craft.write_tar(tmp_path / "1.tar", members))
    assert_nothing_stored(layout)


# --- kill -9 ----------------------------------------------------------------------------------

KILLED_AT_STEP = """
import os, signal, sys
from pathlib import Path
from runtime.images import content, loader, writeback
from runtime.images.images import Images
from runtime.layout import Layout

left = int(sys.argv[1])

def count(function):
    def counted(*arguments, **more):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **more)
    return counted

os.fsync, os.mkdir, os.open, os.write = map(count, (os.fsync, os.mkdir, os.open, os.write))
os.rename, os.replace, os.unlink, os.link = map(count, (os.rename, os.replace, os.unlink, os.link))
writeback.syncfs = count(writeback.syncfs)
Images(Layout(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[3]))).load(Path(sys.argv[4]))
print(left)
"""


def run_killed(step: int, layout: Layout, archive: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-c",
        KILLED_AT_STEP,
        str(step),
        layout.instance,
        str(layout.data_root),
        str(archive),
    ]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3])


def test_killed_at_any_system_call(layout: Layout, archive: Path, expected: list[object]) -> None:
    """One load is killed at every so many calls; each next one finds what the last left."""
    total = 10_000
    done = run_killed(total, Layout("whole", layout.data_root), archive)
    assert done.returncode == 0, done.stderr
    calls = total - int(done.stdout)
    assert calls > 100
    steps = sorted({*range(0, calls, calls // 12), *range(calls - 14, calls)})
    for step in steps:
        assert run_killed(step, layout, archive).returncode == -signal.SIGKILL
        check_whole_or_absent(layout, expected)
    assert trees(layout, archive) == expected
    assert not list((layout.images / "ingest").iterdir())
    Images(layout).remove("crafted", in_use=())
    assert_nothing_stored(layout)


def check_whole_or_absent(layout: Layout, expected: list[object]) -> None:
    images = Images(layout)
    info = images.get("crafted")
    if info is not None:
        found = images.layer_directories(info.id)
        assert [describe(path, times=False) for path in found] == expected
    layers = layout.images / "layers"
    for layer in layers.glob("[!.]*"):  # a dot is before what is being deleted
        assert describe(layer / "diff", times=False) in expected


def test_killed_at_any_call_of_a_removal(layout: Layout, archive: Path, expected: list[object]) -> None:
    script = KILLED_AT_STEP.replace(".load(Path(sys.argv[4]))", ".remove('crafted', in_use=())")
    trees(layout, archive)
    for step in range(0, 400, 17):
        command = [
            sys.executable,
            "-c",
            script,
            str(step),
            layout.instance,
            str(layout.data_root),
            str(archive),
        ]
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3])
        check_whole_or_absent(layout, expected)
        if done.returncode == 0:
            break
        if Images(layout).get("crafted") is None:
            assert trees(layout, archive) == expected
    else:
        pytest.fail("the removal never came to its end")
    Images(layout).prune(in_use=())
    assert_nothing_stored(layout)


# --- at once ----------------------------------------------------------------------------------


def test_several_loads_at_once(layout: Layout, tmp_path: Path, expected: list[object]) -> None:
    archives = [
        craft.write_tar(tmp_path / f"{number}.tar", craft.image(LOW, HIGH, name=f"crafted:{number % 2}"))
        for number in range(4)
    ]
    script = KILLED_AT_STEP.replace("print(left)", "")
    command = [sys.executable, "-c", script, "1000000", layout.instance, str(layout.data_root)]
    loads = [
        subprocess.Popen(
            [*command, str(path)], cwd=Path(__file__).parents[3], stderr=subprocess.PIPE, text=True
        )
        for path in archives
    ]
    errors = [load.communicate()[1] for load in loads]
    assert [load.returncode for load in loads] == [0] * 4, errors
    images = Images(layout)
    info = images.get("crafted:0")
    assert info is not None and info.names == ("crafted:0", "crafted:1")
    assert [describe(path, times=False) for path in images.layer_directories(info.id)] == expected
    assert not list((layout.images / "ingest").iterdir())
    assert len(list((layout.images / "layers").iterdir())) == 2


def test_loads_and_removals_at_once(layout: Layout, archive: Path, expected: list[object]) -> None:
    trees(layout, archive)
    script = KILLED_AT_STEP.replace("print(left)", "")
    command = [sys.executable, "-c", script, "1000000", layout.instance, str(layout.data_root), str(archive)]
    loads = [subprocess.Popen(command, cwd=Path(__file__).parents[3]) for _ in range(3)]
    images = Images(layout)
    while any(load.poll() is None for load in loads):
        with contextlib.suppress(NotFound):
            images.remove("crafted", in_use=())
        check_whole_or_absent(layout, expected)
    assert [load.wait() for load in loads] == [0, 0, 0]
    assert trees(layout, archive) == expected


# --- a full disk ------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount("tmpfs", os.fspath(disk), "tmpfs", 0, "size=140m,nr_inodes=2000")
    yield disk
    umount2(os.fspath(disk))


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(1 << 20)):
                pass
        except OSError:
            return


def test_a_full_disk(small_disk: Path, archive: Path) -> None:
    layout = Layout("full", small_disk)
    images = Images(layout)
    images.load(archive)
    fill(small_disk / "filler")
    more = craft.write_tar(
        archive.with_name("more.tar"), craft.image(tar(entry("big", bytes(4 << 20))), name="more:1")
    )
    with pytest.raises(Temporary, match="no room") as caught:
        images.load(more)
    assert caught.value.hint
    assert not list((layout.images / "ingest").iterdir())
    fill(small_disk / "filler-2")
    assert images.list()
    assert images.remove("crafted", in_use=())[0] == "crafted:latest"
    assert images.list() == ()
    (small_disk / "filler").unlink()
    assert images.load(more)[0].names == ("more:1",)


def test_a_load_leaves_room_for_what_runs(small_disk: Path, archive: Path) -> None:
    layout = Layout("full", small_disk)
    (small_disk / "filler").write_bytes(bytes(30 << 20))
    with pytest.raises(Temporary, match="no room"):
        Images(layout).load(archive)


# --- in a process of its own ------------------------------------------------------------------


def test_the_worker(layout: Layout, archive: Path) -> None:
    seen = []
    images = IsolatedImages(layout)
    (info,) = images.load(archive, seen.append)
    assert info == Images(layout).get("crafted")
    assert seen and seen[0].step == "copy"
    plain = archive.with_name("root.tar")
    plain.write_bytes(LOW)
    assert images.import_rootfs(plain, "own:1", {"Cmd": ["x"]}).command == ("x",)
    with pytest.raises(NotFound, match="No such file"):
        images.load(archive.with_name("none"))
    plain.write_bytes(b"no tar")
    with pytest.raises(Invalid) as caught:
        images.load(plain)
    assert caught.value.hint
