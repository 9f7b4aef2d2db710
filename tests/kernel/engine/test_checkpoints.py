"""Checkpoints by CRIU: processes that become files, and go on from them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
from pathlib import Path

import pytest

from runtime import cgroups
from runtime.checkpoints import checkpoints, criu, seal
from runtime.engine import NativeEngine
from runtime.errors import Conflict, Invalid, NotFound, SetpointError, Temporary, Unsupported
from runtime.layout import Layout
from runtime.model import (
    ContainerConfig,
    EndpointConfig,
    MountConfig,
    NetworkConfig,
    SandboxConfig,
    Security,
)
from tests.native import another_engine, config_of, ended, output, run, shell, supervisor_pid, until

pytestmark = pytest.mark.skipif(not criu.find_program(), reason="no criu here: ops/test --with-peers")

COUNTER = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done"


def counted(engine: NativeEngine, id: str) -> list[int]:
    return [int(line) for line in output(engine, id).split()]


async def count_to(engine: NativeEngine, id: str, number: int) -> None:
    await until(lambda: number in counted(engine, id))


async def keep_and_stop(engine: NativeEngine, id: str, name: str, directory: str = "") -> None:
    await engine.checkpoints.create(id, name, directory, leaves_running=False)
    await engine.stop(id, 0)


async def test_a_counter_goes_on_where_it_was(engine: NativeEngine, tmp_path: Path) -> None:
    """With an interface, a volume, a bind that is read-only and a tmpfs; no number is lost or said twice."""
    await engine.create_network(NetworkConfig("net", subnet="10.213.7.0/24"))
    (tmp_path / "given").write_text("from the host")
    config = dataclasses.replace(
        shell(engine, "one", f"echo kept >/mem/note; {COUNTER}"),
        sandbox=SandboxConfig("own", "box", (EndpointConfig("net"),)),
        mounts=(
            MountConfig("volume", "/data", "vol"),
            MountConfig("bind", "/bind", str(tmp_path), read_only=True),
            MountConfig("tmpfs", "/mem"),
        ),
    )
    await run(engine, config)
    await count_to(engine, config.id, 5)
    before = await look(engine, config.id)
    await keep_and_stop(engine, config.id, "first")
    state = engine.state(config.id)
    assert state is not None and (state.phase, state.exit_code) == ("stopped", 137)
    assert engine.checkpoints.list(config.id) == ["first"]
    last = counted(engine, config.id)[-1]

    await engine.checkpoints.choose(config.id, "first")
    await engine.start(config.id)
    await count_to(engine, config.id, last + 5)
    numbers = counted(engine, config.id)
    assert numbers == list(range(len(numbers)))
    assert await look(engine, config.id) == before
    assert (await engine.exec(config.id, ["cat", "/mem/note", "/bind/given"], timeout_seconds=20)).output == (
        b"kept\nfrom the host"
    )
    assert (await engine.exec(config.id, ["touch", "/bind/x"], timeout_seconds=20)).exit_code == 1
    assert (await engine.exec(config.id, ["touch", "/data/x"], timeout_seconds=20)).exit_code == 0
    assert await engine.find_drift() == ()

    await engine.stop(config.id, 0)
    await engine.start(config.id)  # without being told again: from its beginning
    await until(lambda: counted(engine, config.id)[-1] < last)
    await engine.stop(config.id, 0)
    await engine.delete(config.id)
    assert not (engine.layout.containers / config.id).exists()
    await engine.delete_sandbox("box")
    await engine.delete_network("net")


LOOK = (
    "grep -E '^(Cap|Seccomp|NoNewPrivs|Uid|Gid|Groups)' /proc/1/status; cat /proc/1/cgroup /proc/1/limits; "
    "cut -d' ' -f5,6 /proc/1/mountinfo | sort; hostname; ls /proc/1/fd; cat /etc/hosts /etc/resolv.conf; "
    "ls -l /dev | cut -c1-10,42-; readlink /proc/1/exe; tr '\\0' ' ' </proc/1/environ; "
    "ip -o addr show eth0 | cut -c1-60"
)


async def look(engine: NativeEngine, id: str) -> str:
    """What must be the same of a process that was made again."""
    done = await engine.exec(id, ["sh", "-c", LOOK], timeout_seconds=30)
    return done.output.decode()


async def test_it_may_run_on_and_end_with_its_own_code(engine: NativeEngine) -> None:
    config = shell(engine, "one", f"trap 'exit 7' TERM; {COUNTER}")
    await run(engine, config)
    await count_to(engine, config.id, 2)
    await engine.checkpoints.create(config.id, "one", leaves_running=True)
    state = engine.state(config.id)
    assert state is not None and state.phase == "running"
    last = counted(engine, config.id)[-1]
    await count_to(engine, config.id, last + 3)
    with pytest.raises(Conflict, match="already exists"):
        await engine.checkpoints.create(config.id, "one", leaves_running=True)
    await engine.checkpoints.create(config.id, "two", leaves_running=True)
    assert engine.checkpoints.list(config.id) == ["one", "two"]
    engine.checkpoints.remove(config.id, "two")
    assert engine.checkpoints.list(config.id) == ["one"]
    with pytest.raises(NotFound):
        engine.checkpoints.remove(config.id, "two")
    await engine.stop(config.id, 20)
    await engine.checkpoints.choose(config.id, "one")
    await engine.start(config.id)
    await until(lambda: counted(engine, config.id).count(last + 1) == 2)
    await engine.stop(config.id, 20)  # its handler was kept, and its end is heard by its parent
    state = await ended(engine, config.id)
    assert state.exit_code == 7


async def test_what_is_typed_and_said_later_comes_through(engine: NativeEngine) -> None:
    config = dataclasses.replace(
        shell(engine, "one", "while read line; do echo got $line; done; echo over; exit 3"), stdin_open=True
    )
    await run(engine, config)
    await keep_and_stop(engine, config.id, "one")
    await engine.checkpoints.choose(config.id, "one")
    await engine.start(config.id)
    fd = await engine.attach(config.id, stdin=True, closes_stdin=True)
    reader, writer = await asyncio.open_connection(sock=_socket(fd))
    writer.write(b"a line\n")
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 30) == b"got a line\nover\n"
    writer.close()
    assert (await ended(engine, config.id)).exit_code == 3


def _socket(fd: int) -> object:
    import socket

    return socket.socket(fileno=fd)


@pytest.mark.parametrize("change", ["command", "read_only", "capability", "mount"])
async def test_another_config_is_refused(engine: NativeEngine, change: str, tmp_path: Path) -> None:
    """By a directory of the caller's: a clone may take it, another container may not."""
    config = shell(engine, "one", COUNTER)
    await run(engine, config)
    await count_to(engine, config.id, 1)
    await keep_and_stop(engine, config.id, "one", str(tmp_path))
    assert engine.checkpoints.list(config.id) == []
    assert engine.checkpoints.list(config.id, str(tmp_path)) == ["one"]
    other = {
        "command": shell(engine, "two", COUNTER + " "),
        "read_only": dataclasses.replace(shell(engine, "two", COUNTER), read_only=True),
        "capability": dataclasses.replace(
            shell(engine, "two", COUNTER), security=Security(cap_drop=("CHOWN",))
        ),
        "mount": dataclasses.replace(shell(engine, "two", COUNTER), mounts=(MountConfig("tmpfs", "/tmp"),)),
    }[change]
    await engine.create(other)
    with pytest.raises(Conflict, match="another config"):
        await engine.checkpoints.choose(other.id, "one", str(tmp_path))
    clone = shell(engine, "clone", COUNTER)
    await engine.create(clone)
    await engine.checkpoints.choose(clone.id, "one", str(tmp_path))
    await engine.start(clone.id)
    first = counted(engine, config.id)[-1] + 1
    await until(lambda: counted(engine, clone.id)[:2] == [first, first + 1])
    await engine.stop(clone.id, 0)
    engine.checkpoints.remove(config.id, "one", str(tmp_path))
    assert list(tmp_path.iterdir()) == []


