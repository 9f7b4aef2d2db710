"""RUN steps of builds as containers of the engine: made, watched, and gone with their step.

    a step ─> create ─ attach ─ start ─> its output, line by line ─> exit code, and the upper directory
    forget ─> delete, with the sandbox

Called by `builds`, in the event loop. Such a container bears a label of its own and no object's key: nobody
takes it for what a manifest wants, and what an agent that was killed has left of it is found by that label.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtime.errors import Invalid, NotFound, SetpointError
from runtime.images.snapshots import UPPER
from runtime.model import (
    ContainerConfig,
    ContainerState,
    EndpointConfig,
    MountConfig,
    NetworkConfig,
    Resources,
    SandboxConfig,
    Ulimit,
)

if TYPE_CHECKING:
    from runtime.engine import NativeEngine

LABEL = "setpoint.build"
NETWORK = "setpoint-build"  # steps have it while there are any; they do not reach each other on it
HOSTNAME = "build"
MAX_LINE_BYTES = 64 * 1024
SHM_BYTES = 64 << 20
_LOG_BYTES = 1 << 20  # of the container's own log: the build keeps another
OnLine = Callable[[str, bytes], None]
"""(stdout or stderr, a line without its end)"""


@dataclass(frozen=True, slots=True)
class StepLimits:
    """Of each step; None is no limit. And what else steps are given by who ordered the build."""

    memory_bytes: int | None = None
    cpu_quota_us: int | None = None  # of the period
    cpu_period_us: int = 100_000
    cpu_shares: int | None = None
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    memory_swap_bytes: int | None = None  # memory and swap together; -1 is unlimited swap
    shm_bytes: int | None = None
    ulimits: tuple[Ulimit, ...] = ()
    extra_hosts: tuple[tuple[str, str], ...] = ()  # (name, address)
    pids: int | None = None  # as every container's

    def resources(self) -> Resources:
        return Resources(
            cpu_quota_us=self.cpu_quota_us,
            cpu_period_us=self.cpu_period_us,
            cpu_shares=self.cpu_shares,
            cpuset_cpus=self.cpuset_cpus,
            cpuset_mems=self.cpuset_mems,
            memory_bytes=self.memory_bytes,
            memory_swap_bytes=self.memory_swap_bytes,
            pids=Resources().pids if self.pids is None else self.pids,
        )


class BuildSteps:
    """The steps of one engine's builds."""

    def __init__(self, engine: NativeEngine) -> None:
        self._engine = engine
        self._networked = 0
        self._network_lock = asyncio.Lock()

    async def run(
        self, build: str, step: Mapping[str, Any], limits: StepLimits, on_line: OnLine
    ) -> dict[str, Any]:
        """{"exit_code", "oom_killed", "upper"}. The container stays until `forget`."""
        config = config_of(build, step, limits)
        if config.sandbox.endpoints:
            await self._make_network()
        await self._engine.create(config)
        stream = await self._engine.attach(config.id, framed=True)
        reading = asyncio.ensure_future(_read_output(stream, on_line))
        try:
            events = self._engine.events()
            await self._engine.start(config.id)
            state = await self._ended(config.id, events)
            await reading
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await reading
        upper = f"{self._engine.layout.containers}/{config.id}/{UPPER}"
        code = 255 if state.exit_code is None else state.exit_code
        return {"exit_code": code, "oom_killed": state.oom_killed, "upper": upper}

    async def forget(self, build: str, number: int) -> None:
        """End a step's container, if it runs, and remove all of it."""
        await self._remove(id_of(build, number))

    async def clear(self, build: str = "") -> None:
        """All steps of a build, of every build when it is ""."""
        for state in self._engine.list():
            if state.labels.get(LABEL) and build in ("", state.labels[LABEL]):
                await self._remove(state.id)
        if not build:
            await self._drop_network(is_sure=True)

    async def _ended(self, id: str, events: Any) -> ContainerState:
        while True:
            state = self._engine.state(id)
            if state is None:
                raise NotFound("run", id[:12], "its container was removed")
            if state.phase == "stopped":
                await events.aclose()
                return state
            await anext(events)

    async def _remove(self, id: str) -> None:
        state = self._engine.state(id)
        if state is None:
            return
        if state.phase in ("running", "paused"):
            with contextlib.suppress(NotFound):
                await self._engine.stop(id, 0.0)
        await self._engine.delete(id)
        if state.sandbox:
            await self._engine.delete_sandbox(state.sandbox)

    # --- the network of steps that name none

    async def _make_network(self) -> None:
        async with self._network_lock:
            if all(network.name != NETWORK for network in self._engine.list_networks()):
                labels = {LABEL: "network"}
                await self._engine.create_network(NetworkConfig(NETWORK, isolated=True, labels=labels))

    async def _drop_network(self, *, is_sure: bool = False) -> None:
        async with self._network_lock:
            with contextlib.suppress(SetpointError):  # another build's step is on it
                await self._engine.delete_network(NETWORK)

    async def end_network(self) -> None:
        """No build is under way."""
        await self._drop_network()


