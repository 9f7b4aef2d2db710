"""Export, commit and diff of containers that run: the engine's side, on the kernel."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import signal
import stat
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from runtime import cgroups, container_files
from runtime.engine import NativeEngine
from runtime.errors import Conflict, Invalid, NotFound, Temporary, Unsupported
from runtime.images.container_commit import Commit
from runtime.images.root_diff import QUICK_NAMES
from runtime.layout import Layout
from runtime.model import MountConfig, SandboxConfig, Security, VolumeConfig
from tests.native import another_engine, ended, output, run, shell, until

pytestmark = pytest.mark.asyncio

CHANGE = """
    echo new >/made; mkdir /d; echo x >/d/x; chown 70:71 /d/x; ln /d/x /d/hard; rm /bin/vi; ln -s /made /link
    chmod 1777 /d; echo volume >/data/v; mkfifo /pipe; touch /ready; exec sleep 1000
"""


def wanted(name: str, *changes: str, force: bool = False) -> Commit:
    return Commit("", "", "", name, changes, moves_name=force)


async def exported(engine: NativeEngine, id: str) -> dict[str, tarfile.TarInfo]:
    data = b"".join([piece async for piece in engine.files.export(id)])
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: member for member in archive}


async def changed(engine: NativeEngine, name: str, **fields: object) -> str:
    """A running container that has changed files."""
    await engine.create_volume(VolumeConfig(f"{name}-data"))
    mounts = (MountConfig("volume", "/data", f"{name}-data"),)
    config = shell(engine, name, CHANGE, mounts=mounts, **fields)
    await run(engine, config)
    upper = engine.layout.containers / config.id / "upper"
    await until((upper / "ready").exists)
    return config.id


@pytest.mark.parametrize("users", ["host", "auto"])
async def test_an_image_of_a_container(engine: NativeEngine, users: str) -> None:
    sandbox: dict[str, object] = {}
    if users == "auto":
        sandbox = {"sandbox": SandboxConfig("own", "5" * 64), "security": Security(user_namespace="auto")}
    id = await changed(engine, "one", **sandbox)
    told = await engine.files.changes(id)
    assert ("D", "/bin/vi") in told
    assert {("A", "/made"), ("A", "/d"), ("A", "/d/x"), ("A", "/link"), ("A", "/pipe")} <= set(told)
    assert not [path for _, path in told if path.startswith(("/proc", "/dev", "/etc", "/data/"))]
    members = await exported(engine, id)
    assert members["d/x"].uid == 70
    assert members["d/x"].gid == 71
    assert members["d/x"].islnk() or members["d/hard"].islnk()
    assert members["d"].mode == 0o1777
    assert "bin/vi" not in members
    assert "data/v" not in members
    image = await engine.files.commit(id, wanted("made:1", "CMD cat /made", "ENV A=b"))
    assert image.names == ("made:1",)
    assert image.command == ("/bin/sh", "-c", "cat /made")
    assert "A=b" in image.environment
    state = engine.state(id)
    assert state is not None
    assert state.phase == "running"
    script = "cat /made; stat -c '%u %g %a' /d/x /d; ls /bin/vi /data; echo $A"
    again = shell(engine, "again", script)
    await run(engine, replace(again, image=image.id))
    assert (await ended(engine, again.id)).exit_code == 0
    assert output(engine, again.id) == b"new\n70 71 644\n0 0 1777\n/data:\nb\n"
    first = image.layers[-1]
    second = await engine.files.commit(id, wanted("made:2"))
    assert second.layers[-1] == first  # the same files, the same layer


async def test_many_changes_are_told_by_a_worker(engine: NativeEngine) -> None:
    """In more than one line, names that are no UTF-8 among them."""
    id = await changed(engine, "one")
    few = await engine.files.changes(id)
    many = engine.layout.containers / id / "upper" / "many"
    many.mkdir()
    names = [b"%05d-\xff-" % number + b"x" * 100 for number in range(QUICK_NAMES + 10)]
    for name in names:
        os.close(os.open(bytes(many) + b"/" + name, os.O_CREAT | os.O_WRONLY))
    told = await engine.files.changes(id)
    made = {("A", "/many"), *(("A", os.fsdecode(b"/many/" + name)) for name in names)}
    assert set(told) == set(few) | made
    assert told == sorted(told, key=lambda change: os.fsencode(change[1]))


async def test_it_stands_still_only_while_it_is_read(engine: NativeEngine) -> None:
    id = await changed(engine, "one")
    phases = []

    def watch(_progress: object) -> None:
        state = engine.state(id)
        phases.append(state.phase if state else "")

    await engine.files.commit(id, wanted("made:1"), report=watch)
    assert "paused" in phases
    assert not (engine.layout.run_containers / id / container_files.PAUSED).exists()
    phases.clear()
    await engine.files.commit(id, wanted("made:2"), pauses=False, report=watch)
    assert set(phases) == {"running"}
    await engine.pause(id)
    await engine.files.commit(id, wanted("made:3"))
    state = engine.state(id)
    assert state is not None
    assert state.phase == "paused"  # as a person left it
    await engine.resume(id)


async def test_what_an_agent_paused_and_did_not_live_to_let_go_on(
    engine: NativeEngine, instance: Layout
) -> None:
    id = await changed(engine, "one")
    (instance.run_containers / id / container_files.PAUSED).touch()
    await engine.pause(id)
    await engine.close()
    async with another_engine(instance) as second:
        state = second.state(id)
        assert state is not None
        assert state.phase == "running"
        assert not (instance.run_containers / id / container_files.PAUSED).exists()
    await engine.open()


async def test_refusals(engine: NativeEngine) -> None:
    id = await changed(engine, "one")
    before = engine.image("busybox:latest")
    with pytest.raises(Conflict, match="busybox:latest: it is another image here"):
        await engine.files.commit(id, wanted("busybox:latest"))
    with pytest.raises(Invalid, match="no instruction"):
        await engine.files.commit(id, wanted("made:1", "NONSENSE"))
    assert engine.image("busybox:latest") == before
    with pytest.raises(NotFound):
        await engine.files.changes("0" * 64)
    os.close(os.open(engine.layout.containers / id / "upper" / ".wh.x", os.O_CREAT))
    with pytest.raises(Unsupported, match="no names that begin with"):
        await engine.files.commit(id, wanted("made:1"))
    state = engine.state(id)
    assert state is not None
    assert state.phase == "running"
    (engine.layout.containers / id / "upper" / ".wh.x").unlink()
    moved = await engine.files.commit(id, wanted("busybox:latest", force=True))
    assert engine.image("busybox:latest") == moved


async def test_nobody_waits_for_a_commit_that_fails(
    engine: NativeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client has broken off: that is no bug to be told of."""
    id = await changed(engine, "one")
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, bug: told.append(bug))
    begun, may_fail, ends = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def fail(*_arguments: object) -> None:
        begun.set()
        await may_fail.wait()
        asyncio.get_running_loop().call_soon(ends.set)
        raise NotFound("commit image", "one", "its files are gone", "")

    monkeypatch.setattr(engine.files, "_commit", fail)
    asking = asyncio.ensure_future(engine.files.commit(id, wanted("made:1"), pauses=False))
    await begun.wait()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    may_fail.set()
    await ends.wait()
    del asking
    gc.collect()
    assert told == []


