"""The engine's own work on the real kernel: bundles, limits, execs, drift, and what a crash leaves."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from runtime import cgroups
from runtime.engine import NativeEngine
from runtime.errors import Conflict, Invalid, NotFound, Temporary
from runtime.layout import Layout
from runtime.model import (
    EndpointConfig,
    MountConfig,
    NetworkConfig,
    PortConfig,
    Resources,
    SandboxConfig,
    VolumeConfig,
)
from tests.native import another_engine, config_of, ended, id_of, output, run, shell, supervisor_pid, until


async def test_create_meets_itself_and_refuses_another(engine: NativeEngine) -> None:
    config = config_of(engine, "one", "true", labels={"a": "b"})
    await asyncio.gather(engine.create(config), engine.create(config))
    assert [(state.phase, state.labels) for state in engine.list()] == [("created", {"a": "b"})]
    with pytest.raises(Conflict):
        await engine.create(dataclasses.replace(config, hostname="other"))
    with pytest.raises(Conflict):
        await engine.create(dataclasses.replace(config, id=id_of("two")))


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"image": "sha256:" + "0" * 64}, NotFound),
        ({"id": "../../etc"}, Invalid),
        ({"mounts": (MountConfig("bind", "/x", "/no/such/path"),)}, Invalid),
        ({"mounts": (MountConfig("bind", "/x", "relative"),)}, Invalid),
        ({"mounts": (MountConfig("volume", "/x", "../../etc"),)}, Invalid),
        ({"mounts": (MountConfig("tmpfs", "/proc"),)}, Invalid),
        ({"entrypoint": (), "command": ()}, Invalid),
        ({"security": None}, Exception),
    ],
)
async def test_what_cannot_work_is_refused_at_create_and_leaves_nothing(
    engine: NativeEngine, fields: dict[str, object], kind: type[Exception]
) -> None:
    config = dataclasses.replace(config_of(engine, "one", "true"), **fields)  # type: ignore[arg-type]
    with pytest.raises(kind):
        await engine.create(config)
    assert engine.list() == ()
    assert [path.name for path in engine.layout.containers.iterdir()] == []


async def test_delete_is_idempotent_and_refuses_what_runs(engine: NativeEngine) -> None:
    config = shell(engine, "one", "mkdir -p /deep/er; exec sleep 1000")
    await run(engine, config)
    with pytest.raises(Conflict):
        await engine.delete(config.id)
    await engine.stop(config.id, 0)
    await asyncio.gather(engine.delete(config.id), engine.delete(config.id))
    await engine.delete(config.id)
    assert engine.state(config.id) is None
    assert not (engine.layout.containers / config.id).exists()
    await until(lambda: not list(engine.layout.containers.iterdir()))
    assert not (engine.layout.run_containers / config.id).exists()
    assert cgroups.existing(f"/{engine.layout.cgroup_parent}/{config.id}") == ()


async def test_a_tree_deeper_than_any_path_is_deleted(engine: NativeEngine) -> None:
    script = "i=0; while [ $i -lt 3000 ]; do mkdir d && cd d || exit 1; i=$((i+1)); done"
    config = shell(engine, "one", f"cd /tmp; {script}")
    await run(engine, config)
    state = await ended(engine, config.id, 180)  # its shell writes its own path down each time
    assert state.exit_code in (0, 1)
    await engine.delete(config.id)
    assert list(engine.layout.containers.iterdir()) == []


async def test_a_half_made_bundle_and_a_half_deleted_one_are_swept(
    engine: NativeEngine, instance: Layout
) -> None:
    config = config_of(engine, "one", "true")
    await engine.create(config)
    await engine.close()
    half = instance.containers / id_of("half")
    (half / "upper").mkdir(parents=True)
    (instance.containers / f".gone-{id_of('gone')}" / "upper").mkdir(parents=True)
    empty = instance.containers / id_of("empty")
    empty.mkdir()
    (empty / "container.json").write_text("")
    async with another_engine(instance) as second:
        assert [state.name for state in second.list()] == ["one"]
        assert [path.name for path in instance.containers.iterdir()] == [config.id]


async def test_exec_output_is_bounded_and_both_streams_are_there(engine: NativeEngine) -> None:
    config = config_of(engine, "one", "sleep", "1000")
    await run(engine, config)
    result = await engine.exec(config.id, ["sh", "-c", "echo a; echo b >&2; exit 3"], timeout_seconds=10)
    assert (result.exit_code, sorted(result.output.split()), result.timed_out) == (3, [b"a", b"b"], False)
    flood = await engine.exec(
        config.id, ["sh", "-c", "yes | head -c 3000000"], timeout_seconds=10, max_output_bytes=1000
    )
    assert (flood.exit_code, flood.output) == (0, b"y\n" * 500)


async def test_exec_takes_user_directory_and_environment(engine: NativeEngine) -> None:
    config = config_of(engine, "one", "sleep", "1000", environment={"A": "1", "B": "2"})
    await run(engine, config)
    result = await engine.exec(
        config.id,
        ["sh", "-c", "id -u; pwd; echo $A $B $C"],
        timeout_seconds=10,
        user="nobody",
        working_dir="/tmp",
        environment=("B=3", "C=4"),
    )
    lines = result.output.decode().split("\n")
    assert lines[0] not in ("", "0")
    assert lines[1:3] == ["/tmp", "1 3 4"]


async def test_exec_past_its_time_is_killed_with_its_children(engine: NativeEngine) -> None:
    config = config_of(engine, "one", "sleep", "1000")
    await run(engine, config)
    result = await engine.exec(config.id, ["sh", "-c", "sleep 500 & sleep 500"], timeout_seconds=0.2)
    assert result.timed_out and result.exit_code == 137
    await until(lambda: len(engine.top(config.id)) == 1)


async def test_exec_does_not_wait_for_a_child_that_keeps_its_pipe(engine: NativeEngine) -> None:
    config = config_of(engine, "one", "sleep", "1000")
    await run(engine, config)
    result = await engine.exec(config.id, ["sh", "-c", "sleep 300 & echo done"], timeout_seconds=10)
    assert (result.exit_code, result.output) == (0, b"done\n")


async def test_each_exec_is_as_its_container_is_written_now(engine: NativeEngine) -> None:
    """The supervisor keeps what it has read of a container for the next exec of it."""
    config = config_of(engine, "one", "sleep", "1000")
    await run(engine, config)
    path = Path(engine._assembly.run_directory(config.id)) / "config.json"

    async def says(*argv: str, **options: Any) -> str:
        result = await engine.exec(
            config.id, argv or ["sh", "-c", "echo $A $B"], timeout_seconds=5, **options
        )
        return result.output.decode().strip()

    for value in ("1", "2", "2", "3"):
        oci = json.loads(path.read_text())
        oci["process"]["env"] = [f"A={value}"]
        path.with_name("new").write_text(json.dumps(oci))
        path.with_name("new").rename(path)
        assert await says() == value
        assert (
            await says("sh", "-c", "echo $A; pwd; id -u", user="7", working_dir="/tmp") == f"{value}\n/tmp\n7"
        )
        assert await says(environment=["B=b"]) == f"{value} b"
        assert await says() == value
    with pytest.raises(Invalid):
        await says("a\0b")


async def test_exec_of_what_is_not_there(engine: NativeEngine) -> None:
    config = config_of(engine, "one", "sleep", "1000")
    await engine.create(config)
    with pytest.raises(Conflict):
        await engine.exec(config.id, ["true"], timeout_seconds=1)
    await engine.start(config.id)
    with pytest.raises(Exception, match="missing"):
        await engine.exec(config.id, ["/missing"], timeout_seconds=1)
    with pytest.raises(Invalid):
        await engine.exec(config.id, [], timeout_seconds=1)
    assert (await engine.exec(config.id, ["true"], timeout_seconds=5)).exit_code == 0


async def test_a_hundred_execs_at_once(engine: NativeEngine) -> None:
    config = config_of(engine, "one", "sleep", "1000")
    await run(engine, config)
    results = await asyncio.gather(
        *(engine.exec(config.id, ["sh", "-c", f"exit {n}"], timeout_seconds=30) for n in range(100))
    )
    assert [result.exit_code for result in results] == list(range(100))
    pid = await supervisor_pid(engine)
    assert Path(f"/proc/{pid}/task/{pid}/children").read_text().split() == [str(engine.state(config.id).pid)]  # type: ignore[union-attr]


async def test_an_exec_with_pipes(engine: NativeEngine) -> None:
    config = config_of(engine, "one", "sleep", "1000")
    await run(engine, config)
    process = await engine.start_exec(config.id, ["cat"], stdin=True)
    os.write(process.stdin, b"through\n")
    process.close_stdin()
    assert await process.wait() == 0
    assert os.read(process.stdout, 100) == b"through\n"
    process.close()


async def test_an_exec_with_a_terminal_and_its_size(engine: NativeEngine) -> None:
    config = config_of(engine, "one", "sleep", "1000")
    await run(engine, config)
    process = await engine.start_exec(
        config.id, ["sh", "-c", "tty; stty size; read x; stty size; exit 5"], terminal=True, size=(33, 77)
    )
    os.set_blocking(process.stdout, False)
    seen = bytearray()

    def read() -> bytes:
        with contextlib.suppress(OSError):
            seen.extend(os.read(process.stdout, 4096))
        return bytes(seen)

    await until(lambda: b"33 77" in read())
    await process.resize(40, 90)
    os.write(process.stdin, b"\n")
    await until(lambda: b"40 90" in read())
    assert b"/dev/pts/" in seen
    assert await process.wait() == 5
    process.close()


async def test_closing_an_exec_kills_it(engine: NativeEngine) -> None:
    config = config_of(engine, "one", "sleep", "1000")
    await run(engine, config)
    process = await engine.start_exec(config.id, ["sleep", "500"])
    assert len(engine.top(config.id)) == 2
    process.close()
    await until(lambda: len(engine.top(config.id)) == 1)


async def test_pause_and_resume(engine: NativeEngine) -> None:
    config = shell(engine, "one", "while :; do echo tick; sleep 0.01; done")
    await run(engine, config)
    await until(lambda: output(engine, config.id))
    await engine.pause(config.id)
    assert engine.state(config.id).phase == "paused"  # type: ignore[union-attr]
    size = len(output(engine, config.id))
    with pytest.raises(Conflict):
        await engine.exec(config.id, ["true"], timeout_seconds=1)
    with pytest.raises(Conflict):
        await engine.pause(config.id)
    await engine.resume(config.id)
    await until(lambda: len(output(engine, config.id)) > size)
    await engine.pause(config.id)
    await engine.stop(config.id, 0.2)
    assert engine.state(config.id).phase == "stopped"  # type: ignore[union-attr]


async def test_what_even_sigkill_does_not_end_is_reported_by_the_deadline(
    engine: NativeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime import life

    monkeypatch.setattr(life, "KILL_SECONDS", 0.3)
    config = config_of(engine, "one", "sleep", "1000")
    await run(engine, config)
    freezer = Path(cgroups.hierarchies().v1.get("freezer", "/sys/fs/cgroup")) / engine.layout.cgroup_parent
    freezer.mkdir(exist_ok=True)
    inner = freezer / "held"
    inner.mkdir()
    (inner / "cgroup.procs").write_text(str(engine.state(config.id).pid))  # type: ignore[union-attr]
    switch = inner / "freezer.state"
    if not switch.exists():
        pytest.skip("needs a v1 freezer: a v2 one lets SIGKILL through")
    switch.write_text("FROZEN")
    with pytest.raises(Temporary, match="SIGKILL"):
        await engine.stop(config.id, 0.1)
    assert engine.state(config.id).phase == "running"  # type: ignore[union-attr]
    switch.write_text("THAWED")
    await ended(engine, config.id)
    await until(lambda: not (inner / "cgroup.procs").read_text())
    inner.rmdir()


async def test_limits_change_live_and_drift_is_found_and_repaired(engine: NativeEngine) -> None:
    config = config_of(engine, "one", "sleep", "1000", resources=Resources(memory_bytes=64 << 20, pids=50))
    await run(engine, config)
    assert await engine.find_drift() == ()
    wanted = Resources(memory_bytes=128 << 20, pids=70, cpu_quota_us=50_000)
    await engine.update(config.id, wanted)
    assert await engine.find_drift() == ()
    stats = engine.stats(config.id)
    assert (stats.memory_limit_bytes, stats.pids_limit) == (128 << 20, 70)
    assert engine.state(config.id).resources == wanted  # type: ignore[union-attr]
    directory = next(
        d
        for d in cgroups.existing(f"/{engine.layout.cgroup_parent}/{config.id}")
        if Path(d, "pids.max").exists()
    )
    Path(directory, "pids.max").write_text("99")
    (drift,) = await engine.find_drift()
    assert (drift.kind, drift.subject) == ("cgroup", config.id) and "pids.max" in drift.detail
    await engine.repair(drift)
    assert await engine.find_drift() == ()


async def test_stats_count(engine: NativeEngine) -> None:
    config = shell(engine, "one", "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; exec sleep 1000")
    await run(engine, config)
    await until(lambda: engine.stats(config.id).cpu_seconds > 0.01)
    stats = engine.stats(config.id)
    assert stats.pids == 1 and stats.memory_bytes > 0 and stats.id == config.id


async def test_stats_count_what_children_wrote_and_never_fall(engine: NativeEngine) -> None:
    """With cgroup v1 too, whose blkio charges what goes through the page cache to the host."""
    write = "dd if=/dev/zero of=/written bs=1M count=4 conv=fsync 2>/dev/null"
    config = shell(engine, "writer", f"({write}); echo done; sleep 1000")
    await run(engine, config)
    await until(lambda: output(engine, config.id) == b"done\n")
    before = engine.stats(config.id).io_write_bytes
    assert 4 << 20 <= before < 8 << 20
    await engine.exec(config.id, ["sh", "-c", write], timeout_seconds=20)
    after = engine.stats(config.id).io_write_bytes
    assert after >= before
    await engine.stop(config.id, 0)
    await engine.start(config.id)
    await until(lambda: output(engine, config.id) == b"done\ndone\n")
    assert engine.stats(config.id).io_write_bytes < 8 << 20


async def test_volumes_are_made_filled_and_kept(engine: NativeEngine) -> None:
    mount = MountConfig("volume", "/etc", "data")
    config = shell(engine, "one", "echo mine >/etc/mine", mounts=(mount,))
    await run(engine, config)
    assert (await ended(engine, config.id)).exit_code == 0
    data = engine.volumes.path("data")
    assert (data / "passwd").exists() and (data / "mine").read_text() == "mine\n"
    with pytest.raises(Conflict):
        await engine.delete_volume("data")
    await engine.delete(config.id)
    (data / "passwd").unlink()
    again = shell(engine, "two", "test ! -e /etc/passwd && cat /etc/mine", mounts=(mount,))
    await run(engine, again)
    assert (await ended(engine, again.id)).exit_code == 0, "a used volume is not filled again"
    await engine.delete(again.id)
    await engine.delete_volume("data")
    await engine.delete_volume("data")
    assert engine.list_volumes() == ()


async def test_volume_records(engine: NativeEngine, instance: Layout) -> None:
    await engine.create_volume(VolumeConfig("v", {"a": "b"}))
    await engine.create_volume(VolumeConfig("v", {"a": "b"}))
    with pytest.raises(Conflict):
        await engine.create_volume(VolumeConfig("v", {"a": "c"}))
    await engine.close()
    async with another_engine(instance) as second:
        (volume,) = second.list_volumes()
        assert (volume.name, volume.labels, volume.path) == ("v", {"a": "b"}, f"{instance.volumes}/v/_data")


async def test_a_network_with_names_ports_and_addresses(engine: NativeEngine) -> None:
    await engine.create_network(NetworkConfig("net"))
    server = shell(
        engine, "server", "echo hello >/tmp/index.html; exec httpd -f -p 80 -h /tmp",
        sandbox=SandboxConfig("own", "server", (EndpointConfig("net", ("web",)),), (PortConfig(80, 0),)),
    )  # fmt: skip
    await run(engine, server)
    state = engine.state(server.id)
    assert state is not None and state.addresses.keys() == {"net"} and state.ports[0].host_port > 0
    client = shell(
        engine, "client",
        "until wget -q -O - http://web/ && wget -q -O - http://server/; do sleep 0.05; done",
        sandbox=SandboxConfig("own", "client", (EndpointConfig("net"),)),
    )  # fmt: skip
    await run(engine, client)
    assert (await ended(engine, client.id)).exit_code == 0
    assert output(engine, client.id).startswith(b"hello\n")
    sidecar = shell(
        engine, "sidecar", "wget -q -O - http://127.0.0.1/", sandbox=SandboxConfig("join", "server")
    )
    await run(engine, sidecar)
    await ended(engine, sidecar.id)
    assert output(engine, sidecar.id) == b"hello\n"
    await engine.stop(server.id, 0)
    for config in (server, client, sidecar):
        await engine.delete(config.id)
    for sandbox in ("server", "client"):
        await engine.delete_sandbox(sandbox)
    await engine.delete_network("net")
    assert engine.list_sandboxes() == ()


async def test_sharing_the_pid_namespace_of_another(engine: NativeEngine) -> None:
    main = config_of(engine, "main", "sleep", "1000")
    await run(engine, main)
    side = shell(engine, "side", "ps | grep -c 'sleep 1000'; exec sleep 500", pid_mode=f"container:{main.id}")
    await run(engine, side)
    assert await until(lambda: output(engine, side.id))
    await engine.stop(side.id, 0)
    assert engine.state(main.id).phase == "running"  # type: ignore[union-attr]
    await engine.stop(main.id, 0)
    with pytest.raises(Conflict, match="does not run"):
        await engine.start(side.id)


async def test_events_tell_of_starts_and_exits(engine: NativeEngine) -> None:
    events = engine.events()
    config = shell(engine, "one", "exit 3")
    await run(engine, config)
    seen = []
    async with asyncio.timeout(10):
        async for event in events:
            seen.append((event.kind, event.id))
            if event.kind == "exit":
                break
    assert ("start", config.id) in seen and ("exit", config.id) in seen


async def test_leftovers_in_the_cgroup_do_not_stop_a_start(engine: NativeEngine) -> None:
    config = config_of(engine, "one", "sleep", "1000")
    await run(engine, config)
    await engine.stop(config.id, 0)
    stray = await asyncio.create_subprocess_exec("sleep", "1000")
    for directory in cgroups.existing(f"/{engine.layout.cgroup_parent}/{config.id}"):
        Path(directory, "cgroup.procs").write_text(str(stray.pid))
    await engine.start(config.id)
    assert await stray.wait() == -9
    assert engine.state(config.id).phase == "running"  # type: ignore[union-attr]


async def test_a_life_that_begins_in_the_tick_of_the_last_ones_begin_is_another(engine: NativeEngine) -> None:
    """A start time has a resolution of 10 ms, and a start takes two."""
    config = config_of(engine, "one", "sleep", "1000")
    await engine.create(config)
    for _ in range(10):
        await engine.start(config.id)
        state = engine.state(config.id)
        assert state is not None and state.phase == "running"
        await engine.stop(config.id, 0)


async def test_an_out_of_memory_kill_in_a_container_that_lives_on_is_told(engine: NativeEngine) -> None:
    script = "until [ -e /go ]; do sleep 0.02; done; tail /dev/zero; echo survived; sleep 1000"
    config = shell(
        engine, "one", script, resources=Resources(memory_bytes=16 << 20, memory_swap_bytes=16 << 20)
    )
    await run(engine, config)
    events = engine.events()
    await engine.exec(config.id, ["touch", "/go"], timeout_seconds=20)
    async with asyncio.timeout(20):
        event = await anext(event async for event in events if event.kind == "oom")
    assert (event.id, event.detail) == (config.id, "a process killed for want of memory")
    await until(lambda: output(engine, config.id) == b"survived\n")
    state = engine.state(config.id)
    assert state is not None and state.phase == "running" and engine.stats(config.id).oom_kills == 1


async def test_an_out_of_memory_kill_is_told_of_a_limit_that_came_later(engine: NativeEngine) -> None:
    config = shell(engine, "one", "until [ -e /go ]; do sleep 0.02; done; tail /dev/zero; sleep 1000")
    await run(engine, config)
    await engine.update(config.id, Resources(memory_bytes=16 << 20, memory_swap_bytes=16 << 20))
    events = engine.events()
    await engine.exec(config.id, ["touch", "/go"], timeout_seconds=20)
    async with asyncio.timeout(20):
        assert (await anext(event async for event in events if event.kind == "oom")).detail


async def test_a_limited_container_sees_what_a_java_runtime_looks_for(engine: NativeEngine) -> None:
    """With cgroup v1 it looks at no limit unless memory, cpu, cpuacct and cpuset are all there."""
    limits = Resources(memory_bytes=64 << 20)
    if "memory" in cgroups.hierarchies().v1:
        names = "memory/memory.limit_in_bytes cpuset/cpuset.cpus cpu/cpu.cfs_quota_us cpuacct/cpuacct.usage"
    else:
        names = "memory.max cpu.max cpuset.cpus.effective"
    config = shell(engine, "one", f"cd /sys/fs/cgroup; cat {names}; sleep 1000", resources=limits)
    await run(engine, config)
    shown = await until(lambda: output(engine, config.id))
    assert len(shown.split(b"\n")) - 1 == len(names.split()) and shown.startswith(b"67108864\n")
    assert output(engine, config.id, "stderr") == b""


async def test_a_process_joins_a_container_that_was_limited_meanwhile(engine: NativeEngine) -> None:
    config = config_of(engine, "one", "sleep", "1000")
    await run(engine, config)
    await engine.update(config.id, Resources(memory_bytes=64 << 20))
    assert (await engine.exec(config.id, ["true"], timeout_seconds=20)).exit_code == 0
    assert await engine.find_drift() == ()
    await engine.update(config.id, Resources())
    assert (await engine.exec(config.id, ["true"], timeout_seconds=20)).exit_code == 0


async def test_it_has_room_for_descriptors_from_the_start(engine: NativeEngine) -> None:
    """Growing the table later stops a process with threads for tens of milliseconds."""
    del engine
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    assert int(lines["FDSize"]) >= 8192