def id_of(build: str, number: int) -> str:
    return hashlib.sha256(f"build\0{build}\0{number}".encode()).hexdigest()


def config_of(build: str, step: Mapping[str, Any], limits: StepLimits) -> ContainerConfig:
    """The container of a step. Pure."""
    id = id_of(build, int(step["step"]))
    return ContainerConfig(
        id=id,
        name=f"build-{build[:12]}-{step['step']}",
        image="",
        lower=tuple(step["lower"]),
        lower_root=tuple(step["root"]),
        sandbox=_sandbox(id, str(step["network"])),
        hostname=HOSTNAME,
        entrypoint=tuple(step["argv"]),
        command=(),
        environment={"HOSTNAME": HOSTNAME, **step["environment"]},
        secret_environment=dict(step["secrets"]),
        working_dir=str(step["working_dir"]) or "/",
        user=str(step["user"]),
        labels={LABEL: build},
        mounts=tuple(map(_mount, step["mounts"])),
        resources=limits.resources(),
        shm_bytes=SHM_BYTES if limits.shm_bytes is None else limits.shm_bytes,
        ulimits=limits.ulimits,
        extra_hosts=limits.extra_hosts,
        log_max_bytes=_LOG_BYTES,
        log_max_files=1,
        stop_signal="SIGKILL",
    )


def _sandbox(id: str, network: str) -> SandboxConfig:
    if network == "host":
        return SandboxConfig("host")
    if network not in ("default", "none"):
        raise Invalid("run", network, "not a network of a build", "default, none or host")
    endpoints = (EndpointConfig(NETWORK),) if network == "default" else ()
    return SandboxConfig("own", id[:24], endpoints)


def _mount(found: Mapping[str, Any]) -> MountConfig:
    return MountConfig(
        kind=found["kind"],
        target=found["target"],
        source=found.get("source", ""),
        read_only=bool(found.get("read_only")),
        below=found.get("below", ""),
        size_bytes=found.get("size_bytes"),
        mode=found.get("mode"),
        options=tuple(found.get("options", ())),
    )


# --- output -----------------------------------------------------------------------------------


async def _read_output(descriptor: int, on_line: OnLine) -> None:
    """Frames of the Docker Engine API (8 bytes: stream, 0, 0, 0, length), to lines."""
    connection = socket.socket(fileno=descriptor)
    connection.setblocking(False)
    reader, writer = await asyncio.open_unix_connection(sock=connection)
    rest = {1: b"", 2: b""}
    try:
        while True:
            header = await reader.readexactly(8)
            data = await reader.readexactly(int.from_bytes(header[4:], "big"))
            stream = header[0] if header[0] in rest else 1
            *lines, tail = (rest[stream] + data).split(b"\n")
            for line in lines:
                on_line("stderr" if stream == 2 else "stdout", line)
            while len(tail) > MAX_LINE_BYTES:
                on_line("stderr" if stream == 2 else "stdout", tail[:MAX_LINE_BYTES])
                tail = tail[MAX_LINE_BYTES:]
            rest[stream] = tail
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        for stream, tail in rest.items():
            if tail:
                on_line("stderr" if stream == 2 else "stdout", tail)
        writer.close()