async def test_a_commit_whose_worker_is_ended(engine: NativeEngine) -> None:
    """By the kernel, for its memory, or by anybody: nothing of it is left, and the container goes on."""
    id = await changed(engine, "one")
    with (engine.layout.containers / id / "upper" / "large").open("wb") as file:
        file.truncate(1 << 36)
    ingest = engine.layout.images / "ingest"
    committing = asyncio.ensure_future(engine.files.commit(id, wanted("made:1")))
    await until(lambda: any(ingest.glob("*/blob-*")))
    for pid in cgroups.list_pids(f"/{engine.layout.copy_cgroup}"):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(Temporary, match="commit one"):
        await committing
    assert not list(ingest.iterdir())
    assert engine.image("made:1") is None
    state = engine.state(id)
    assert state is not None
    assert state.phase == "running"
    (engine.layout.containers / id / "upper" / "large").unlink()
    image = await engine.files.commit(id, wanted("made:1"))
    assert engine.image("made:1") == image


async def test_a_reader_that_goes_away(engine: NativeEngine) -> None:
    id = await changed(engine, "one")
    large = engine.layout.containers / id / "upper" / "large"
    with large.open("wb") as file:
        file.truncate(1 << 34)
    pieces = engine.files.export(id)
    assert await anext(pieces)
    await pieces.aclose()
    large.unlink()
    assert "made" in await exported(engine, id)


async def test_a_container_that_is_deleted_meanwhile(engine: NativeEngine) -> None:
    id = await changed(engine, "one")
    with (engine.layout.containers / id / "upper" / "large").open("wb") as file:
        file.write(bytes(8 << 20))
    pieces = engine.files.export(id)
    await anext(pieces)
    await engine.stop(id, 0)
    await engine.delete(id)
    with pytest.raises((NotFound, Invalid)):
        async for _ in pieces:
            await asyncio.sleep(0)


async def test_a_stopped_container(engine: NativeEngine, tmp_path: Path) -> None:
    config = shell(engine, "done", "echo x >/made")
    await run(engine, config)
    await ended(engine, config.id)
    assert ("A", "/made") in await engine.files.changes(config.id)
    image = await engine.files.commit(config.id, wanted("made:1"))
    path = Path(engine.images.stack(image.id).lower[0]) / "made"
    assert path.read_text() == "x\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
