"""The agent as a process: takes the instance's lock, puts the parts together, runs them, and takes them
apart again in the reverse order. Stopping it stops no container.

    lock ─> store ─> engine ─> loop (adopts what runs) ─> API ─> source ─> READY

Holds no rule about objects: those are the loop's. Heavy parts are imported here and by nobody who
only asks the agent something.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import functools
import gc
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from agent import log, systemd
from agent.api.context import Context
from agent.api.docker import profiles
from agent.api.docker.auto_remove import AutoRemoval
from agent.api.server import Servers
from agent.api.sockets.expiry import Expiry
from agent.api.sockets.listeners import Listeners
from agent.follow import Follower
from agent.images.keeper import IMAGES, ImageKeeper
from agent.images.verifier import ImageVerifier
from agent.manifest.objects import Manifest, Revision
from agent.manifest.reader import Reader, read
from agent.metrics import Metrics
from agent.policy.gate import Gate, GatedReader
from agent.policy.policy import OPEN, STRICT
from agent.reconcile.loop import Loop, LoopSettings
from agent.registries.origins import Origins
from agent.room import RoomWatch
from agent.settings import VERSION, Settings
from agent.source.contexts import Contexts
from agent.source.fetched import Repositories
from agent.source.source import Source
from agent.updates.watcher import UpdateWatcher
from runtime import oom_score, syscalls
from runtime.build_recipe import FetchGit, FindContext
from runtime.disk import Ballast
from runtime.errors import Conflict, Invalid, Temporary
from runtime.images.facts import EVERYTHING, Admission
from runtime.layout import Layout
from runtime.pulls import FindOrigins
from runtime.worker_caps import Caps
from store.errors import StoreError
from store.records import Batch, EventRecord, Key
from store.store import Store

logger = logging.getLogger("setpoint.agent")

COLLECT_AFTER = 10_000  # new objects between two looks of the garbage collector; Python's own is 700
# A heap for each thread, as the C library has it, is 15 MB that nobody uses after thousands of requests: only
# one thread runs Python at a time, and a second heap has nothing to spare it.
TRIM_BYTES = 128 * 1024
PAD_BYTES = 512 * 1024  # twice what asyncio asks for at each read of a connection
THREADS = 8  # for files, the store and archives
SOURCE_SECONDS = 2.0  # for the first look at the source, before work goes on with what is remembered
MakeEngine = Callable[[Layout], Awaitable[Any]]


def run(settings: Settings, make_engine: MakeEngine | None = None) -> int:
    """Run an agent in the foreground until SIGTERM or SIGINT. 0 after an orderly stop; raises
    SetpointError for what keeps it from starting."""
    syscalls.set_malloc(arenas=1, trim_bytes=TRIM_BYTES, pad_bytes=PAD_BYTES)
    prepare(settings.layout)
    oom_score.protect_agent()
    with instance_lock(settings.layout):
        log.set_up(settings.log_level, settings.log_format, log.file_of(settings.layout))
        return asyncio.run(_run(settings, make_engine or _native_engine_of(settings)))


def prepare(layout: Layout) -> None:
    """The instance's own directories. Invalid when they cannot be made."""
    os.umask(0o022)
    try:
        layout.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        layout.run.mkdir(mode=0o711, parents=True, exist_ok=True)
        layout.run.chmod(0o711)  # whatever the umask was
    except OSError as error:
        path = error.filename or str(layout.data)
        raise Invalid("start agent", str(path), error.strerror or str(error), "run it as root") from error


@contextlib.contextmanager
def instance_lock(layout: Layout) -> Iterator[None]:
    """One agent an instance: the kernel frees the lock with the process, however it ends. Conflict when
    another agent holds it."""
    path = layout.data / "agent.lock"
    descriptor = _open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise Conflict(
            "start agent",
            layout.instance,
            f"another agent (pid {holder}) runs this instance",
            "setpoint agent stop, or another --instance",
        ) from None
    try:
        with contextlib.suppress(OSError):  # for people only: a full disk must keep no agent from running
            os.pwrite(descriptor, f"{os.getpid():<15}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _open_lock(path: Path) -> int:
    """Also on a disk that has turned read-only: what runs is taken over all the same."""
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o600)
    except OSError as error:
        if error.errno == errno.EROFS:
            with contextlib.suppress(FileNotFoundError):
                return os.open(path, os.O_RDONLY | flags)
        hint = "the data need a disk that can be written"
        raise Temporary("start agent", str(path), error.strerror or str(error), hint) from error


def _native_engine_of(settings: Settings) -> MakeEngine:
    find_origins, gate = Origins(settings.registries_path).of, gate_of(settings)
    find_context, fetch_git = Contexts(settings).opened, Repositories(settings).opened
    return lambda layout: make_native_engine(
        layout, find_origins, gate, find_context, fetch_git, settings.worker_caps
    )