async def refused(engine: NativeEngine, config: ContainerConfig, words: str) -> None:
    await run(engine, config)
    with pytest.raises(Unsupported, match=words):
        await engine.checkpoints.create(config.id, "one", leaves_running=True)
    state = engine.state(config.id)
    assert state is not None and state.phase == "running"
    await engine.stop(config.id, 0)


async def test_what_cannot_be_kept_is_refused_and_runs_on(engine: NativeEngine) -> None:
    config = config_of(engine, "tty", "sleep", "1000")
    await refused(engine, dataclasses.replace(config, tty=True), "terminal")
    config = config_of(engine, "pid", "sleep", "1000")
    await refused(engine, dataclasses.replace(config, pid_mode="host"), "pid namespace")
    config = config_of(engine, "ipc", "sleep", "1000")
    await refused(engine, dataclasses.replace(config, ipc_mode="host"), "ipc")


async def test_a_dump_that_fails_says_why_and_the_container_runs_on(engine: NativeEngine) -> None:
    """A pid namespace below the container's is nothing that CRIU knows; the words are the end of its log."""
    script = "(exec unshare -p -f sleep 1000) & " + COUNTER
    config = dataclasses.replace(shell(engine, "one", script), security=Security(cap_add=("SYS_ADMIN",)))
    await run(engine, config)
    await count_to(engine, config.id, 5)
    with pytest.raises(Conflict, match=r"criu could not keep its processes, which run on: .*amespace"):
        await engine.checkpoints.create(config.id, "one", leaves_running=False)
    last = counted(engine, config.id)[-1]
    await count_to(engine, config.id, last + 3)
    assert engine.checkpoints.list(config.id) == []
    assert list((engine.layout.containers / config.id / "checkpoints").iterdir()) == []
    await engine.stop(config.id, 0)


