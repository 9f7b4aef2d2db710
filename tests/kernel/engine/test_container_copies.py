"""Files out of containers and into them: the engine's side of `docker cp`, on the kernel."""

from __future__ import annotations

import asyncio
import bz2
import contextlib
import gzip
import io
import lzma
import os
import socket
import stat
import tarfile
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from runtime import container_copies, pipes
from runtime.copies import giving, nursery
from runtime.copies.inlet import Incoming
from runtime.copies.places import PathStat
from runtime.engine import NativeEngine
from runtime.errors import Invalid, NotFound, SetpointError, Temporary
from runtime.model import MountConfig, SandboxConfig, Security, VolumeConfig
from tests.native import config_of, ended, output, run, shell, until

pytestmark = pytest.mark.asyncio

FILL = """
    mkdir -p /d/sub; echo one >/d/one; echo two >/d/sub/two; ln -s /d /link; ln -s one /d/rel
    ln /d/one /d/hard; chown 70:71 /d/one; chmod 4750 /d/one; mkfifo /d/pipe
    echo volume >/data/v; echo tmp >/scratch/t
    touch /ready; exec sleep 1000
"""
Phase = pytest.mark.parametrize("phase", ["running", "paused", "stopped"])


async def out(engine: NativeEngine, id: str, path: str) -> dict[str, tarfile.TarInfo]:
    return {member.name: member for member in (await archive(engine, id, path))}


async def archive(engine: NativeEngine, id: str, path: str) -> tarfile.TarFile:
    async with engine.copies.get(id, path) as (_, given):
        return tarfile.open(fileobj=io.BytesIO(b"".join([piece async for piece in given.pieces()])))


async def content(engine: NativeEngine, id: str, path: str) -> bytes:
    found = await archive(engine, id, path)
    file = found.extractfile(found.getmembers()[0])
    assert file is not None
    return file.read()


