"""Volumes with options (`volume_options`): mounted when a container comes to use one, unmounted when none
does.

    take(config, holder) ── not in the kernel's table ──> volume_mounter, a process, with a deadline
    let_go(holder)       ── nobody else has it ──────────> the same, which unmounts

A holder is a container that runs or is being made, or a copy out of one that does not run. Nothing is kept
on disk of it: the kernel's table says what is mounted, and `open` unmounts what nobody has, so that a crash
at any point leaves what the next look sets right. In the event loop's thread, but for `lost_of`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

from runtime import mount_table
from runtime.container_index import ContainerIndex
from runtime.errors import Invalid, SetpointError, Temporary
from runtime.model import ContainerConfig
from runtime.supervisor.interpreter import environment
from runtime.volume_options import VolumeSource, read_source
from runtime.volumes import Volumes

DEADLINE_SECONDS = 10.0  # of a caller: a disk whose journal is long may take more, and is waited for again
RETRY_SECONDS = 5.0
CLOSE_SECONDS = 2.0
_PROGRAM = str(Path(__file__).resolve().with_name("volume_mounter.py"))
_SILENT = [(os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDWR, 0) for number in (0, 2)]
_MOST_BYTES = 1 << 16  # a pipe holds as much
# What another value of an option would mend, and time would not.
_WRONG = frozenset((errno.EINVAL, errno.ENODEV, errno.ENOTBLK, errno.ENOTDIR, errno.ELOOP, errno.EXDEV))


class VolumeMounts:
    """Of one instance."""

    def __init__(self, volumes: Volumes, index: ContainerIndex) -> None:
        self._volumes = volumes
        self._index = index
        self._holders: dict[str, set[str]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._left_alone: set[str] = set()
        self._chores: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Containers that run have theirs; what nobody has is unmounted."""
        for entry in self._index:
            if entry.is_running:
                for name in self._optioned(entry.config):
                    self._holders.setdefault(name, set()).add(entry.config.id)
        mounted = set(mount_table.points())
        for volume in self._volumes.list():
            if volume.options and volume.path in mounted and not self._holders.get(volume.name):
                self._chore(volume.name)

    async def close(self) -> None:
        """What is under way is soon over; what hangs is left to the kernel."""
        tasks = {*self._chores, *self._under_way.values()}
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _optioned(self, config: ContainerConfig) -> list[str]:
        return [
            name
            for name in set(config.volumes)
            if (state := self._volumes.get(name)) is not None and state.options
        ]

    # --- having them

    async def take(self, config: ContainerConfig, holder: str) -> None:
        """Have all that a container mounts in place until `let_go`, which is due after an error, too. Invalid
        for options that the kernel refuses, Temporary for a disk or directory that is not there."""
        for name in self._optioned(config):
            self._holders.setdefault(name, set()).add(holder)
            async with self._lock(name):
                await self._mount(name)

    def let_go(self, holder: str) -> None:
        for name in [name for name, holders in self._holders.items() if holder in holders]:
            self._holders[name].discard(holder)
            if not self._holders[name]:
                del self._holders[name]
                self._chore(name)

    async def free(self, name: str) -> None:
        """No container has it, and it is about to be removed: be back when nothing is mounted there, for what
        is there is somebody's. Temporary."""
        state = self._volumes.get(name)
        if state is None or not state.options:
            return
        await self._unmount_unused(name)
        if state.path in mount_table.points():
            raise Temporary("delete volume", name, f"something is mounted on {state.path}", "umount it")
        self._locks.pop(name, None)

    # --- drift

    def lost_of(self, config: ContainerConfig) -> list[str]:
        """Volumes of a running container that somebody unmounted on the host. From any thread."""
        names = self._optioned(config)
        if not names:
            return []
        mounted = set(mount_table.points())
        return [name for name in names if os.fspath(self._volumes.path(name)) not in mounted]

    def users_of_lost(self) -> list[str]:
        """The ids of the running containers that have such a volume."""
        if not self._holders:
            return []
        return [e.config.id for e in self._index if e.is_running and self.lost_of(e.config)]

    async def put_back(self, config: ContainerConfig, pid: int) -> None:
        """Mount them again. Memory is that which the container has still: new one would be another."""
        for name in self.lost_of(config):
            self._holders.setdefault(name, set()).add(config.id)
            async with self._lock(name):
                target = next(m.target for m in config.mounts if m.kind == "volume" and m.source == name)
                is_memory = self._source(name).kind == "tmpfs"
                await self._mount(name, {"pid": pid, "target": target} if is_memory else None)

    # --- mounting

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())

    def _source(self, name: str) -> VolumeSource:
        state = self._volumes.get(name)
        source = read_source(state.options) if state is not None else None
        if source is None:
            raise Invalid("mount volume", name, "it has no options any more")
        return source

    async def _mount(self, name: str, other: dict[str, Any] | None = None) -> None:
        await self._settled(name)
        path = os.fspath(self._volumes.path(name))
        if path in mount_table.points():
            return
        source = self._source(name)
        os.makedirs(path, 0o755, exist_ok=True)  # noqa: PTH103 - somebody may have removed it
        order = other or {"mount": source.to_oci(self._volumes.below(name))}
        if answer := await self._run(name, {"op": "mount", "path": path, **order}):
            raise _refused(name, source, answer)

    async def _unmount_unused(self, name: str) -> None:
        async with self._lock(name):
            if self._holders.get(name) or self._volumes.get(name) is None:
                return
            await self._settled(name)
            path = os.fspath(self._volumes.path(name))
            if path in mount_table.points():
                await self._run(name, {"op": "unmount", "path": path})

    def _chore(self, name: str) -> None:
        async def unmount() -> None:
            with contextlib.suppress(SetpointError, OSError):  # `open` tries it again
                await self._unmount_unused(name)

        task = asyncio.get_running_loop().create_task(unmount())
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    async def _run(self, name: str, order: dict[str, Any]) -> dict[str, Any]:
        """What the program answers, {} when all went well. Temporary when it is not back by the deadline: it
        goes on, and nobody else is sent before it is back."""
        answer: dict[str, Any] = {}
        work = asyncio.get_running_loop().create_task(_program(order, answer))
        self._under_way[name] = work
        work.add_done_callback(lambda _: self._came_back(name))
        await self._settled(name)
        return answer

    async def _settled(self, name: str) -> None:
        """Be back when nothing is done to it; the caller has its lock."""
        if name not in self._under_way:
            return
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await asyncio.shield(self._under_way[name])
        except TimeoutError:
            self._left_alone.add(name)
            reason = f"its device did not answer in {DEADLINE_SECONDS:.0f} seconds"
            raise Temporary("mount volume", name, reason, "it is waited for", RETRY_SECONDS) from None

    def _came_back(self, name: str) -> None:
        del self._under_way[name]
        if name in self._left_alone:  # who wanted it may have gone meanwhile
            self._left_alone.discard(name)
            self._chore(name)