async def make_native_engine(
    layout: Layout,
    find_origins: FindOrigins | None = None,
    admission: Admission = EVERYTHING,
    find_context: FindContext | None = None,
    fetch_git: FetchGit | None = None,
    caps: Caps = Caps(),
) -> Any:
    """The engine on this kernel, with its supervisor running. find_origins: whom to ask for an image.
    admission: which of them may come, and run. find_context: where what manifests build takes files from;
    fetch_git: brings repositories for builds. caps: of what reads what strangers made."""
    from runtime.engine import NativeEngine

    engine = NativeEngine(layout, find_origins, admission, find_context, fetch_git, caps)
    await engine.open()
    if engine.confinement.is_on and not engine.confinement.profile:
        logger.warning("containers run without an AppArmor profile: apparmor_parser is not installed")
    return engine


async def _run(settings: Settings, make_engine: MakeEngine) -> int:
    stopping = asyncio.Event()
    _handle_signals(stopping)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, "setpoint"))
    async with contextlib.AsyncExitStack() as stack:
        context, follower = await _assemble(settings, make_engine, stopping.set, stack)
        tasks = _start_tasks(context, follower, stack)
        _free_start_up_memory()
        systemd.notify("READY=1\nSTATUS=running")
        logger.info("agent of %s runs, version %s", settings.layout.instance, VERSION)
        await _until_stopped(stopping, tasks)
        systemd.notify("STOPPING=1")
        logger.info("agent stops; containers run on")
    return 0


async def _assemble(
    settings: Settings, make_engine: MakeEngine, stop: Callable[[], None], stack: contextlib.AsyncExitStack
) -> tuple[Context, Follower]:
    """Each part in its turn; the stack takes them apart in reverse, also when a later one fails."""
    metrics = Metrics(VERSION)
    store = stack.enter_context(_store(settings))
    engine = await make_engine(settings.layout)
    stack.push_async_callback(engine.close)
    loop = Loop(
        engine,
        store,
        instance=settings.layout.instance,
        settings=LoopSettings(full_pass_seconds=settings.full_pass_seconds),
        observer=metrics,
        gate=gate_of(settings),
        sockets=(listeners := Listeners(settings.layout)),
    )
    images = ImageKeeper(engine, loop, store.images, settings.image_rules, settings.image_look_seconds)
    await images.load()
    loop.on_settled(images.settled)
    await loop.start()
    stack.push_async_callback(_stop_loop, loop, settings.stop_seconds)
    room = RoomWatch(settings.layout, loop)

    def on_disk_trouble(needs_ballast: bool) -> None:
        room.look_soon(needs_ballast=needs_ballast)
        images.look_soon()

    loop.on_disk_trouble(on_disk_trouble)
    follower = Follower(source_of(settings), reader_of(settings), loop, metrics, _source_kind(settings))
    context = Context(
        settings=settings,
        loop=loop,
        engine=engine,
        store=store,
        follower=follower,
        room=room,
        images=images,
        updates=UpdateWatcher(engine, loop, settings.update_look_seconds),
        verifier=ImageVerifier(
            engine,
            images,
            functools.partial(loop.note, IMAGES),
            settings.verify_seconds,
            on_change=loop.image_damaged,
        ),
        metrics=metrics,
        version=VERSION,
        read_files=lambda files: _read_files(settings, files, follower.tree_of),
        stop=stop,
        started_at=time.time(),
    )
    _remove_what_ends(context, stack)
    listeners.on_lost = loop.wake
    context.expiry = Expiry(context)
    profiles.collect(context)  # all that is wanted is known, and nobody asks for more yet
    await stack.enter_async_context(_served(context, listeners))
    return context, follower


def _remove_what_ends(context: Context, stack: contextlib.AsyncExitStack) -> None:
    """Before the loop's first look, which is how what ended while no agent ran is found."""
    removal = AutoRemoval(context)
    context.loop.on_exit(context.exits.add)
    context.loop.on_verdict(removal.look)
    stack.push_async_callback(removal.close)


@contextlib.contextmanager
def _store(settings: Settings) -> Iterator[Store]:
    """The store; what was wrong with it is an event, since a person must hear of it."""
    try:
        store = _open_store(settings.layout)
    except StoreError as error:
        raise Invalid("open store", error.path, error.reason, error.hint) from error
    try:
        for note in store.notes:
            logger.error("%s", note)
            event = EventRecord(
                time.time(), Key("setpoint", "store", "store"), "Warning", "StoreDamaged", note
            )
            with contextlib.suppress(StoreError):  # it is in the log
                store.write(Batch(events=(event,)))
        yield store
    finally:
        store.close()


def _open_store(layout: Layout) -> Store:
    """On a full disk with a part of the ballast, which is what it is for."""
    while True:
        try:
            return Store(layout.database)
        except StoreError:
            if not Ballast(layout.data).give_up_part():
                return _open_standin(layout)


def _open_standin(layout: Layout) -> Store:
    """On a disk that cannot be written: what runs is taken over by what is remembered of it."""
    store = Store(layout.database, standin=layout.run / "store")
    if store.is_standin:
        logger.error("%s cannot be written: what happens is kept in memory", layout.database)
    return store