def packed(*entries: tuple[str, Any], **fields: Any) -> bytes:
    """(name, content): bytes is a file, None a directory, a str a link, a dict the fields of a TarInfo."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as made:
        for name, what in entries:
            info = tarfile.TarInfo(name)
            info.mode = 0o755 if what is None else 0o644
            if what is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(what, str):
                info.type, info.linkname = tarfile.SYMTYPE, what
            elif isinstance(what, bytes):
                info.size = len(what)
            more = what if isinstance(what, dict) else {}
            for key, value in {**fields, **more}.items():
                setattr(info, key, value)
            made.addfile(info, io.BytesIO(what) if isinstance(what, bytes) else None)
    return data.getvalue()


async def in_pieces(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def put(engine: NativeEngine, id: str, path: str, data: bytes, **fields: Any) -> None:
    await engine.copies.put(id, path, in_pieces(data), **fields)


async def filled(engine: NativeEngine, phase: str, name: str = "one", **fields: Any) -> str:
    await engine.create_volume(VolumeConfig(f"{name}-data"))
    mounts = (MountConfig("volume", "/data", f"{name}-data"), MountConfig("tmpfs", "/scratch"))
    config = shell(engine, name, FILL, mounts=mounts, **fields)
    await run(engine, config)
    await until((engine.layout.containers / config.id / "upper/ready").exists)
    if phase == "paused":
        await engine.pause(config.id)
    elif phase == "stopped":
        await engine.stop(config.id, 0)
    return config.id


@Phase
async def test_out(engine: NativeEngine, phase: str) -> None:
    id = await filled(engine, phase)
    members = await out(engine, id, "/d")
    assert set(members) == {"d", "d/one", "d/hard", "d/rel", "d/pipe", "d/sub", "d/sub/two"}
    one = members["d/hard"]
    assert (one.uid, one.gid, one.mode, one.size) == (70, 71, 0o4750, 4)
    assert (members["d/one"].islnk(), members["d/one"].linkname) == (True, "d/hard")
    assert members["d/rel"].linkname == "one"
    assert members["d/pipe"].isfifo()
    assert set(await out(engine, id, "/link")) == {"link"}
    assert "link/sub/two" in await out(engine, id, "/link/")
    assert set(await out(engine, id, "/d/sub/.")) == {".", "./two"}
    assert set(await out(engine, id, "link/../d/sub")) == {"sub", "sub/two"}
    assert await content(engine, id, "/data/v") == b"volume\n"
    assert await content(engine, id, "/link/sub/two") == b"two\n"
    whole = await out(engine, id, "/")
    assert {"/etc/passwd", "/d/sub/two", "/data/v", "/proc", "/sys"} <= set(whole)
    assert not [name for name in whole if name.startswith(("/proc/", "/sys/", "/dev/"))]
    if phase != "stopped":
        assert await content(engine, id, "/scratch/t") == b"tmp\n"


@Phase
async def test_stat(engine: NativeEngine, phase: str) -> None:
    id = await filled(engine, phase)
    found = await engine.copies.stat(id, "/d/one")
    assert (found.name, found.size, stat.S_IMODE(found.mode)) == ("one", 4, 0o4750)
    assert stat.S_ISDIR((await engine.copies.stat(id, "/d/")).mode)
    link = await engine.copies.stat(id, "/link")
    assert (stat.S_ISLNK(link.mode), link.link_target) == (True, "/d")
    assert (await engine.copies.stat(id, "/link/rel")).link_target == "/d/one"
    assert (await engine.copies.stat(id, "/")).name == "/"
    for path in ("/none", "/d/one/", "/d/one/x", "/proc/1/environ", "/sys/kernel"):
        with pytest.raises(NotFound) as caught:
            await engine.copies.stat(id, path)
        assert caught.value.op == "find file"
    with pytest.raises(Invalid, match="path cannot be empty"):
        await engine.copies.stat(id, "")


@Phase
async def test_in(engine: NativeEngine, phase: str) -> None:
    id = await filled(engine, phase)
    data = packed(
        ("./", None), ("new", None), ("new/file", b"x" * 100_000), ("new/link", "file"),
        ("new/hard", {"type": tarfile.LNKTYPE, "linkname": "new/file"}), ("one", b"changed\n"),
        ("sub/deep/er", b"implied"), ("data", {"type": tarfile.FIFOTYPE, "mode": 0o4640}),
        uid=1000, gid=1001, mtime=1_000_000_000,
    )  # fmt: skip
    await put(engine, id, "/link", data)
    members = await out(engine, id, "/d")
    assert members["d/new/hard"].size + members["d/new/file"].size == 100_000
    assert {(m.uid, m.gid, m.mtime) for name, m in members.items() if name.startswith("d/new")} == {
        (1000, 1001, 1_000_000_000)
    }
    assert members["d"].uid == 0  # the place itself stays as it was
    assert members["d/sub/deep"].uid == 0
    assert (members["d/data"].mode, members["d/data"].isfifo()) == (0o4640, True)
    assert await content(engine, id, "/d/one") == b"changed\n"
    assert await content(engine, id, "/d/sub/two") == b"two\n"
    await put(engine, id, "/", packed(("data/into", b"the volume")))
    assert await content(engine, id, "/data/into") == b"the volume"
    assert (engine.volumes.path("one-data") / "into").read_bytes() == b"the volume"


async def test_in_and_out_before_the_first_start(engine: NativeEngine) -> None:
    config = config_of(engine, "one", "sh", "-c", "cat /etc/mine /data/mine")
    await engine.create_volume(VolumeConfig("v"))
    config = shell(engine, "one", "cat /etc/mine /data/mine", mounts=(MountConfig("volume", "/data", "v"),))
    await engine.create(config)
    await put(engine, config.id, "/", packed(("etc/mine", b"a\n"), ("data/mine", b"b\n")))
    assert await content(engine, config.id, "/etc/mine") == b"a\n"
    await engine.start(config.id)
    assert (await ended(engine, config.id)).exit_code == 0
    assert output(engine, config.id) == b"a\nb\n"


PACKINGS: list[Callable[[bytes], bytes]] = [
    gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress,
]  # fmt: skip


@pytest.mark.parametrize("pack", PACKINGS)
async def test_packed_archives(engine: NativeEngine, pack: Callable[[bytes], bytes]) -> None:
    id = await filled(engine, "running")
    await put(engine, id, "/d", pack(packed(("packed", b"content"))))
    assert await content(engine, id, "/d/packed") == b"content"


async def test_small_files_are_what_a_worker_gives(
    engine: NativeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With long attributes they are none."""
    id = await filled(engine, "running")
    upper = engine.layout.containers / id / "upper/d"
    (upper / "empty").touch()
    (upper / "exactly").write_bytes(os.urandom(giving.SMALL_BYTES))
    (upper / "larger").write_bytes(os.urandom(giving.SMALL_BYTES + 1))
    (upper / "told").write_text("x")
    os.setxattr(upper / "told", "user.note", b"y" * 1000)
    paths = ("/d/one", "/d/hard", "/link/one", "/d/empty", "/d/exactly", "/d/larger", "/d/told", "/data/v")
    with monkeypatch.context() as patch:
        patch.setattr(container_copies, "_give_small_and_close", lambda running, path: running.close())
        wanted = {path: await whole(engine, id, path) for path in paths}
    with monkeypatch.context() as patch:
        patch.setattr(nursery.Nursery, "start", None)
        for path in paths:
            if path != "/d/larger":
                assert await whole(engine, id, path) == wanted[path]
    monkeypatch.setattr(giving, "PIPE_BYTES", 2000)
    assert await whole(engine, id, "/d/told") == wanted["/d/told"]


