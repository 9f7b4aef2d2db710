"""The engine's index of its containers: what the bundles say, and what runs. Memory only.

    created ──start──> running <──pause/resume──> paused
                          └──exit──> stopped ──start──> running

Filled by the engine at `open`, kept by its own calls and by the supervisor's events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from runtime import steady
from runtime.model import ContainerConfig, ContainerState, Phase, PortConfig, Resources, SandboxState
from runtime.supervisor import records

COPY_END_SECONDS = 5.0  # after SIGKILL; then it waits in the kernel


class Killable(Protocol):
    def kill(self) -> None: ...


class Entry:
    """One container. Times are Unix seconds."""

    __slots__ = (
        "began_at", "config", "copies", "created_at", "ended_at", "ending", "exit_code", "finished_at",
        "has_started", "io_bytes", "is_held", "is_paused", "is_running", "lock", "oom_killed", "pid",
        "process", "ran_seconds", "said", "started_at", "waiters",
    )  # fmt: skip

    def __init__(self, config: ContainerConfig, created_at: float) -> None:
        self.config = config
        self.created_at = created_at
        self.lock = asyncio.Lock()
        self.is_running = False
        self.is_paused = False
        self.is_held = False  # somebody had us send it SIGSTOP
        self.copies: dict[Killable, asyncio.Future[None]] = {}  # done when it is gone
        self.has_started = False
        self.pid: int | None = None
        self.process = (0, 0)  # of the latest life: pid and start time, which has ticks of 10 ms
        self.started_at: float | None = None
        self.finished_at: float | None = None
        self.began_at: float | None = None
        self.ended_at: float | None = None
        self.ran_seconds: float | None = None
        self.exit_code: int | None = None
        self.oom_killed = False
        self.io_bytes = (0, 0)  # read and written, as stats saw them last
        self.said: tuple[object, ContainerState] | None = None  # the last state, and what it was made of
        self.waiters: list[asyncio.Future[None]] = []
        self.ending: asyncio.Timeout | None = None  # of a stop that is under way: its time for the process

    @property
    def phase(self) -> Phase:
        if self.is_running:
            return "paused" if self.is_paused else "running"
        return "stopped" if self.has_started else "created"

    def started(self, record: Mapping[str, Any]) -> None:
        """The supervisor's record of a running process. One whose end is known already changes nothing:
        the answer to a start and the exit may come in one read."""
        process = (record["pid"], record["start_time"])
        if self.has_started and self.process == process and not self.is_running:
            return
        if self.process != process:
            self.io_bytes = (0, 0)
        self.is_held = self.is_held and self.process == process
        self.is_running = self.has_started = True
        self.pid, self.process = record["pid"], process
        self.started_at = record["started_at"]
        self.began_at = steady.at(record["start_time"] / steady.TICKS_PER_SECOND)
        self.finished_at = self.ended_at = self.ran_seconds = self.exit_code = None
        self.oom_killed = False

    def ended(self, record: Mapping[str, Any]) -> None:
        """The supervisor's exit record. One of an earlier life is passed over."""
        process = (record.get("pid", self.process[0]), record.get("start_time", self.process[1]))
        if self.is_running and self.process != process:
            return
        self.has_started = True
        self.is_running = self.is_paused = False
        self.pid = None
        self.process = process
        self.started_at = record.get("started_at", self.started_at)
        self.finished_at = record.get("finished_at")
        self.ran_seconds = record.get("ran_seconds")
        ended = record.get("finished_boot_seconds")
        is_of_this_boot = ended is not None and record.get("boot_id") == records.boot_id()
        self.ended_at = steady.at(ended) if ended is not None and is_of_this_boot else None
        self.began_at = steady.at(process[1] / steady.TICKS_PER_SECOND) if is_of_this_boot else None
        self.exit_code = record.get("exit_code")
        self.oom_killed = bool(record.get("oom_killed"))
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait_ended(self, timeout_seconds: float) -> bool:
        """Whether it ends within that time."""
        try:
            async with asyncio.timeout(max(timeout_seconds, 0)):
                await self._ended()
        except TimeoutError:
            return not self.is_running
        return True

    async def wait_stopped(self, grace_seconds: float) -> bool:
        """Whether it ends within the time of a stop, which `hasten` may make shorter."""
        try:
            async with asyncio.timeout(grace_seconds) as self.ending:
                await self._ended()
        except TimeoutError:
            return not self.is_running
        finally:
            self.ending = None
        return True

    async def _ended(self) -> None:
        if self.is_running:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.waiters.append(waiter)
            await waiter

    def hasten(self, grace_seconds: float) -> bool:
        """Whether a stop is under way that would have taken longer than that, and now does not."""
        if self.ending is None or self.ending.expired():
            return False
        at, until = asyncio.get_running_loop().time() + grace_seconds, self.ending.when()
        if until is None or until <= at:
            return False
        self.ending.reschedule(at)
        return True

    async def end_copies(self, grace_seconds: float) -> None:
        """Of its files: they have its root mounted, which must not be twice. With the lock held, so that no
        other begins. Who is slow has that long to finish."""
        if not self.copies:
            return
        await asyncio.wait(self.copies.values(), timeout=grace_seconds)
        for worker in self.copies:
            worker.kill()
        if self.copies:
            await asyncio.wait(self.copies.values(), timeout=COPY_END_SECONDS)

    def state(self, sandbox: SandboxState | None, ports: tuple[PortConfig, ...]) -> ContainerState:
        """The same object while nothing has changed: all containers are looked at by every list, and to make
        one takes longer than to see that it need not be made."""
        made_of = (
            self.config, sandbox, ports, self.is_running, self.is_paused, self.has_started, self.pid,
            self.created_at, self.started_at, self.finished_at, self.began_at, self.ended_at,
            self.ran_seconds, self.exit_code, self.oom_killed,
        )  # fmt: skip
        if self.said is None or self.said[0] != made_of:
            self.said = (made_of, self._state(sandbox, ports))
        return self.said[1]

    def _state(self, sandbox: SandboxState | None, ports: tuple[PortConfig, ...]) -> ContainerState:
        config = self.config
        where = sandbox if self.is_running else None
        return ContainerState(
            id=config.id,
            name=config.name,
            labels=config.labels,
            phase=self.phase,
            sandbox=config.sandbox.id,
            image=config.image,
            pid=self.pid,
            created_at=self.created_at,
            started_at=self.started_at,
            finished_at=self.finished_at,
            began_at=self.began_at,
            ended_at=self.ended_at,
            ran_seconds=self.ran_seconds,
            exit_code=self.exit_code,
            oom_killed=self.oom_killed,
            addresses=where.addresses if where else {},
            addresses6=where.addresses6 if where else {},
            resources=config.resources,
            ports=ports or config.sandbox.ports,
            endpoints=config.sandbox.endpoints,
            volumes=config.volumes,
        )


def with_resources(config: ContainerConfig, resources: Resources) -> ContainerConfig:
    """The config with other limits."""
    import dataclasses

    return dataclasses.replace(config, resources=resources)
