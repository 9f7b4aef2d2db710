"""What the engine knows from the supervisor: who runs, how each ended, and that it is there at all.

Called by `engine` at open, and by the supervisor's events from then on; keeps the index true and tells
the engine's listeners. Starts and stops nothing, but ends what is nobody's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from typing import Any

from runtime import cgroups
from runtime.container_index import ContainerIndex
from runtime.containers import Entry
from runtime.copies.running import open_running
from runtime.errors import SetpointError, Temporary
from runtime.event_stream import EventStream
from runtime.layout import Layout
from runtime.oom_watch import OomWatch
from runtime.supervisor.client import Client

OPEN_TRIES = 3  # each has the time that a supervisor may take to start


class Supervised:
    """The engine's view of the supervisor. `client` is opened and closed by the engine."""

    def __init__(self, layout: Layout, index: ContainerIndex, events: EventStream) -> None:
        self.client = Client(layout, self._on_event)
        self.is_up = False
        self._parent = layout.cgroup_parent
        self._index = index
        self._events = events
        self._oom = OomWatch(self._on_oom)
        self.on_running: Callable[[str, bool], None] = lambda _id, _is_running: None
        self._resync: asyncio.Task[None] | None = None
        self._chores: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Connect, and take over what runs. Temporary when the supervisor does not come up."""
        self._oom.open()
        for left in reversed(range(OPEN_TRIES)):
            try:
                await self.client.open_again()
                self.is_up = True
                await self.look()
                return
            except Temporary:  # it may be killed as we come, and then another is started
                if not left:
                    raise

    async def close(self) -> None:
        """Tasks first: they use the connection."""
        tasks = [*self._chores, *([self._resync] if self._resync else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._oom.close()
        await self.client.close()

    def started(self, entry: Entry, record: dict[str, Any]) -> None:
        """The supervisor's record of a process that it started, or had."""
        entry.started(record)
        self.watch_memory(entry)
        if entry.is_running:
            self.on_running(entry.config.id, True)
        else:  # its end came with the answer
            self.client.roots.let_go(entry.config.id)

    def watch_memory(self, entry: Entry) -> None:
        """Have its out-of-memory kills told, if it can have any of its own."""
        if entry.is_running and entry.config.resources.memory_bytes is not None:
            self._oom.add(entry.config.id, self._cgroup(entry.config.id))

    async def look(self) -> None:
        """What runs and what does not, now. Ends that nobody told of are told."""
        # Of before the question: what is started while we look is not in the answer, and has not ended.
        ran = {entry.config.id: entry.process for entry in self._index if entry.is_running}
        listed = {record["name"]: record for record in (await self.client.call("list"))["containers"]}
        for id, record in listed.items():
            entry = self._index.find(id)
            if entry is None:
                await self._end_stray(id)
                continue
            self.started(entry, record)
            entry.is_paused = cgroups.is_frozen(self._cgroup(id))
            with contextlib.suppress(SetpointError):
                await self.client.hold(id)
        self._chore(self._open_roots())
        for entry in self._index:
            id = entry.config.id
            if id in listed:
                continue
            if entry.is_running:
                if ran.get(id) == entry.process:
                    self._on_exit(id, self._index.exit_record(id) or {"finished_at": time.time()})
            elif entry.finished_at is None and (record := self._index.exit_record(id)):
                # It ended after the index was read, and before we were told of ends.
                self._on_exit(id, record)

    async def _open_roots(self) -> None:
        """Of containers that an agent before this one started: their ends are not to wait either."""
        for entry in [each for each in self._index if each.is_running]:
            id, process = entry.config.id, entry.process
            if id in self.client.roots:
                continue
            try:
                running = await asyncio.to_thread(open_running, process)
            except OSError:  # it has just ended
                continue
            os.close(running.process)
            if entry.is_running and entry.process == process and id not in self.client.roots:
                self.client.roots.keep(id, running.root)
            else:
                await asyncio.to_thread(os.close, running.root)

    async def _end_stray(self, id: str) -> None:
        """A container whose bundle is gone: nobody can want it."""
        with contextlib.suppress(SetpointError):
            await asyncio.to_thread(cgroups.kill, self._cgroup(id))

    def _cgroup(self, id: str) -> str:
        return f"/{self._parent}/{id}"

    def _on_event(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "exit":
            self._on_exit(event["name"], event)
        elif kind == "stopped":
            self._events.publish("drift", event["name"], "signal")
        elif kind == "listening":
            self._events.publish(
                "repaired", "", "the supervisor's socket was removed: it listens on a new one"
            )
        elif kind == "lost":
            self.is_up = False
        elif kind == "supervisor":
            self.is_up = True
            self._resync = asyncio.get_running_loop().create_task(self._after_restart())

    async def _after_restart(self) -> None:
        with contextlib.suppress(SetpointError):
            await self.look()
        self._events.publish("supervisor", "", "it was started again")

    def _on_exit(self, id: str, record: dict[str, Any]) -> None:
        entry = self._index.find(id)
        if entry is None:
            return
        entry.ended(record)
        if not entry.is_running:
            self.client.roots.let_go(id)
            self._oom.discard(id)
            self.on_running(id, False)
        if entry.config.pid_mode:  # what it left in another's pid namespace does not end with it
            self._chore(asyncio.to_thread(cgroups.kill, self._cgroup(id)))
        if entry.oom_killed:
            self._events.publish("oom", id)
        self._events.publish("exit", id, "unknown" if entry.exit_code is None else str(entry.exit_code))

    def _on_oom(self, id: str, kills: int) -> None:
        """The container lives on: its own end is told by _on_exit."""
        count = "a process" if kills == 1 else f"{kills} processes"
        self._events.publish("oom", id, f"{count} killed for want of memory")

    def _chore(self, work: Any) -> None:
        """Something that nobody waits for."""
        task = asyncio.ensure_future(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)