async def test_a_start_that_fails_says_why_and_leaves_nothing(engine: NativeEngine) -> None:
    config = shell(engine, "one", COUNTER)
    await run(engine, config)
    await keep_and_stop(engine, config.id, "one")
    pages = engine.layout.containers / config.id / "checkpoints" / "one" / "pstree.img"
    whole = pages.read_bytes()
    pages.write_bytes(b"x" * len(whole))
    await engine.checkpoints.choose(config.id, "one")
    with pytest.raises(Conflict, match="criu could not make its processes again"):
        await engine.start(config.id)
    assert cgroups.list_pids(f"/{engine.layout.cgroup_parent}/{config.id}") == ()
    assert not (engine.layout.run_containers / config.id / "restoring.json").exists()
    pages.write_bytes(whole)
    await engine.start(config.id)
    await engine.stop(config.id, 0)
    await engine.checkpoints.choose(config.id, "one")
    engine.checkpoints.choose_none(config.id)
    await engine.start(config.id)
    await until(lambda: counted(engine, config.id)[-1] == 0)
    await engine.stop(config.id, 0)


async def test_it_is_of_those_that_run(engine: NativeEngine) -> None:
    config = shell(engine, "one", COUNTER)
    await engine.create(config)
    with pytest.raises(Conflict, match="is not running"):
        await engine.checkpoints.create(config.id, "one", leaves_running=True)
    with pytest.raises(NotFound, match="checkpoint one does not exist"):
        await engine.checkpoints.choose(config.id, "one")
    await engine.start(config.id)
    await engine.pause(config.id)
    with pytest.raises(Conflict, match="is paused"):
        await engine.checkpoints.create(config.id, "one", leaves_running=True)
    await engine.resume(config.id)
    await engine.stop(config.id, 0)


