"""`docker cp`: files out of a container and into it, through its own mounts, whether it runs or not.

    runs      a descriptor of its root (`copies.running`) ─┐
    does not  what its root is made of, for the worker to  ├─> a worker for each copy (`copies.worker`)
              mount for itself alone (`copies.composed`)  ─┘

Called by the agent through the engine. Where a start comes, copies have to have ended: an overlay that is
mounted twice is undefined. Nothing here looks at a container's files but `stat`, and `get` of a small file of
one that runs, each in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar

from runtime import pipes, user_namespaces
from runtime.assembly import Assembly
from runtime.container_index import ContainerIndex
from runtime.containers import COPY_END_SECONDS, Entry
from runtime.copies.inlet import Incoming, written
from runtime.copies.lines import Given, Lines
from runtime.copies.nursery import Nursery, Worker
from runtime.copies.places import PathStat, stat_of
from runtime.copies.running import Running, open_running
from runtime.errors import NotFound, Temporary
from runtime.roots import Roots
from runtime.volume_mounts import VolumeMounts

_Seen = TypeVar("_Seen")
AT_ONCE = 8  # copies under way; more of them wait
STAT_SECONDS = 10.0


class ContainerCopies:
    def __init__(
        self,
        index: ContainerIndex,
        assembly: Assembly,
        volume_mounts: VolumeMounts,
        nursery: Nursery,
        roots: Roots,
    ) -> None:
        self._index = index
        self._roots = roots
        self._assembly = assembly
        self._volume_mounts = volume_mounts
        self._numbers = itertools.count()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._nursery = nursery

    async def stat(self, id: str, path: str) -> PathStat:
        """`NotFound` with op "find file" for a path that leads nowhere."""
        entry = self._index.get("copy", id)
        running = _open(entry)
        if running is not None:
            self._nursery.prepare()
            return await _in_thread(entry.config.name, lambda: _stat_and_close(running, path))
        async with self._begun(entry, {"verb": "stat", "path": path}, {}) as copy:
            return PathStat(**(await copy.line())["stat"])

    @contextlib.asynccontextmanager
    async def get(self, id: str, path: str) -> AsyncIterator[tuple[PathStat, Given]]:
        """What the path names, and its tar. A reader that is slow holds up nothing but the worker."""
        entry = self._index.get("copy", id)
        small = await self._small(entry, path)
        reading, writing = pipes.wide()
        try:
            if small is not None:
                os.write(writing, small[1])
                os.close(writing)
                writing = -1
                yield small[0], Given(reading, _nothing_more)
                return
            async with self._begun(entry, {"verb": "get", "path": path}, {"pipe": writing}) as copy:
                os.close(writing)
                writing = -1
                found = PathStat(**(await copy.line())["stat"])
                yield found, Given(reading, copy.line)
        finally:
            for descriptor in (reading, writing):
                if descriptor >= 0:
                    os.close(descriptor)

    async def _small(self, entry: Entry, path: str) -> tuple[PathStat, bytes] | None:
        """A small file of a container that runs, whole: a worker would be most of its cost."""
        if entry.config.security.user_namespace == "auto":
            return None  # whose it is, is seen from within
        running = _open(entry)
        if running is None:
            return None
        self._nursery.prepare()
        return await _in_thread(entry.config.name, lambda: _give_small_and_close(running, path))

    async def put(
        self,
        id: str,
        path: str,
        source: Incoming | bytes | AsyncIterator[bytes],
        *,
        keeps_kinds: bool = False,
        owner: str = "",
    ) -> None:
        """Unpack a tar, plain or packed, into a directory. source: the connection that it comes by, all of
        a small one, or its pieces where it has to pass through us. keeps_kinds: a directory and what is none
        do not replace each other. owner: who all of it belongs to, as a user of the container; "" is as in
        the tar.
        What was written before an error stays, as with Docker."""
        entry = self._index.get("copy", id)
        told = {"verb": "put", "path": path, "keeps_kinds": keeps_kinds, "owner": owner}
        if isinstance(source, Incoming):
            await self._put_from(entry, told, source)
        elif isinstance(source, bytes):
            await self._put_whole(entry, told, source)
        else:
            await self._put_pieces(entry, told, source)

    async def _put_from(self, entry: Entry, told: dict[str, Any], source: Incoming) -> None:
        passed = {"connection": source.connection}
        if source.early:
            passed["early"] = written(source.early)
        try:
            async with self._begun(entry, {**told, **source.told()}, passed) as copy:
                await copy.line()
        finally:
            if source.early:
                os.close(passed["early"])

    async def _put_whole(self, entry: Entry, told: dict[str, Any], data: bytes) -> None:
        whole = written(data)
        try:
            async with self._begun(entry, told, {"early": whole}) as copy:
                await copy.line()
        finally:
            os.close(whole)

    async def _put_pieces(self, entry: Entry, told: dict[str, Any], pieces: AsyncIterator[bytes]) -> None:
        reading, writing = pipes.wide()
        os.set_blocking(writing, False)
        tasks: list[asyncio.Task[Any]] = []
        try:
            async with self._begun(entry, told, {"pipe": reading}) as copy:
                os.close(reading)
                reading = -1
                feeding = asyncio.create_task(pipes.feed(writing, pieces))
                answer = asyncio.create_task(copy.line())
                tasks += feeding, answer
                await asyncio.wait((feeding, answer), return_when=asyncio.FIRST_COMPLETED)
                if not answer.done():
                    feeding.result()  # a client that broke off: what came is not to pass for all of it
                    os.close(writing)
                    writing = -1
                await answer
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for descriptor in (reading, writing):
                if descriptor >= 0:
                    os.close(descriptor)

    @contextlib.asynccontextmanager
    async def _begun(
        self, entry: Entry, told: dict[str, Any], passed: Mapping[str, int]
    ) -> AsyncIterator[Lines]:
        """A worker that looks at the container's files; it is ended with the block. Nobody waits for that
        but who may not begin before it is gone: a start (`Entry.end_copies`)."""
        async with self._slots:
            async with entry.lock:  # whether it runs does not change meanwhile
                if self._index.find(entry.config.id) is not entry:
                    raise NotFound("copy", entry.config.name, "it was deleted meanwhile")
                oom_kills = self._nursery.fence.oom_kills()
                holder = f"copy {next(self._numbers)}"
                try:
                    if not entry.is_running:
                        await self._until_left(entry)
                        await self._roots.wait_gone("copy", entry.config.id, entry.config.name)
                        await self._volume_mounts.take(entry.config, holder)
                    reading, worker = await self._start(entry, told, passed)
                except BaseException:
                    self._volume_mounts.let_go(holder)
                    raise
                entry.copies[worker] = worker.gone
                worker.gone.add_done_callback(lambda _: self._left(entry, worker, holder))
            async with self._nursery.ending(worker), pipes.reader_of(reading) as lines:
                yield Lines(lines, "copy", entry.config.name, self._nursery.fence, oom_kills)

    async def _until_left(self, entry: Entry) -> None:
        """Who is done with its root, and on the way out, has it mounted yet."""
        leaving = [gone for worker, gone in entry.copies.items() if self._nursery.is_leaving(worker)]
        if leaving:
            await asyncio.wait(leaving, timeout=COPY_END_SECONDS)

    def _left(self, entry: Entry, worker: Worker, holder: str) -> None:
        entry.copies.pop(worker, None)
        self._volume_mounts.let_go(holder)

    async def _start(
        self, entry: Entry, told: dict[str, Any], passed: Mapping[str, int]
    ) -> tuple[int, Worker]:
        """A worker, and where its lines come from."""
        config, running = entry.config, _open(entry)
        has_ids = config.security.user_namespace == "auto"
        ids = user_namespaces.SIZE if has_ids else 1 << 32
        whole: dict[str, Any] = {"ids": ids, "name": config.name, **told}
        if running is None:
            overlay, mounts = self._assembly.idle_root(config)
            whole |= {"overlay": overlay.to_json(), "mounts": mounts, "read_only": config.read_only}
        else:
            passed = {**passed, "root": running.root} | ({"users": running.process} if has_ids else {})
        try:
            return await self._nursery.start(whole, passed)
        finally:
            if running is not None:
                running.close()


def _open(entry: Entry) -> Running | None:
    """None when it does not run, or has just ended."""
    if not entry.is_running:
        return None
    try:
        return open_running(entry.process)
    except ProcessLookupError:
        return None


def _stat_and_close(running: Running, path: str) -> PathStat:
    try:
        return stat_of(running.root, path)
    finally:
        running.close()


def _give_small_and_close(running: Running, path: str) -> tuple[PathStat, bytes] | None:
    from runtime.copies.giving import give_small  # late: it brings what writes layers

    try:
        return give_small(running.root, path, "copy")
    except OSError:
        return None  # the worker says what it is
    finally:
        running.close()


async def _nothing_more() -> None:
    """All of it is in the pipe."""


async def _in_thread(name: str, look: Callable[[], _Seen]) -> _Seen:
    """In a thread that nobody has to wait for: what a container has mounted may never answer."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[_Seen] = loop.create_future()

    def settle(give: Callable[[], None]) -> None:
        if not found.done():
            give()

    def work() -> None:
        try:
            give = functools.partial(found.set_result, look())
        except BaseException as failure:
            give = functools.partial(found.set_exception, failure)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, give)

    threading.Thread(target=work, name="stat", daemon=True).start()
    try:
        return await asyncio.wait_for(found, STAT_SECONDS)
    except TimeoutError:
        raise Temporary("copy", name, "its files do not answer", "see what is mounted in it") from None
