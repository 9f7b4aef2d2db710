"""AppArmor on a host that has it on: what the engine's own profile keeps a container from, each beside the
same container without a profile, which shows that nothing else kept it from it."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime import apparmor, cleanup
from runtime.engine import NativeEngine
from runtime.errors import SetpointError, Temporary
from runtime.layout import Layout
from runtime.model import Drift, MountConfig, SandboxConfig, Security
from tests.native import another_engine, config_of, ended, output, run, shell

pytestmark = pytest.mark.skipif(not apparmor.is_on(), reason="this kernel has no AppArmor on")

LABEL = "cat /proc/self/attr/apparmor/current"
# All but the profile is out of the way: what is denied is denied by AppArmor.
BARE = Security(cap_add=("SYS_ADMIN", "SYS_RAWIO", "SYS_PTRACE"), seccomp="unconfined", masked_paths=False)
ALG = """
import socket
try:
    socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)
except OSError as error:
    print(error.strerror)
"""


def system_python() -> tuple[MountConfig, ...]:
    """The host's Python inside, for calls that no program of busybox makes."""
    places = [name for name in ("/usr", "/lib", "/lib64") if Path(name).exists()]
    return tuple(MountConfig("bind", place, place, read_only=True) for place in places)


async def outcome(engine: NativeEngine, name: str, script: str, security: Security, **fields: Any) -> str:
    """What a script printed on both streams, and its exit code as the last word."""
    config = shell(engine, name, script, security=security, **fields)
    await run(engine, config)
    state = await ended(engine, config.id)
    said = output(engine, config.id) + output(engine, config.id, "stderr")
    await engine.delete(config.id)
    return f"{said.decode(errors='replace').strip()} {state.exit_code}"


