"""Layers that are unpacked ahead by other processes: as they come, side by side, and when that goes wrong."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.errors import Invalid, SetpointError, Temporary
from runtime.images.images import Images
from runtime.images.layers import TREE, settle, unpack_layer
from runtime.images.registry.endpoints import Endpoint
from runtime.images.registry.origin import Origin
from runtime.images.unpackers import Growth, Job, Unpackers
from runtime.images.worker import IsolatedImages
from runtime.layout import Layout
from tests.kernel.images.trees import describe
from tests.registry import PROGRAM, make_image, started
from tests.unit.images import craft
from tests.unit.images.craft import directory, entry, tar

PATIENCE_SECONDS = 60
LOW = tar(directory("tmp", mode=0o1777), directory("home", mode=0o750, uid=7), entry("home/a", b"a"))
MIDDLE = tar(entry("tmp/one", b"1"), entry("home/below/two", b"2"))
HIGH = tar(entry("tmp/three", b"3"), entry("home/below/four", os.urandom(300_000)))


@pytest.fixture
def unpackers() -> Iterator[Unpackers]:
    made = Unpackers(2)
    yield made
    made.kill()


def job_for(folder: Path, packed: bytes, *, has_lowers: bool = False, diff_id: str = "") -> Job:
    folder.mkdir(exist_ok=True)
    (folder / "blob").write_bytes(packed)
    diff_id = diff_id or "sha256:" + hashlib.sha256(packed).hexdigest()
    return Job(folder / "blob", folder / "layer", "test", diff_id, has_lowers)


def ignore(size: int) -> None:
    """Progress that nobody asked for."""


def ended(unpackers: Unpackers, job: Job, growth: Growth) -> None:
    unpackers.submit(job, growth, lambda: ignore).result(PATIENCE_SECONDS)


def test_an_image_is_the_same_with_and_without(tmp_path: Path) -> None:
    archive = craft.write_tar(tmp_path / "image.tar", craft.image(LOW, MIDDLE, HIGH))
    here, apart = (Layout("tunp", tmp_path / name, tmp_path / "run") for name in ("here", "apart"))
    (one,) = Images(here).load(archive)
    (two,) = IsolatedImages(apart).load(archive)
    assert one == two
    directories = [Images(layout).layer_directories(one.id) for layout in (here, apart)]
    for left, right in zip(*directories, strict=True):
        assert left.parent.name == right.parent.name
        assert describe(left, times=False) == describe(right, times=False)
        assert sorted(os.listdir(right.parent)) == ["diff", "layer.json"]
    top = directories[1][-1]
    assert (top / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert ((top / "home").stat().st_mode & 0o7777, (top / "home").stat().st_uid) == (0o750, 7)


def test_a_file_is_unpacked_while_it_grows(unpackers: Unpackers, tmp_path: Path) -> None:
    job = job_for(tmp_path / "a", HIGH)
    job.blob.unlink()
    growth = Growth()
    future = unpackers.submit(job, growth, lambda: ignore)
    with job.blob.open("wb", buffering=0) as file:
        for at in range(0, len(HIGH), 70_000):
            growth.add(file.write(HIGH[at : at + 70_000]))
    assert not future.done()
    growth.end(is_whole=True)
    record = future.result(PATIENCE_SECONDS)
    with job.blob.open("rb") as file:
        reference = unpack_layer(file, tmp_path / "reference", "test")
    assert record == reference
    assert describe(job.directory / TREE, times=False) == describe(tmp_path / "reference" / TREE, times=False)


def test_what_is_only_implied_is_settled_later(unpackers: Unpackers, tmp_path: Path) -> None:
    low, high = job_for(tmp_path / "low", LOW), job_for(tmp_path / "high", MIDDLE, has_lowers=True)
    for job, data in ((high, MIDDLE), (low, LOW)):
        ended(unpackers, job, Growth.of(len(data)))
    assert (high.directory / TREE / "tmp").stat().st_mode & 0o7777 == 0o755
    for _ in range(2):  # a cut in between is repaired by doing it again
        settle(high.directory, [low.directory / TREE])
        assert (high.directory / TREE / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert sorted(os.listdir(high.directory)) == ["diff", "layer.json"]


@pytest.mark.parametrize("has_all", [True, False], ids=["wrong-digest", "broken-off"])
def test_a_file_that_does_not_come_whole(unpackers: Unpackers, tmp_path: Path, has_all: bool) -> None:
    """The unpacking is over, or is not; what was taken of it counts for nothing. The process goes on."""
    growth = Growth()
    future = unpackers.submit(job_for(tmp_path / "a", HIGH), growth, lambda: ignore)
    growth.add(len(HIGH) if has_all else 100_000)
    growth.end(is_whole=False)
    growth.end(is_whole=True)  # the first word counts
    with pytest.raises(Temporary, match="did not come whole"):
        future.result(PATIENCE_SECONDS)
    for name in ("b", "c", "d"):
        ended(unpackers, job_for(tmp_path / name, HIGH), Growth.of(len(HIGH)))


@pytest.mark.parametrize(
    ("packed", "reason"),
    [(tar(entry("../x", b"x")), r"has '\.\.'"), (tar(entry("a", b"x"))[:700], "ends inside|cut off")],
)
def test_a_hostile_layer_is_told(unpackers: Unpackers, tmp_path: Path, packed: bytes, reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        ended(unpackers, job_for(tmp_path / "a", packed), Growth.of(len(packed)))
    assert not (tmp_path / "x").exists()


def test_another_content_than_was_said(unpackers: Unpackers, tmp_path: Path) -> None:
    job = job_for(tmp_path / "a", HIGH, diff_id="sha256:" + "0" * 64)
    with pytest.raises(Invalid, match="has the diff id"):
        ended(unpackers, job, Growth.of(len(HIGH)))


def test_a_process_that_is_killed(unpackers: Unpackers, tmp_path: Path) -> None:
    growth = Growth()
    future = unpackers.submit(job_for(tmp_path / "a", HIGH), growth, lambda: ignore)
    growth.add(10_000)
    for pid in unpackers.pids:
        os.kill(pid, signal.SIGKILL)
    growth.end(is_whole=True)
    with pytest.raises(Temporary, match="its process ended"):
        future.result(PATIENCE_SECONDS)
    with pytest.raises(Temporary, match="its process ended"):
        ended(unpackers, job_for(tmp_path / "b", HIGH), Growth.of(len(HIGH)))


@pytest.mark.skipif(PROGRAM is None, reason="needs docker-registry")
def test_a_registry_that_gives_other_bytes(layout: Layout, tmp_path: Path) -> None:
    """Both layers are unpacked as they come, and one of them is not what it is said to be."""
    files = [{"etc/one": b"1" * 100_000}, {f"usr/{number}": os.urandom(50_000) for number in range(40)}]
    with started(tmp_path / "registry") as registry:
        registry.put(f"oci:{make_image(tmp_path / 'app', files)}", "lab/app:1")
        origins = [Origin(Endpoint(registry.host, is_insecure=True))]
        name, images = f"{registry.host}/lab/app:1", IsolatedImages(layout)
        blob = max((tmp_path / "registry/data").rglob("data"), key=lambda path: path.stat().st_size)
        whole = blob.read_bytes()
        for wrong in (whole[:1_000_000] + b"?" + whole[1_000_001:], b"?" + whole[1:]):
            blob.write_bytes(wrong)
            with pytest.raises(Invalid, match="its content has the digest"):
                images.pull(name, origins)
            assert images.list() == ()
            assert not list((layout.images / "layers").iterdir())
            assert not list((layout.images / "ingest").iterdir())
        blob.write_bytes(whole)
        info = images.pull(name, origins)
    found = images.layer_directories(info.id)
    assert {path.name: path.read_bytes() for path in (found[1] / "usr").iterdir()} == {
        name.removeprefix("usr/"): data for name, data in files[1].items()
    }


def test_nothing_is_written_after_the_end(unpackers: Unpackers, tmp_path: Path) -> None:
    future = unpackers.submit(job_for(tmp_path / "a", HIGH), Growth(), lambda: ignore)
    pids = unpackers.pids
    unpackers.kill()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not unpackers.is_alive
    assert not future.done() or isinstance(future.exception(), SetpointError)