async def whole(engine: NativeEngine, id: str, path: str) -> tuple[PathStat, bytes]:
    async with engine.copies.get(id, path) as (found, given):
        return found, b"".join([piece async for piece in given.pieces()])


@pytest.mark.parametrize("pack", [bytes, *PACKINGS])
async def test_from_the_connection_itself(engine: NativeEngine, pack: Callable[[bytes], bytes]) -> None:
    """In chunks, of which some came with the request's head; by a client that has more to say afterwards."""
    id = await filled(engine, "running")
    content_ = os.urandom(3 << 20)
    data = pack(packed(("large", content_), ("small", b"x")))
    body = b"".join(b"%x\r\n%b\r\n" % (len(data[at : at + 32768]), data[at : at + 32768])
                    for at in range(0, len(data), 32768)) + b"0\r\n\r\nGET / HTTP/1.1\r\n"  # fmt: skip
    with sent(body[70_000:]) as connection:
        source = Incoming(connection, body[:70_000], None, 20.0)
        await engine.copies.put(id, "/d", source)
    assert await content(engine, id, "/d/large") == content_
    assert await content(engine, id, "/d/small") == b"x"


@contextlib.contextmanager
def sent(data: bytes) -> Iterator[int]:
    """A connection whose other end sends this and then goes away."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    def send() -> None:
        with theirs, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            theirs.sendall(data)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield ours.fileno()
    finally:
        ours.close()
        sender.join()


async def test_clients_that_break_off_or_say_nothing(engine: NativeEngine) -> None:
    """More of them than may copy at once: each makes room for the next."""
    id = await filled(engine, "running")
    data = packed(("large", bytes(1 << 20)))
    with sent(data[: len(data) // 2]) as connection:
        for _ in range(container_copies.AT_ONCE + 1):
            with pytest.raises(Invalid, match="it broke off"):
                await engine.copies.put(id, "/d", Incoming(connection, b"", len(data), 20.0))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        silent = Incoming(ours.fileno(), b"", len(data), 0.2)
        waiting = [engine.copies.put(id, "/d", silent) for _ in range(container_copies.AT_ONCE + 1)]
        for error in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(error, Invalid) and "nothing came" in str(error)
    await put(engine, id, "/d", packed(("after", b"x")))


@Phase
async def test_whose_it_is(engine: NativeEngine, phase: str) -> None:
    id = await filled(engine, phase)
    await put(engine, id, "/d", packed(("file", b""), ("dir", None), uid=5, gid=6), owner="www-data")
    passwd = (await content(engine, id, "/etc/passwd")).decode()
    line = next(line for line in passwd.splitlines() if line.startswith("www-data:"))
    owner = tuple(map(int, line.split(":")[2:4]))
    members = await out(engine, id, "/d")
    assert {(members[name].uid, members[name].gid) for name in ("d/file", "d/dir")} == {owner}


async def test_what_replaces_what(engine: NativeEngine) -> None:
    id = await filled(engine, "running")
    with pytest.raises(Invalid, match='cannot overwrite directory "/d/sub" with non-directory "/d"'):
        await put(engine, id, "/d", packed(("sub", b"")), keeps_kinds=True)
    with pytest.raises(Invalid, match='cannot overwrite non-directory "/d/one" with directory "/d"'):
        await put(engine, id, "/d", packed(("one", None)), keeps_kinds=True)
    await put(engine, id, "/d", packed(("sub", b"a file"), ("one", None), ("rel", b"a file")))
    members = await out(engine, id, "/d")
    assert members["d/sub"].isreg()
    assert members["d/one"].isdir()
    assert members["d/rel"].isreg()


@Phase
async def test_what_is_mounted_is_not_replaced(engine: NativeEngine, phase: str) -> None:
    """Its place could be taken away from outside, and it with it."""
    id = await filled(engine, phase)
    for data in (packed(("data", b"a file")), packed(("etc/hosts", b"127.0.0.1 x"))):
        with pytest.raises(Invalid, match="something is mounted there"):
            await put(engine, id, "/", data)
    await engine.copies.stat(id, "/data/v")
    if phase == "running":
        listed = await engine.exec(
            id, ["grep", "-c", " /data \\| /etc/hosts ", "/proc/mounts"], timeout_seconds=10
        )
        assert listed.output == b"2\n"


@Phase
@pytest.mark.parametrize("read_only", [True, False])
async def test_read_only(engine: NativeEngine, tmp_path: Path, phase: str, read_only: bool) -> None:
    (tmp_path / "mine").write_text("mine")
    mounts = (
        MountConfig("bind", "/mnt", os.fspath(tmp_path), read_only=True), MountConfig("tmpfs", "/scratch"),
    )  # fmt: skip
    config = shell(engine, "ro", "exec sleep 1000", mounts=mounts, read_only=read_only)
    await run(engine, config)
    if phase == "paused":
        await engine.pause(config.id)
    elif phase == "stopped":
        await engine.stop(config.id, 0)
    with pytest.raises(Invalid, match="mounted volume is marked read-only"):
        await put(engine, config.id, "/mnt", packed(("x", b"")))
    with pytest.raises(Invalid, match="is marked read-only"):
        await put(engine, config.id, "/", packed(("mnt/x", b"")))
    if read_only:
        with pytest.raises(Invalid, match="container rootfs is marked read-only"):
            await put(engine, config.id, "/etc", packed(("x", b"")))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert await content(engine, config.id, "/mnt/mine") == b"mine"


@pytest.mark.parametrize("phase", ["running", "stopped"])
async def test_a_container_with_ids_of_its_own(engine: NativeEngine, phase: str) -> None:
    own: dict[str, Any] = {
        "sandbox": SandboxConfig("own", "5" * 64), "security": Security(user_namespace="auto"),
    }  # fmt: skip
    id = await filled(engine, phase, **own)
    members = await out(engine, id, "/d")
    assert (members["d/hard"].uid, members["d/sub"].uid) == (70, 0)
    await put(engine, id, "/d", packed(("mine", b"x"), uid=12, gid=13))
    await put(engine, id, "/data", packed(("mine", b"x"), uid=12, gid=13))
    for path in ("/d/mine", "/data/mine"):
        found = (await out(engine, id, path))["mine"]
        assert (found.uid, found.gid) == (12, 13)
    assert (engine.layout.containers / id / "upper/d/mine").stat().st_uid == 12
    with pytest.raises(Invalid):
        await put(engine, id, "/d", packed(("far", b""), uid=1_000_000))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (packed(("../up", b"")), "has '..' in its path"),
        (packed(("x", "/etc"), ("x/passwd", b"")), "a link that the archive itself has made"),
        (packed(("x", "/etc"), ("h", {"type": tarfile.LNKTYPE, "linkname": "x/passwd"})), "a link that"),
        (packed(("h", {"type": tarfile.LNKTYPE, "linkname": "../etc/passwd"})), "has '..' in its path"),
        (packed(("one/x", b"")), "is not a directory"),
        (packed(("z", {"type": tarfile.CHRTYPE})), "device 0/0"),
        (packed(("file", b"x" * 2000))[:1500], "cut off|ends inside"),
        (b"no archive at all, and not short either" * 100, "not a tar archive"),
        (gzip.compress(bytes(100_000_000)), "times its size"),
    ],
)
async def test_refused_archives(engine: NativeEngine, data: bytes, reason: str) -> None:
    id = await filled(engine, "running")
    with pytest.raises(Invalid, match=reason) as caught:
        await put(engine, id, "/d", data)
    assert caught.value.op in ("copy", "")


async def test_into_what_is_no_directory(engine: NativeEngine) -> None:
    id = await filled(engine, "running")
    with pytest.raises(Invalid, match="extraction point is not a directory"):
        await put(engine, id, "/d/one", packed(("x", b"")))
    with pytest.raises(NotFound):
        await put(engine, id, "/none", packed(("x", b"")))
    for path in ("/proc", "/sys/kernel"):
        with pytest.raises(NotFound):
            await put(engine, id, path, packed(("x", b"")))
    with pytest.raises(Invalid, match="the kernel's"):
        await put(engine, id, "/", packed(("proc/sys/kernel/hostname", b"x")))


def descriptors() -> Counter[str]:
    """How many of pipes, sockets, processes and directories."""
    links: Counter[str] = Counter()
    for each in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the list's own
            links[os.readlink(f"/proc/self/fd/{each}").partition(":[")[0]] += 1
    return Counter({kind: links[kind] for kind in ("pipe", "socket", "anon_inode", "/")})


async def settled(engine: NativeEngine) -> None:
    """The workers are gone, and a spare waits."""
    nursery = engine._nursery
    await until(lambda: not nursery._living and nursery._spare is not None)


async def test_who_goes_away_leaves_nothing(engine: NativeEngine) -> None:
    id = await filled(engine, "running")
    entry = engine._index.get("test", id)

    async def broken() -> AsyncIterator[bytes]:
        yield packed(("half", b"x" * 5000))[:1000]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await engine.copies.put(id, "/d", broken())
    assert entry.copies == {}

    async def silent() -> AsyncIterator[bytes]:
        yield packed(("half", b"x" * 5000))[:1000]
        await asyncio.Event().wait()

    waiting = asyncio.create_task(engine.copies.put(id, "/d", silent()))
    await until(lambda: entry.copies)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert entry.copies == {}
    async with engine.copies.get(id, "/") as (_, given):
        async for _piece in given.pieces():
            break
    await until(lambda: not entry.copies)
    await settled(engine)
    before = descriptors()
    await put(engine, id, "/d", packed(("x", b"")))
    await out(engine, id, "/d")
    await engine.copies.stat(id, "/d")
    await until(lambda: descriptors() == before)


async def test_a_start_waits_for_no_slow_copy(engine: NativeEngine) -> None:
    id = await filled(engine, "stopped")

    async def silent() -> AsyncIterator[bytes]:
        yield packed(("half", b"x" * 5000))[:1000]
        await asyncio.Event().wait()

    copying = asyncio.create_task(engine.copies.put(id, "/d", silent()))
    await until(lambda: engine._index.get("test", id).copies)
    await engine.start(id)
    with pytest.raises(Temporary, match="given up"):
        await copying
    state = engine.state(id)
    assert state is not None
    assert state.phase == "running"


async def test_deleted_meanwhile(engine: NativeEngine) -> None:
    id = await filled(engine, "stopped")
    async with engine.copies.get(id, "/") as (_, given):
        pieces = given.pieces()
        await anext(pieces)
        await engine.delete(id)
        with pytest.raises(SetpointError):
            async for _piece in pieces:
                pass
    with pytest.raises(NotFound):
        await engine.copies.stat(id, "/")


async def test_a_spare_that_has_ended_is_nobodys_fault(engine: NativeEngine) -> None:
    """By the kernel, for want of memory, say; and so may the process that forks them."""
    id = await filled(engine, "running")
    assert await content(engine, id, "/d/sub/two") == b"two\n"
    for which in ("spare", "process"):
        await settled(engine)
        spare, process = engine._nursery._spare, engine._nursery._process
        assert spare is not None
        assert process is not None
        if which == "spare":
            spare.worker.kill()
            await pipes.until_readable(spare.worker.pidfd)
        else:
            process.kill()
            await until(lambda: engine._nursery._spare is None)  # it hears of it
        await put(engine, id, "/d", packed(("x", b"after")))
        assert await content(engine, id, "/d/x") == b"after"


async def test_a_copy_waits_for_who_still_has_the_root_mounted(
    engine: NativeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a container that does not run: an overlay that is mounted twice is undefined."""
    id = await filled(engine, "stopped")
    goes_on = asyncio.Event()

    async def gone(*_arguments: object) -> None:
        goes_on.set()

    monkeypatch.setattr(engine.copies._roots, "wait_gone", gone)
    entry, leaving = engine._index.get("test", id), nursery.Worker(-1)
    engine._nursery._leaving.add(leaving)
    entry.copies[leaving] = leaving.gone
    putting = asyncio.create_task(put(engine, id, "/d", packed(("x", b"after"))))
    for _ in range(50):
        await asyncio.sleep(0)
    assert not goes_on.is_set()
    engine._nursery._leaving.discard(leaving)
    del entry.copies[leaving]
    leaving.gone.set_result(None)
    await putting
    assert await content(engine, id, "/d/x") == b"after"


