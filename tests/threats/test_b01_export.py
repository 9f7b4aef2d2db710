"""B1: what an export or a commit gives away is the container's alone, whatever it does with its own names:
CVE-2018-15664 and its kin, where a path was resolved and then used."""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime.engine import NativeEngine
from runtime.errors import SetpointError
from runtime.images.container_commit import Commit
from runtime.images.layer_writer import write_layer
from runtime.images.root_diff import changes
from runtime.images.root_files import export_root
from tests.native import run, shell, until
from tests.threats.attack import exchanging, rounds


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    """A container's writable layer, in which the names `d` and `link` change places."""
    made = tmp_path / "upper"
    (made / "d/sub").mkdir(parents=True)
    (made / "d/sub/marker").write_text("mine")
    (made / "d/marker").write_text("mine")
    return made


def exported(upper: Path) -> bytes:
    data = io.BytesIO()
    export_root([upper], data.write, "web")
    return data.getvalue()


def committed(upper: Path) -> bytes:
    part = upper.parent / "part"
    write_layer(upper, part, packing="")
    data = part.read_bytes()
    part.unlink()
    return data


WAYS = pytest.mark.parametrize("read", [exported, committed])


@WAYS
def test_b1_directories_and_links_that_change_places(
    upper: Path, tmp_path: Path, read: Callable[[Path], bytes]
) -> None:
    """Below the name that becomes a link there is the same on the host."""
    (tmp_path / "host/sub").mkdir(parents=True)
    for path in (tmp_path / "host/marker", tmp_path / "host/sub/marker"):
        path.write_text("untouched")
    (upper / "link").symlink_to(tmp_path / "host")
    (upper / "d/link").symlink_to(tmp_path / "host/marker")
    with exchanging(upper, "d", "link"), exchanging(upper / "d", "link", "marker"):
        for _ in range(rounds(300)):
            data = read(upper)
            assert b"untouched" not in data
    with tarfile.open(fileobj=io.BytesIO(read(upper))) as archive:
        names = archive.getnames()
    assert {"d/sub/marker", "link"} <= set(names) or {"link/sub/marker", "d"} <= set(names)


@WAYS
def test_b1_links_that_lead_out_are_only_links(
    upper: Path, canary: Path, read: Callable[[Path], bytes]
) -> None:
    for number, target in enumerate((canary, canary / "marker", Path("../../.."), Path("/proc/self/root"))):
        (upper / f"link{number}").symlink_to(target)
    data = read(upper)
    assert b"untouched" not in data
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        links = [member for member in archive if member.issym()]
        assert len(links) == 4
        assert not any(name.startswith("link0/") for name in archive.getnames())


@WAYS
def test_b1_no_device_or_fifo_is_opened(upper: Path, read: Callable[[Path], bytes]) -> None:
    """To open one may wait for ever, or do something: a tape rewinds, a watchdog begins to bark."""
    os.mkfifo(upper / "pipe")
    os.mknod(upper / "memory", stat.S_IFCHR | 0o600, os.makedev(1, 1))
    os.mknod(upper / "disk", stat.S_IFBLK | 0o600, os.makedev(253, 0))
    with tarfile.open(fileobj=io.BytesIO(read(upper))) as archive:
        members = {member.name: member for member in archive}
    assert members["pipe"].isfifo()
    assert members["disk"].isblk()
    assert (members["memory"].devmajor, members["memory"].devminor) == (1, 1)
    assert not any(members[name].size for name in ("pipe", "memory", "disk"))


@WAYS
def test_b1_a_file_that_becomes_a_device(upper: Path, read: Callable[[Path], bytes]) -> None:
    """The name is a file when it is found, and a FIFO without a writer when it is read."""
    (upper / "file").write_bytes(b"x" * 4096)
    os.mkfifo(upper / "pipe")
    with exchanging(upper, "file", "pipe"):
        for _ in range(rounds(200)):
            read(upper)


@WAYS
def test_b1_a_file_that_grows_and_shrinks(upper: Path, read: Callable[[Path], bytes]) -> None:
    """What comes after it in the archive is where it must be."""
    (upper / "z").write_text("last")
    with changing(upper / "file"):
        for _ in range(rounds(50)):
            data = read(upper)
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                assert archive.getmember("z").size == 4
                file = archive.extractfile("z")
                assert file is not None
                assert file.read() == b"last"


@contextmanager
def changing(path: Path) -> Iterator[None]:
    """A file that has another length at each look."""
    path.write_bytes(b"x")
    ended = threading.Event()

    def change() -> None:
        with path.open("r+b") as file:
            while not ended.is_set():
                file.truncate(0)
                file.truncate(5 << 20)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_b1_names_that_only_a_layer_understands(upper: Path) -> None:
    """A container that makes `.wh.x` hides nothing of the image below: such a layer is not written."""
    (upper / ".wh.etc").touch()
    with pytest.raises(SetpointError, match="layers hold no names"):
        committed(upper)


def test_b1_changes_are_told_of_the_container_alone(upper: Path, canary: Path, tmp_path: Path) -> None:
    (upper / "link").symlink_to(canary)
    lower = tmp_path / "lower"
    lower.mkdir()
    (lower / "d").symlink_to(canary)
    with exchanging(upper, "d", "link"):
        for _ in range(rounds(300)):
            found = {change.path for change in changes(upper, [lower], "web")}
            assert found <= _POSSIBLE


SWAP = """
mkdir -p /x/sub; echo mine >/x/sub/marker; ln -s {host} /y
while :; do mv x z; mv y x; mv z y; done
"""


@pytest.mark.asyncio
async def test_b1_a_container_that_runs_and_swaps(engine: NativeEngine, tmp_path: Path) -> None:
    """From inside, with nothing but mv; export, commit and diff beside each other."""
    (tmp_path / "host/sub").mkdir(parents=True)
    (tmp_path / "host/sub/marker").write_text("untouched")
    config = shell(engine, "swaps", "cd /; " + SWAP.format(host=tmp_path / "host"))
    await run(engine, config)
    await until((engine.layout.containers / config.id / "upper/y").is_symlink)
    for _ in range(rounds(4)):
        data = b"".join([piece async for piece in engine.files.export(config.id)])
        assert b"untouched" not in data
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            assert "bin/sh" in archive.getnames()
        await engine.files.changes(config.id)
    image = await engine.files.commit(config.id, Commit("", "", "", "swapped:1"), pauses=False)
    archive = b"".join(engine.images.save([image.id], "docker-archive").chunks())
    with tarfile.open(fileobj=io.BytesIO(archive)) as saved:
        packed = [saved.extractfile(member) for member in saved if member.isreg()]
        blobs = [file.read() for file in packed if file is not None]
    layers = [gzip.decompress(blob) for blob in blobs if blob[:2] == b"\x1f\x8b"]
    assert layers
    assert not any(b"untouched" in layer for layer in layers)


_POSSIBLE = {
    f"/{name}{rest}".encode() for name in ("d", "link") for rest in ("", "/marker", "/sub", "/sub/marker")
}