async def test_a_slow_reader_is_not_a_reason_to_say_things_twice(
    engine: NativeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = shell(engine, "one", "exec yes")
    await engine.create(config)
    fd = await engine.attach(config.id)
    await engine.start(config.id)
    fifo = engine.layout.run_containers / config.id / "stdout"
    looks: list[int] = []

    def is_held() -> bool:
        """Full at every look of some: nobody reads on, since the client's socket is full."""
        looks.append(checkpoints._unread(str(fifo)))
        return len(looks) > 50 and min(looks[-50:]) == 1 << 16

    await until(is_held)
    monkeypatch.setattr("runtime.checkpoints.checkpoints.OUTPUT_SECONDS", 0.2)
    with pytest.raises(Temporary, match="reads slowly"):
        await engine.checkpoints.create(config.id, "one", leaves_running=True)
    os.close(fd)
    await engine.stop(config.id, 0)


# --- what a container prepares


async def test_a18_nothing_of_the_container_runs_for_the_host(engine: NativeEngine) -> None:
    """CRIU calls tar, for the content of a tmpfs, and others; the container has its own of these names."""
    poison = (
        "for d in /usr/sbin /usr/bin /sbin /bin; do mkdir -p $d; "
        "for p in tar gzip criu iptables-restore ip6tables-restore nft ip; do rm -f $d/$p; "
        "printf '#!/bin/busybox sh\\n/bin/busybox touch /mem/marker\\n' >$d/$p; chmod 755 $d/$p; done; done; "
        "mkdir -p /etc/criu; echo 'action-script /bin/tar' >/etc/criu/default.conf; echo kept >/mem/note; "
    )
    config = shell(engine, "one", poison + COUNTER, mounts=(MountConfig("tmpfs", "/mem"),))
    await run(engine, config)
    await count_to(engine, config.id, 1)
    await keep_and_stop(engine, config.id, "one")
    await engine.checkpoints.choose(config.id, "one")
    last = counted(engine, config.id)[-1]
    await engine.start(config.id)
    await count_to(engine, config.id, last + 1)
    found = await engine.exec(config.id, ["ls", "/mem"], timeout_seconds=20)
    assert found.output == b"note\n"
    found = await engine.exec(config.id, ["sh", "-c", "/bin/tar; ls /mem"], timeout_seconds=20)
    assert found.output == b"marker\nnote\n"  # so it would have been seen
    await engine.stop(config.id, 0)


async def test_a7_a_mount_that_the_container_moved_stays_what_it_is(
    engine: NativeEngine, tmp_path: Path
) -> None:
    """Its place in the config leads, by a link of the container's, to a mount that may be written to."""
    (tmp_path / "file").write_text("the host's")
    script = "mv /deep /moved; mkdir /deep; ln -s /data /deep/a; " + COUNTER
    config = shell(
        engine, "one", script,
        mounts=(
            MountConfig("bind", "/deep/a", str(tmp_path), read_only=True),
            MountConfig("volume", "/data", "vol"),
        ),
    )  # fmt: skip
    await run(engine, config)
    await count_to(engine, config.id, 1)
    await keep_and_stop(engine, config.id, "one")
    await engine.checkpoints.choose(config.id, "one")
    await engine.start(config.id)
    probe = "cat /moved/a/file; touch /moved/a/x || echo; touch /data/y; ls /data /deep/a/"
    found = await engine.exec(config.id, ["sh", "-c", probe], timeout_seconds=20)
    assert b"the host's" in found.output and b"Read-only" in found.output
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    await engine.stop(config.id, 0)


async def test_a_mount_of_the_containers_own_making_is_refused(engine: NativeEngine) -> None:
    """Of the host's file systems: by it CRIU would be led to a source that nobody gave the container."""
    script = "mkdir /below; mount -o bind /data/sub /below; " + COUNTER
    config = shell(
        engine, "one", "mkdir -p /data/sub; " + script, security=Security(privileged=True),
        mounts=(MountConfig("volume", "/data", "vol"),),
    )  # fmt: skip
    await run(engine, config)
    await count_to(engine, config.id, 1)
    with pytest.raises(Unsupported, match=r"its mount at /below .* cannot be kept"):
        await engine.checkpoints.create(config.id, "one", leaves_running=True)
    last = counted(engine, config.id)[-1]
    await count_to(engine, config.id, last + 2)
    await engine.stop(config.id, 0)


# --- crash only


async def test_an_agent_that_ended_in_the_middle_leaves_a_container_that_runs(
    engine: NativeEngine, instance: Layout
) -> None:
    config = shell(engine, "one", COUNTER)
    await run(engine, config)
    await engine.checkpoints.create(config.id, "one", leaves_running=False)  # frozen, and never stopped
    place = instance.containers / config.id / "checkpoints"
    (place / ".new-half").mkdir()
    (place / ".new-half" / "pages-1.img").write_bytes(b"x")
    await engine.close()
    async with another_engine(instance) as second:
        last = counted(second, config.id)[-1]
        await count_to(second, config.id, last + 3)
        state = second.state(config.id)
        assert state is not None and state.phase == "running"
        assert [path.name for path in place.iterdir()] == ["one"]
        await second.stop(config.id, 0)


async def test_a_chosen_one_outlives_the_agent_and_is_used_once(
    engine: NativeEngine, instance: Layout, tmp_path: Path
) -> None:
    config = shell(engine, "one", COUNTER)
    await run(engine, config)
    await count_to(engine, config.id, 9)
    await keep_and_stop(engine, config.id, "one", str(tmp_path))
    last = counted(engine, config.id)[-1]
    await engine.checkpoints.choose(config.id, "one", str(tmp_path))
    await engine.close()
    async with another_engine(instance) as second:
        await second.start(config.id)
        await count_to(second, config.id, last + 2)
        assert list((instance.containers / config.id / "checkpoints").iterdir()) == []
        assert not (instance.containers / config.id / "restore.json").exists()
        await second.stop(config.id, 0)


@pytest.mark.parametrize("delay_seconds", [0.0, 0.05, 0.1, 0.2, 0.3, 0.5])
async def test_a_supervisor_killed_on_the_way_leaves_one_that_is_known_or_none(
    engine: NativeEngine, delay_seconds: float
) -> None:
    config = shell(engine, "one", COUNTER)
    await run(engine, config)
    await keep_and_stop(engine, config.id, "one")
    await engine.checkpoints.choose(config.id, "one")
    starting = asyncio.ensure_future(engine.start(config.id))
    await asyncio.sleep(delay_seconds)
    os.kill(await supervisor_pid(engine), signal.SIGKILL)
    with contextlib.suppress(SetpointError):
        await starting
    await until(lambda: engine.is_supervisor_up)
    path = f"/{engine.layout.cgroup_parent}/{config.id}"

    def is_settled() -> bool:
        state, pids = engine.state(config.id), cgroups.list_pids(path)
        return state is not None and (state.pid in pids if state.phase == "running" else not pids)

    await until(is_settled)
    await engine.start(config.id)  # from the checkpoint, unless it runs
    assert not (engine.layout.run_containers / config.id / "restoring.json").exists()
    await engine.stop(config.id, 0)


@pytest.mark.parametrize("who", ["supervisor", "criu"])
async def test_one_that_is_killed_in_the_middle_of_a_dump_leaves_no_half_checkpoint(
    engine: NativeEngine, who: str
) -> None:
    config = shell(engine, "one", COUNTER)
    await run(engine, config)
    while (error := await _kill_in_a_dump(engine, config.id, who)) is None:
        engine.checkpoints.remove(config.id, "one")  # it was done before it was killed
    if who == "supervisor":
        assert isinstance(error, Temporary), error
        await until(lambda: engine.is_supervisor_up)
    else:
        assert isinstance(error, Conflict) and "criu could not keep" in str(error), error
    assert engine.checkpoints.list(config.id) == []
    await engine.stop(config.id, 0)


async def _kill_in_a_dump(engine: NativeEngine, id: str, who: str) -> BaseException | None:
    """What became of it, None when it was made all the same."""
    await until(lambda: engine.is_supervisor_up)
    supervisor = await supervisor_pid(engine)
    making = asyncio.ensure_future(engine.checkpoints.create(id, "one", leaves_running=True))
    log = engine.layout.containers / id / "checkpoints" / ".new-one" / criu.LOG
    await until(lambda: log.exists() or making.done())
    victims = [supervisor] if who == "supervisor" else _dumping(log.parent)
    for pid in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    (error,) = await asyncio.gather(making, return_exceptions=True)
    return error if isinstance(error, BaseException) else None


def _dumping(place: Path) -> list[int]:
    return [
        int(path.name)
        for path in Path("/proc").glob("[0-9]*")
        if _command(path).startswith(criu.find_program()) and str(place) in _command(path)
    ]


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


# --- directories of the caller's


async def test_only_what_this_instance_wrote_is_started_from(engine: NativeEngine, tmp_path: Path) -> None:
    config = shell(engine, "one", COUNTER)
    await run(engine, config)
    await keep_and_stop(engine, config.id, "one", str(tmp_path))
    place = tmp_path / "one"
    assert (place.stat().st_mode & 0o777, (place / seal.NAME).stat().st_mode & 0o777) == (0o700, 0o600)
    core = next(place.glob("core-*.img"))
    whole = core.read_bytes()
    core.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(Conflict, match="not as this instance wrote it"):
        await engine.checkpoints.choose(config.id, "one", str(tmp_path))
    core.write_bytes(whole)
    (place / "more.img").write_bytes(b"")
    with pytest.raises(Conflict, match="not as this instance wrote it"):
        await engine.checkpoints.choose(config.id, "one", str(tmp_path))
    (place / "more.img").unlink()
    core.rename(place / "aside")
    core.symlink_to("aside")
    with pytest.raises(Invalid):
        await engine.checkpoints.choose(config.id, "one", str(tmp_path))
    (place / "aside").rename(core)
    await engine.checkpoints.choose(config.id, "one", str(tmp_path))
    assert not (engine.layout.containers / config.id / "checkpoints" / ".new-one").exists()


async def test_no_link_leads_out_of_the_callers_directory(engine: NativeEngine, tmp_path: Path) -> None:
    config = shell(engine, "one", COUNTER)
    await run(engine, config)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    for directory in (tmp_path / "link", tmp_path / "link" / "deeper"):
        with pytest.raises(Invalid, match="no link"):
            await engine.checkpoints.create(config.id, "one", str(directory), leaves_running=True)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    state = engine.state(config.id)
    assert state is not None and state.phase == "running"
    await engine.stop(config.id, 0)