async def test_a_worker_has_one_container_once(engine: NativeEngine) -> None:
    id = await filled(engine, "running")
    await put(engine, id, "/d", packed(("x", b"")))
    await settled(engine)
    first = engine._nursery._spare
    await put(engine, id, "/d", packed(("y", b"")))
    await settled(engine)
    assert engine._nursery._spare is not first


@pytest.mark.parametrize("pack", [bytes, *PACKINGS])
async def test_a_small_one_whole(engine: NativeEngine, pack: Callable[[bytes], bytes]) -> None:
    id = await filled(engine, "running")
    await engine.copies.put(id, "/d", pack(packed(("small", b"s"))))
    assert await content(engine, id, "/d/small") == b"s"
    with pytest.raises(Invalid):
        await engine.copies.put(id, "/d", pack(packed(("half", b"x" * 5000))[:1000]))


async def test_many_at_once_given_up_at_any_moment(engine: NativeEngine) -> None:
    """Whatever a worker was being asked for, the next one is told the right thing."""
    id = await filled(engine, "running")
    await out(engine, id, "/d")
    await settled(engine)
    before = descriptors()
    for turns in range(12):
        copies = [asyncio.create_task(content(engine, id, "/d/sub/two")) for _ in range(12)]
        for _ in range(turns * 3):
            await asyncio.sleep(0)
        for copy in copies[::2]:
            copy.cancel()
        found = await asyncio.gather(*copies, return_exceptions=True)
        assert {each for each in found if isinstance(each, bytes)} == {b"two\n"}
        assert all(isinstance(each, bytes | asyncio.CancelledError) for each in found)
    await until(lambda: descriptors() == before)
    assert engine._index.get("test", id).copies == {}
