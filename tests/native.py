"""What tests with the real engine share: an engine on a fresh instance, configs, and waiting."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from runtime import syscalls
from runtime.cleanup import remove_instance
from runtime.engine import NativeEngine
from runtime.layout import Layout
from runtime.logs import LogQuery, LogRecord, read_logs
from runtime.model import ContainerConfig, ContainerState, SandboxConfig

# A condition that takes longer is a failure; nothing waits for it to pass. An emulated machine needs more.
PATIENCE_SECONDS = float(os.environ.get("SETPOINT_PATIENCE_SECONDS", "40"))


@contextlib.asynccontextmanager
async def native_engine(layout: Layout, archive: Path) -> AsyncIterator[NativeEngine]:
    """An open engine with the busybox image; the instance is gone at the end."""
    engine = NativeEngine(layout)
    await engine.open()
    try:
        engine.images.load(archive)
        yield engine
    finally:
        await engine.close()
        await asyncio.to_thread(remove_instance, layout, with_data=True)


@contextlib.asynccontextmanager
async def another_engine(layout: Layout) -> AsyncIterator[NativeEngine]:
    """The next agent on an instance that is there."""
    engine = NativeEngine(layout)
    await engine.open()
    try:
        yield engine
    finally:
        await engine.close()


def id_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def config_of(engine: NativeEngine, name: str, *command: str, **fields: Any) -> ContainerConfig:
    """A container in the host's network, unless told otherwise: no links to make."""
    image = engine.image("busybox:latest")
    assert image is not None
    fields.setdefault("sandbox", SandboxConfig("host"))
    return ContainerConfig(id=id_of(name), name=name, image=image.id, command=command, **fields)


def shell(engine: NativeEngine, name: str, script: str, **fields: Any) -> ContainerConfig:
    return config_of(engine, name, "sh", "-c", script, **fields)


async def run(engine: NativeEngine, config: ContainerConfig) -> None:
    await engine.create(config)
    await engine.start(config.id)


async def until(condition: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
    """What the condition gives, once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{condition} did not come true in {seconds} s"
        await asyncio.sleep(0.005)
    return found


async def ended(engine: NativeEngine, id: str, seconds: float = PATIENCE_SECONDS) -> ContainerState:
    """The state of a container once it has stopped."""

    def stopped() -> ContainerState | None:
        state = engine.state(id)
        return state if state is not None and state.phase == "stopped" else None

    found: ContainerState = await until(stopped, seconds)
    return found


def records(engine: NativeEngine, id: str, **query: Any) -> list[LogRecord]:
    return list(read_logs(engine.log_directory(id), LogQuery(**query)))


def output(engine: NativeEngine, id: str, stream: str = "stdout") -> bytes:
    """All that a stream wrote, as it was written."""
    found = records(engine, id, streams=frozenset((stream,)))
    return b"".join(record.text + (b"" if record.is_partial else b"\n") for record in found)


async def supervisor_pid(engine: NativeEngine) -> int:
    return int((await engine._client.call("ping"))["pid"])


def kernel_tells_exits() -> bool:
    """Whether a pidfd tells how a process of somebody else's ended (PIDFD_INFO_EXIT, Linux 6.15). Where it
    does not, the exit code of a container that was adopted is unknown."""
    with subprocess.Popen(["true"]) as process:
        pidfd = os.pidfd_open(process.pid)
    try:
        return syscalls.pidfd_getinfo(pidfd).exit_status is not None
    except OSError:
        return False
    finally:
        os.close(pidfd)