@pytest.fixture
def sleeper() -> Iterator[int]:
    """A process of the host, outside of every container."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process.pid
        process.kill()


async def test_a_container_and_an_exec_run_under_the_instances_profile(engine: NativeEngine) -> None:
    name = engine.layout.apparmor_profile
    config = shell(engine, "web", f"{LABEL}; exec sleep 600")
    await run(engine, config)
    done = await engine.exec(config.id, ["sh", "-c", LABEL], timeout_seconds=60)
    assert done.output.decode() == f"{name} (enforce)\n"
    state = engine.state(config.id)
    assert state is not None and state.pid is not None
    assert Path(f"/proc/{state.pid}/attr/apparmor/current").read_text() == f"{name} (enforce)\n"
    await engine.stop(config.id, 0)
    assert output(engine, config.id).decode() == f"{name} (enforce)\n"


async def test_privileged_and_unconfined_run_without(engine: NativeEngine) -> None:
    for name, security in (("p", Security(privileged=True)), ("u", Security(apparmor="unconfined"))):
        assert await outcome(engine, name, LABEL, security) == "unconfined 0"
    privileged = Security(privileged=True, apparmor=engine.layout.apparmor_profile)
    assert engine.layout.apparmor_profile in await outcome(engine, "n", LABEL, privileged)


@pytest.mark.parametrize(
    "script",
    [
        "echo h >/proc/sysrq-trigger",
        "mkdir /there && mount -t tmpfs none /there",
        "mount -o remount,rw /sys",
        "head -c 1 /proc/kcore | wc -c | grep -qx 1",
        "v=$(cat /proc/sys/kernel/sysrq); echo $v >/proc/sys/kernel/sysrq",
        "v=$(cat /proc/sys/kernel/core_pattern); echo \"$v\" >/proc/sys/kernel/core_pattern",
        "v=$(cat /proc/sys/vm/swappiness); echo $v >/proc/sys/vm/swappiness",
    ],
)  # fmt: skip
async def test_a14_what_the_profile_denies_is_allowed_without_it(engine: NativeEngine, script: str) -> None:
    denied = await outcome(engine, "in", script, BARE)
    assert denied.endswith((" 1", " 255")), denied
    allowed = await outcome(engine, "out", script, dataclasses.replace(BARE, apparmor="unconfined"))
    assert allowed.endswith(" 0"), allowed


async def test_e1_the_profile_denies_the_kernels_crypto_sockets(engine: NativeEngine) -> None:
    script = f"{os.path.realpath(sys.executable)} -c '{ALG}'"
    denied = await outcome(engine, "in", script, BARE, mounts=system_python())
    assert denied == "Permission denied 0"
    free = dataclasses.replace(BARE, apparmor="unconfined")
    allowed = await outcome(engine, "out", script, free, mounts=system_python())
    assert "Permission" not in allowed  # this kernel may have no such family: another reason
    assert allowed.endswith(" 0")


async def test_what_belongs_to_the_container_stays_writable(engine: NativeEngine) -> None:
    script = "echo 4096 >/proc/sys/kernel/shmmni && echo 5 >/proc/self/oom_score_adj && cat /proc/1/environ"
    assert (await outcome(engine, "own", script, BARE)).endswith(" 0")


async def test_processes_of_others_are_neither_signalled_nor_read(engine: NativeEngine, sleeper: int) -> None:
    script = f"kill -0 {sleeper}; echo $?; tr '\\0' ' ' </proc/{sleeper}/environ; echo $?"
    denied = await outcome(engine, "in", script, BARE, pid_mode="host")
    assert denied.splitlines()[:2] == ["1", "1"], denied
    free = dataclasses.replace(BARE, apparmor="unconfined")
    allowed = await outcome(engine, "out", script, free, pid_mode="host")
    assert allowed.splitlines()[0] == "0", allowed
    assert allowed.splitlines()[-1].endswith("0 0"), allowed


async def test_another_instances_container_is_not_signalled(engine: NativeEngine, instance: Layout) -> None:
    """Two profiles of the same rules; inside one, processes may signal one another."""
    other = f"{instance.instance}-other"
    target = config_of(engine, "target", "sleep", "600")
    await run(engine, target)
    state = engine.state(target.id)
    assert state is not None
    script = f"kill -0 {state.pid}"
    program = apparmor.parser()
    assert program is not None
    try:
        apparmor.load(other, program)
        foreign = dataclasses.replace(BARE, apparmor=other)
        assert (await outcome(engine, "foreign", script, foreign, pid_mode="host")).endswith(" 1")
        assert (await outcome(engine, "same", script, BARE, pid_mode="host")).endswith(" 0")
    finally:
        apparmor.unload(other)
        await engine.stop(target.id, 0)


async def test_the_engine_stops_what_it_confines(engine: NativeEngine) -> None:
    config = shell(engine, "web", "trap 'echo told; exit 7' TERM; echo up; while :; do sleep 0.1; done")
    await run(engine, config)
    while b"up" not in output(engine, config.id):
        await asyncio.sleep(0.02)
    await engine.stop(config.id, 60)
    assert output(engine, config.id) == b"up\ntold\n"


async def test_a14_a_profile_that_was_taken_away_is_loaded_before_the_next_start(
    engine: NativeEngine,
) -> None:
    name = engine.layout.apparmor_profile
    assert await outcome(engine, "first", LABEL, Security()) == f"{name} (enforce) 0"
    apparmor.unload(name)
    assert await engine.find_drift() == (
        Drift("apparmor", "", f"AppArmor profile {name} is not loaded any more"),
    )
    assert await outcome(engine, "second", LABEL, Security()) == f"{name} (enforce) 0"
    apparmor.unload(name)
    (drift,) = await engine.find_drift()
    await engine.repair(drift)
    assert await engine.find_drift() == ()
    assert apparmor.find(name) is not None


async def test_a14_a_profile_that_cannot_be_loaded_starts_nothing(
    engine: NativeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await outcome(engine, "first", "true", Security())
    apparmor.unload(engine.layout.apparmor_profile)
    broken = tmp_path / "apparmor_parser"
    broken.write_text("#!/bin/sh\necho 'syntax error' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(apparmor, "PARSERS", (broken,))
    config = shell(engine, "web", "sleep 600")
    await engine.create(config)
    with pytest.raises(Temporary, match="syntax error"):
        await engine.start(config.id)
    state = engine.state(config.id)
    assert state is not None and state.phase == "created"
    assert await outcome(engine, "asked", LABEL, Security(apparmor="unconfined")) == "unconfined 0"


async def test_a14_a_named_profile_that_is_not_there_starts_nothing(engine: NativeEngine) -> None:
    config = shell(engine, "web", "sleep 600", security=Security(apparmor="setpoint-none-such"))
    await engine.create(config)
    with pytest.raises(SetpointError, match="this host has no such profile"):
        await engine.start(config.id)
    state = engine.state(config.id)
    assert state is not None and state.pid is None


async def test_the_next_agent_finds_it_loaded_and_down_takes_it_away(
    engine: NativeEngine, instance: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = instance.apparmor_profile
    await outcome(engine, "first", "true", Security())
    found = apparmor.find(name)
    await engine.close()
    async with another_engine(instance) as second:
        config = config_of(second, "web", "sleep", "600", sandbox=SandboxConfig("host"))
        await run(second, config)
        assert apparmor.find(name) == found is not None
        await second.stop(config.id, 0)
    await asyncio.to_thread(cleanup.remove_instance, instance)
    assert apparmor.find(name) is None