@contextlib.asynccontextmanager
async def _served(context: Context, listeners: Listeners) -> AsyncIterator[None]:
    servers = Servers(context, listeners)
    try:
        await servers.start()
        if servers.metrics_address:
            logger.info("metrics on http://%s/metrics", servers.metrics_address)
            context.metrics_address = servers.metrics_address
        yield
    finally:
        await servers.stop()


async def _stop_loop(loop: Loop, seconds: float) -> None:
    try:
        await asyncio.wait_for(loop.stop(), seconds)
    except TimeoutError:
        logger.warning("what was under way did not end within %g s", seconds)


def _start_tasks(
    context: Context, follower: Follower, stack: contextlib.AsyncExitStack
) -> dict[asyncio.Task[Any], str]:
    """What runs until the end, by name. The source is let go before any part is taken apart; the loop
    ends when it is stopped."""
    following = asyncio.ensure_future(follower.run())
    watchdog = asyncio.ensure_future(systemd.keep_watchdog_quiet())
    room = asyncio.ensure_future(context.room.run())
    images = asyncio.ensure_future(context.images.run())
    updates = asyncio.ensure_future(context.updates.run())
    verifier = asyncio.ensure_future(context.verifier.run())
    expiry = asyncio.ensure_future(context.expiry.run())

    async def cancel() -> None:
        tasks = (following, watchdog, room, images, updates, verifier, expiry)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    stack.push_async_callback(cancel)
    looping = asyncio.ensure_future(_run_loop(context.loop, follower))
    return {
        looping: "loop",
        following: "source",
        room: "room watch",
        images: "image keeper",
        updates: "update watcher",
        verifier: "image verifier",
        expiry: "end of what scoped sockets made",
    }


async def _run_loop(loop: Loop, follower: Follower) -> None:
    """What the store remembers may be of before the last commit: of a version that an agent which was
    killed had replaced already, or of an object that is wanted again. So the source is asked first."""
    await follower.wait_first_look(SOURCE_SECONDS)
    await loop.run()


async def _until_stopped(stopping: asyncio.Event, tasks: Mapping[asyncio.Task[Any], str]) -> None:
    """Until a signal or a request. What a task raises by itself is a bug, and ends the agent; the loop
    also ends in good order (`down`), and the request to stop follows."""
    stopped = asyncio.ensure_future(stopping.wait())
    pending: set[asyncio.Future[Any]] = {stopped, *tasks}
    while not stopped.done():
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stopped}:
            if (error := task.exception()) is not None:
                stopped.cancel()
                name = next(name for known, name in tasks.items() if known is task)
                logger.critical("the %s failed", name, exc_info=error)
                raise error


def _handle_signals(stopping: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stopping.is_set():  # asked twice: the person will not wait
            os._exit(1)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)


def _free_start_up_memory() -> None:
    """What the imports left behind goes, and the rest is never looked at again by the collector. From then
    on it looks rarely: nearly all that we make is freed by its count of references."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


# --- the source -----------------------------------------------------------------------------------


def _source_kind(settings: Settings) -> str:
    if settings.git_url:
        return "git"
    return "directory" if settings.watch is not None else ""


def source_of(settings: Settings) -> Callable[[], Source] | None:
    """What makes the source, or None when there is none to follow."""
    if settings.git_url:
        return _remote(settings)
    if settings.watch is not None:
        return lambda: _watched(settings)
    return None


def _watched(settings: Settings) -> Source:
    from agent.source.choose import watch_directory
    from agent.source.sandbox import Sandbox

    return watch_directory(settings.watch or Path(), sandbox=Sandbox(settings.layout.git_cgroup))


def _remote(settings: Settings) -> Callable[[], Source]:
    """Raises Invalid now for what can never be followed."""
    from agent.source.remote import Remote, RemoteSource
    from agent.source.sandbox import Sandbox

    remote = Remote(
        settings.git_url, settings.git_ref, settings.git_path, settings.git_poll_seconds,
        settings.git_credentials,
    )  # fmt: skip
    return lambda: RemoteSource(remote, settings.layout.data / "source", Sandbox(settings.layout.git_cgroup))


def reader_of(settings: Settings) -> GatedReader:
    reader = Reader(environment=settings.environment, profiles=frozenset(settings.profiles))
    return GatedReader(reader, gate_of(settings))


def gate_of(settings: Settings) -> Gate:
    """Without a policy file a repository of this host may ask for anything, since who writes there is its
    root; one of another host for nothing that reaches this one (ops/decisions/0010-policy.md)."""
    default = STRICT if settings.git_url else OPEN
    return Gate(settings.policy_path, default, is_needed=settings.policy is not None)


async def _read_files(
    settings: Settings, files: Mapping[str, bytes], tree_of: Callable[[str], str]
) -> Manifest:
    """Files that somebody wants planned, read as the source's would be. tree_of: what is built of is as it is
    there now."""
    base = str(settings.watch) if settings.watch is not None else ""
    revision = Revision(id="plan", source="plan", files=files, base=base, tree_of=tree_of)
    profiles = frozenset(settings.profiles)
    manifest = await asyncio.to_thread(read, revision, environment=settings.environment, profiles=profiles)
    return gate_of(settings).admit(manifest, revision)
