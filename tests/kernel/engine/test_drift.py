"""What somebody else changes of a running container: something tells of it, a look names it, and it is put
back while the container runs on. A case for each kind; what networks have is in kernel/network."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.drill import kernel
from runtime import cgroups, syscalls
from runtime.engine import NativeEngine
from runtime.model import (
    ContainerConfig,
    EndpointConfig,
    MountConfig,
    NetworkConfig,
    Resources,
    SandboxConfig,
)
from tests.native import config_of, run, until

HAS_DEVICE_LIST = "devices" in cgroups.hierarchies().v1


@dataclass
class Case:
    """A container that runs, and what was heard of it."""

    engine: NativeEngine
    config: ContainerConfig
    heard: set[str]

    @property
    def pid(self) -> int:
        state = self.engine.state(self.config.id)
        assert state is not None and state.pid is not None
        return state.pid

    @property
    def cgroup(self) -> str:
        return f"/{self.engine.layout.cgroup_parent}/{self.config.id}"

    @property
    def run(self) -> Path:
        return self.engine.layout.run_containers / self.config.id

    def file(self, controller: str, *names: str) -> Path:
        return kernel.cgroup_file(self.cgroup, controller, *names)

    def inside(self, work: Callable[[], object]) -> None:
        kernel.inside(self.pid, ("mnt",), work)


@pytest.fixture
async def case(engine: NativeEngine) -> AsyncIterator[Case]:
    engine.volumes.ensure("data")
    config = config_of(
        engine, "one", "sleep", "1000", resources=Resources(memory_bytes=64 << 20, pids=50),
        mounts=(MountConfig("volume", "/data", "data"),), sandbox=SandboxConfig("host"),
    )  # fmt: skip
    made = Case(engine, config, set())
    await run(engine, config)
    listening = asyncio.ensure_future(_listen(made))
    await until(lambda: _is_watched(engine, config.id))
    yield made
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def _listen(case: Case) -> None:
    async for event in case.engine.events():
        if event.kind == "drift" and event.id == case.config.id:
            case.heard.add(event.detail)


def _is_watched(engine: NativeEngine, id: str) -> bool:
    drifts = engine._drifts
    return id in drifts._tripwires._watches and id in drifts._mounts._descriptors


def freeze(case: Case) -> None:
    file = case.file("freezer", "cgroup.freeze", "freezer.state")
    file.write_text("1" if file.name == "cgroup.freeze" else "FROZEN")


def stop(case: Case) -> None:
    os.kill(case.pid, signal.SIGSTOP)


def limit_changed(case: Case) -> None:
    case.file("pids", "pids.max").write_text("7")


def limit_added(case: Case) -> None:
    """One that the container was not given."""
    case.file("cpu", "cpu.cfs_quota_us", "cpu.max").write_text("10000")


def device_allowed(case: Case) -> None:
    case.file("devices", "devices.allow").write_text("c 1:11 rw")


def device_taken(case: Case) -> None:
    case.file("devices", "devices.deny").write_text("c 1:9 rwm")


def moved(case: Case) -> None:
    Path(cgroups.hierarchies().unified, "cgroup.procs").write_text(str(case.pid))


def unmounted(case: Case) -> None:
    case.inside(lambda: syscalls.umount2("/data", syscalls.MNT_DETACH))


def volume_removed(case: Case) -> None:
    shutil.rmtree(case.engine.volumes.path("data"))


def resolv_unmounted(case: Case) -> None:
    case.inside(lambda: syscalls.umount2("/etc/resolv.conf", syscalls.MNT_DETACH))


def resolv_removed(case: Case) -> None:
    (case.run / "resolv.conf").unlink()


def resolv_emptied(case: Case) -> None:
    (case.run / "resolv.conf").write_text("")


def state_removed(case: Case) -> None:
    (case.run / "state.json").unlink()


def config_removed(case: Case) -> None:
    (case.run / "config.json").unlink()


def record_removed(case: Case) -> None:
    (case.engine.layout.containers / case.config.id / "container.json").unlink()


# kind, what tells of it ("": only the slow pass), how it is broken, and what the finding says.
CASES: dict[str, tuple[str, str, Callable[[Case], None], str]] = {
    "frozen": ("freezer", "files", freeze, "froze"),
    "stopped": ("process", "signal", stop, "SIGSTOP"),
    "limit-changed": ("cgroup", "files", limit_changed, "pids.max: expected 50, found 7"),
    "limit-added": ("cgroup", "files", limit_added, "found 10000"),
    "device-allowed": ("cgroup", "files", device_allowed, "c 1:11 rw is allowed, too"),
    "device-taken": ("cgroup", "files", device_taken, "c 1:9 rwm is missing"),
    "moved": ("cgroup", "files", moved, "was moved out of its cgroup"),
    "unmounted": ("mount", "mounts", unmounted, "/data is not mounted"),
    "volume-removed": ("mount", "files", volume_removed, "/data was removed on the host"),
    "resolv-unmounted": ("mount", "mounts", resolv_unmounted, "/etc/resolv.conf is not mounted"),
    "resolv-removed": ("mount", "files", resolv_removed, "/etc/resolv.conf was removed on the host"),
    "resolv-emptied": ("mount", "files", resolv_emptied, "gone, empty"),
    "state-removed": ("record", "files", state_removed, "state.json missing"),
    "config-removed": ("record", "files", config_removed, "config.json missing"),
    "record-removed": ("record", "", record_removed, "container.json missing"),
}


@pytest.mark.parametrize("name", CASES)
async def test_drift_is_told_named_and_put_back(case: Case, name: str) -> None:
    kind, told, break_it, said = CASES[name]
    if name.startswith("device") and not HAS_DEVICE_LIST:
        pytest.skip("cgroup v2: a program in the kernel, which nobody can change")
    pid, subjects = case.pid, {case.config.id}
    assert await case.engine.find_drift(subjects) == ()
    break_it(case)
    if told:
        await until(lambda: told in case.heard)
    await until(lambda: _is_settled(case, name))
    found = await case.engine.find_drift(subjects)
    assert [(each.kind, each.subject) for each in found if said in each.detail] == [(kind, case.config.id)]
    for each in found:
        await case.engine.repair(each)
    assert await case.engine.find_drift(subjects) == ()
    assert case.pid == pid
    assert kernel.state_of(pid) in "SR"
    assert _is_as_it_was(case)


def _is_settled(case: Case, name: str) -> bool:
    """A freezer takes a moment."""
    return name != "frozen" or cgroups.is_frozen(case.cgroup)


def _is_as_it_was(case: Case) -> bool:
    """Asked of the kernel and the disk, and not of who finds drift."""
    procs = case.file("pids", "cgroup.procs")
    return (
        kernel.is_mounted(case.pid, "/data")
        and kernel.is_mounted(case.pid, "/etc/resolv.conf")
        and case.file("pids", "pids.max").read_text() == "50\n"
        and case.file("cpu", "cpu.cfs_quota_us", "cpu.max").read_text().split()[0] in ("-1", "max")
        and str(case.pid) in procs.read_text().split()
        and Path(f"/proc/{case.pid}/root/etc/resolv.conf").stat().st_ino
        == (case.run / "resolv.conf").stat().st_ino
        and all((case.run / file).stat().st_size for file in ("state.json", "config.json", "resolv.conf"))
        and (case.engine.layout.containers / case.config.id / "container.json").stat().st_size > 0
        and _devices_are_as_given(case)
    )


def _devices_are_as_given(case: Case) -> bool:
    if not HAS_DEVICE_LIST:
        return True
    shown = case.file("devices", "devices.list").read_text().splitlines()
    return "c 1:9 rwm" in shown and not any(line.startswith("c 1:11 ") for line in shown)


async def test_a_paused_container_is_to_be_frozen(case: Case) -> None:
    await case.engine.pause(case.config.id)
    assert await case.engine.find_drift({case.config.id}) == ()
    cgroups.thaw(case.cgroup, 5.0)
    (found,) = await case.engine.find_drift({case.config.id})
    assert (found.kind, found.detail) == ("freezer", "somebody let it go on while it is paused")
    await case.engine.repair(found)
    assert cgroups.is_frozen(case.cgroup)


async def test_who_was_stopped_by_its_owner_stays_so(case: Case) -> None:
    await case.engine.signal(case.config.id, "STOP")
    await until(lambda: kernel.state_of(case.pid) == "T")
    assert await case.engine.find_drift({case.config.id}) == ()
    await case.engine.signal(case.config.id, "CONT")


async def test_what_a_container_does_inside_itself_is_its_own(case: Case) -> None:
    def mounts_more() -> None:
        os.makedirs("/mnt", exist_ok=True)
        syscalls.mount("tmpfs", "/mnt", "tmpfs")

    case.inside(mounts_more)
    await until(lambda: "mounts" in case.heard)
    assert await case.engine.find_drift({case.config.id}) == ()


async def test_hosts_files_that_we_write_for_others_are_no_hint_and_one_that_somebody_writes_is(
    engine: NativeEngine,
) -> None:
    heard: list[str] = []

    async def listen() -> None:
        async for event in engine.events():
            if event.kind == "drift" and event.detail == "files":
                heard.append(event.id)

    listening = asyncio.ensure_future(listen())
    await engine.create_network(NetworkConfig("front"))
    for name in ("one", "two"):
        sandbox = SandboxConfig("own", f"s-{name}", (EndpointConfig("front", (name,)),))
        await run(engine, config_of(engine, name, "sleep", "1000", sandbox=sandbox))
    hosts = Path(engine.networks.hosts_path("s-one"))
    await until(lambda: "two" in hosts.read_text())
    hosts.write_text("6.6.6.6 two\n")
    await until(lambda: bool(heard))
    assert heard == ["s-one"]
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