async def _program(order: dict[str, Any], answer: dict[str, Any]) -> None:
    """Who no longer waits for it leaves it to the kernel."""
    loop = asyncio.get_running_loop()
    reading, writing = os.pipe2(os.O_CLOEXEC)
    files = [*_SILENT, (os.POSIX_SPAWN_DUP2, writing, 1)]
    command = [sys.executable, "-I", "-S", _PROGRAM, json.dumps(order)]
    pidfd = -1
    try:
        child = os.posix_spawn(sys.executable, command, environment(), file_actions=files)  # noqa: ASYNC221
        os.close(writing)
        writing, pidfd = -1, os.pidfd_open(child)
        back: asyncio.Future[None] = loop.create_future()
        loop.add_reader(pidfd, _set, back)
        await back
        _, status = os.waitpid(child, os.WNOHANG)  # noqa: ASYNC222 (it has ended)
        if output := os.read(reading, _MOST_BYTES):
            answer.update(json.loads(output))
        elif status:
            reason = f"the process that does it ended with {os.waitstatus_to_exitcode(status)}"
            answer.update({"errno": 0, "reason": reason})
    finally:
        if pidfd >= 0:
            loop.remove_reader(pidfd)
        for descriptor in (reading, writing, pidfd):
            if descriptor >= 0:
                os.close(descriptor)


def _set(back: asyncio.Future[None]) -> None:
    if not back.done():
        back.set_result(None)


def _refused(name: str, source: VolumeSource, answer: dict[str, Any]) -> SetpointError:
    """Docker's words first, which people know."""
    what = source.device or source.file_system
    reason = f"failed to mount local volume: {what}: {answer['reason']}"
    if answer["errno"] in _WRONG:
        return Invalid("mount volume", name, reason, "see its driver_opts")
    hint = "make it" if answer["errno"] == errno.ENOENT and source.kind == "bind" else ""
    return Temporary("mount volume", name, reason, hint, RETRY_SECONDS)
