"""The engine on this kernel: implements `runtime.face.Engine`. What the agent, the API and `oci` call.

    create ─ assembly ─> bundle          start ─ networks ─> sandbox ─ client ─> supervisor ─> process
    state, list <─ index in memory <─ bundles at open, supervisor's events from then on

One event loop, which all calls are made in; what may take long goes to a thread. A crash at any point
leaves what the next `open` understands: a bundle is whole when its container.json is there, and on its
way out when its name begins with ".gone-".
"""

from __future__ import annotations

import asyncio
import contextlib
import signal as signals
import socket
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from runtime import cgroups, container_record, processes, run_directory
from runtime.assembly import Assembly
from runtime.bundle import resources_to_oci
from runtime.containers import Entry, with_resources
from runtime.errors import Conflict, Invalid, NotFound, SetpointError, Temporary
from runtime.event_stream import EventStream
from runtime.images.worker import IsolatedImages
from runtime.layout import Layout
from runtime.model import (
    ContainerConfig,
    ContainerState,
    Drift,
    EngineEvent,
    ExecResult,
    ImageInfo,
    NetworkConfig,
    NetworkState,
    Resources,
    SandboxState,
    Stats,
    VolumeConfig,
    VolumeState,
)
from runtime.network.networks import Networks
from runtime.removal import remove_tree
from runtime.signals import parse_signal
from runtime.stats import read_stats
from runtime.supervisor import records
from runtime.supervisor.client import Client
from runtime.volumes import Volumes

GONE = ".gone-"
KILL_SECONDS = 5.0  # for SIGKILL to end everything; then it waits in the kernel (D state)
PAUSE_SECONDS = 5.0
_CGROUP_SECONDS = 2.0


class NativeEngine:
    """open() before anything else, close() at the end: containers run on."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.images = IsolatedImages(layout)
        self.volumes = Volumes(layout)
        self.networks = Networks(layout, pid_of=self._pid_in_sandbox)
        self._entries: dict[str, Entry] = {}
        self._names: dict[str, str] = {}
        self._addresses: dict[str, SandboxState] = {}
        self._assembly = Assembly(layout, self.images, self.volumes, self.networks, self._pid_of)
        self._client = Client(layout, self._on_supervisor_event)
        self._events = EventStream()
        self._opened = contextlib.AsyncExitStack()
        self._resync: asyncio.Task[None] | None = None
        self._chores: set[asyncio.Task[Any]] = set()
        self.is_supervisor_up = False

    # --- from start to end

    async def open(self) -> None:
        """Take over what is there: bundles, networks, volumes, and what the supervisor runs (it is
        started if need be). Temporary when it does not come up; then nothing stays open."""
        async with contextlib.AsyncExitStack() as stack:
            run_directory.prepare(self.layout)
            self.layout.containers.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.layout.data.chmod(0o700)
            self.networks.open()
            stack.callback(self.networks.close)
            self.volumes.open()
            self._read_bundles()
            self._addresses = {sandbox.id: sandbox for sandbox in self.networks.list_sandboxes()}
            stack.push_async_callback(self._client.close)
            await self._client.open()
            self.is_supervisor_up = True
            await self._look_at_supervisor()
            stack.push_async_callback(self._end_tasks)
            self._watch_network(stack)
            self._opened = stack.pop_all()

    async def close(self) -> None:
        """Let go of everything; containers, networks and the supervisor stay. May be repeated."""
        await self._opened.aclose()

    async def _end_tasks(self) -> None:
        tasks = [*self._chores, *([self._resync] if self._resync else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _watch_network(self, stack: contextlib.AsyncExitStack) -> None:
        loop, monitor = asyncio.get_running_loop(), self.networks.monitor()
        stack.callback(monitor.close)

        def on_hints() -> None:
            for hint in monitor.read():
                name = hint.name if hint.kind == "network" else ""
                self._events.publish("network", name, f"{hint.kind} {hint.name}".strip())

        loop.add_reader(monitor.fileno(), on_hints)
        stack.callback(loop.remove_reader, monitor.fileno())

    def _read_bundles(self) -> None:
        """Whole bundles become entries; half-made ones and those on their way out are removed."""
        for path in self.layout.containers.iterdir():
            found = None if path.name.startswith(".") else container_record.read(str(path))
            if found is None or found[0].id != path.name:
                with contextlib.suppress(OSError):
                    remove_tree(path)
                continue
            entry = Entry(*found)
            self._add(entry)
            exit_record = self._exit_record(entry.config.id)
            if exit_record is not None:
                entry.ended(exit_record)
            entry.has_started = exit_record is not None or (path / "log").exists()

    def _exit_record(self, id: str) -> dict[str, Any] | None:
        for directory in (self._assembly.bundle(id), self._assembly.run_directory(id)):
            record = records.read(directory, records.EXIT)
            if record is not None:
                return record
        return None

    def _add(self, entry: Entry) -> None:
        self._entries[entry.config.id] = entry
        self._names[entry.config.name] = entry.config.id

    # --- the supervisor

    async def _look_at_supervisor(self) -> None:
        """What runs and what does not, now. Ends that nobody told of are told."""
        listed = {record["name"]: record for record in (await self._client.call("list"))["containers"]}
        for id, record in listed.items():
            entry = self._entries.get(id)
            if entry is None:
                await self._end_stray(id)
                continue
            entry.started(record)
            entry.is_paused = cgroups.is_frozen(self._assembly.cgroup(id))
            with contextlib.suppress(SetpointError):
                await self._client.hold(id)
        for id, entry in self._entries.items():
            if entry.is_running and id not in listed:
                self._on_exit(id, self._exit_record(id) or {"finished_at": time.time()})

    async def _end_stray(self, id: str) -> None:
        """A container whose bundle is gone: nobody can want it."""
        with contextlib.suppress(SetpointError):
            await asyncio.to_thread(cgroups.kill, self._assembly.cgroup(id))

    def _on_supervisor_event(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "exit":
            self._on_exit(event["name"], event)
        elif kind == "lost":
            self.is_supervisor_up = False
        elif kind == "supervisor":
            self.is_supervisor_up = True
            self._resync = asyncio.get_running_loop().create_task(self._after_restart())

    async def _after_restart(self) -> None:
        with contextlib.suppress(SetpointError):
            await self._look_at_supervisor()
        self._events.publish("supervisor", "", "it was started again")

    def _on_exit(self, id: str, record: dict[str, Any]) -> None:
        entry = self._entries.get(id)
        if entry is None:
            return
        entry.ended(record)
        if entry.config.pid_mode:  # what it left in another's pid namespace does not end with it
            self._chore(asyncio.to_thread(cgroups.kill, self._assembly.cgroup(id)))
        if entry.oom_killed:
            self._events.publish("oom", id)
        self._events.publish("exit", id, "unknown" if entry.exit_code is None else str(entry.exit_code))

    def _chore(self, work: Any) -> None:
        """Something that nobody waits for."""
        task = asyncio.ensure_future(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    # --- containers

    async def create(self, config: ContainerConfig) -> None:
        _check(config)
        existing = self._entries.get(config.id)
        if existing is not None:
            if existing.config != config:
                raise Conflict("create", config.name, "it exists with another config")
            return
        holder = self._names.get(config.name)
        if holder is not None and holder not in config.replaces:
            raise Conflict("create", config.name, f"{holder[:12]} has that name", "delete that one first")
        entry = Entry(config, time.time())
        self._add(entry)  # at once: the name is taken while volumes are filled
        try:
            async with entry.lock:
                await self._assembly.assemble(config)
                container_record.write(self._assembly.bundle(config.id), config, entry.created_at)
        except BaseException as error:
            self._drop(entry)
            with contextlib.suppress(OSError):
                remove_tree(self._assembly.bundle(config.id))
            if isinstance(error, OSError):
                raise Temporary("create", config.name, str(error), "make room on the disk") from error
            raise

    def _drop(self, entry: Entry) -> None:
        self._entries.pop(entry.config.id, None)
        if self._names.get(entry.config.name) == entry.config.id:
            del self._names[entry.config.name]

    async def start(self, id: str) -> None:
        entry = self._entry("start", id)
        async with entry.lock:
            if entry.is_running:
                return
            self._entry("start", id)  # it may have been deleted while we waited
            await self._make_sandbox(entry.config)
            self._assembly.complete(entry.config)
            if entry.has_started:
                records.remove(self._assembly.bundle(id), records.EXIT)
            await self._launch(entry)
            self._events.publish("start", id)

    async def _make_sandbox(self, config: ContainerConfig) -> None:
        if config.sandbox.mode == "host":
            return
        net_sysctls = {name: value for name, value in config.sysctls.items() if name.startswith("net.")}
        state = await self.networks.ensure_sandbox(
            config.sandbox,
            hostname=config.hostname or config.id[:12],
            names=(config.name,),
            labels=config.labels,
            extra_hosts=config.extra_hosts,
            sysctls=net_sysctls,
        )
        self._addresses[state.id] = state

    async def _launch(self, entry: Entry) -> None:
        """The process. One that an earlier life left in the cgroup is ended first."""
        config = entry.config
        fields = {
            "label": config.name,
            "stdin": config.stdin_open,
            "log_bytes": config.log_max_bytes,
            "log_files": config.log_max_files,
        }
        bundle = self._assembly.bundle(config.id)
        try:
            record = await self._client.start(config.id, bundle, **fields)
        except Conflict as error:
            if error.op != "make cgroup":
                raise
            await self._clear_cgroup(config.id)
            record = await self._client.start(config.id, bundle, **fields)
        entry.is_paused = False
        entry.started(record)
        for warning in record.get("warnings", ()):
            self._events.publish("warning", config.id, warning)

    async def _clear_cgroup(self, id: str) -> None:
        path = self._assembly.cgroup(id)
        await asyncio.to_thread(cgroups.kill, path)
        await asyncio.to_thread(cgroups.delete, path, _CGROUP_SECONDS)

    async def stop(self, id: str, grace_seconds: float, signal: str = "") -> None:
        entry = self._entry("stop", id)
        async with entry.lock:
            if entry.is_running:
                await self._end(entry, grace_seconds, signal)
        await self._release(entry)

    async def _end(self, entry: Entry, grace_seconds: float, signal: str) -> None:
        config, path = entry.config, self._assembly.cgroup(entry.config.id)
        if grace_seconds > 0:
            with contextlib.suppress(NotFound):  # it ended by itself, just now
                await self._client.call("signal", name=config.id, signal=self._stop_signal(config, signal))
            if entry.is_paused:
                await asyncio.to_thread(cgroups.thaw, path, PAUSE_SECONDS)
                entry.is_paused = False
            if await entry.wait_ended(grace_seconds):
                return
        await asyncio.to_thread(_kill_all, path)
        if not await entry.wait_ended(KILL_SECONDS):
            raise Temporary(
                "stop", config.name, "SIGKILL did not end it",
                "a process of it waits in the kernel, or its cgroup is frozen", 5.0,
            )  # fmt: skip

    def _stop_signal(self, config: ContainerConfig, signal: str) -> int:
        image = self.images.get(config.image) if not (signal or config.stop_signal) else None
        return parse_signal(signal or config.stop_signal or (image.stop_signal if image else "") or "TERM")

    async def _release(self, entry: Entry) -> None:
        """A stopped container's ports are free for others, unless another runs in its sandbox."""
        sandbox = entry.config.sandbox
        if sandbox.mode == "own" and sandbox.ports and self._pid_in_sandbox(sandbox.id) is None:
            await self.networks.release_ports(sandbox.id)

    async def signal(self, id: str, signal: str) -> None:
        entry = self._entry("signal", id)
        if not entry.is_running:
            raise Conflict("signal", entry.config.name, "it does not run")
        number = parse_signal(signal)
        if entry.is_paused and number == signals.SIGKILL:
            await self.resume(id)
        try:
            await self._client.call("signal", name=id, signal=number)
        except NotFound:
            raise Conflict("signal", entry.config.name, "it has just ended") from None

    async def pause(self, id: str) -> None:
        await self._set_paused(id, "pause", is_paused=True)

    async def resume(self, id: str) -> None:
        await self._set_paused(id, "resume", is_paused=False)

    async def _set_paused(self, id: str, op: str, *, is_paused: bool) -> None:
        entry = self._entry(op, id)
        async with entry.lock:
            if not entry.is_running:
                raise Conflict(op, entry.config.name, "it does not run")
            if entry.is_paused == is_paused:
                raise Conflict(op, entry.config.name, "it is paused" if is_paused else "it is not paused")
            change = cgroups.freeze if is_paused else cgroups.thaw
            await asyncio.to_thread(change, self._assembly.cgroup(id), PAUSE_SECONDS)
            entry.is_paused = is_paused

    async def update(self, id: str, resources: Resources) -> None:
        entry = self._entry("update", id)
        async with entry.lock:
            if entry.config.resources == resources:
                return
            config = with_resources(entry.config, resources)
            oci = self._assembly.read_config(id)
            wanted = resources_to_oci(resources)
            if entry.is_running:
                cgroups.update(self._assembly.cgroup(id), _all_limits(wanted, oci["linux"]["resources"]))
            oci["linux"]["resources"] = wanted | {"devices": oci["linux"]["resources"].get("devices", [])}
            self._assembly.write_config(id, oci)
            container_record.write(self._assembly.bundle(id), config, entry.created_at)
            entry.config = config

    async def delete(self, id: str) -> None:
        entry = self._entries.get(id)
        if entry is None:
            return
        async with entry.lock:
            if entry.is_running:
                raise Conflict("delete", entry.config.name, "it runs", "stop it first")
            if self._entries.get(id) is not entry:
                return
            bundle, gone = Path(self._assembly.bundle(id)), self.layout.containers / f"{GONE}{id}"
            await asyncio.to_thread(self._remove, id, bundle, gone)
            self._drop(entry)

    def _remove(self, id: str, bundle: Path, gone: Path) -> None:
        """First the rename: from then on, after a crash too, it is not a container but rubbish."""
        cgroups.delete(self._assembly.cgroup(id), _CGROUP_SECONDS)
        try:
            remove_tree(gone)
            with contextlib.suppress(FileNotFoundError):
                bundle.rename(gone)
            remove_tree(self._assembly.run_directory(id))
            remove_tree(gone)
        except OSError as error:
            raise Temporary("delete", id, str(error)) from error

    async def delete_sandbox(self, sandbox: str) -> None:
        if self._pid_in_sandbox(sandbox) is not None:
            raise Conflict("delete sandbox", sandbox, "a container runs in it", "stop it first")
        await self.networks.delete_sandbox(sandbox)
        self._addresses.pop(sandbox, None)

    # --- processes in containers

    async def exec(
        self,
        id: str,
        argv: Sequence[str],
        *,
        timeout_seconds: float,
        max_output_bytes: int = 65536,
        user: str = "",
        working_dir: str = "",
        environment: Sequence[str] = (),
    ) -> ExecResult:
        process = self._process("exec", id, argv, user, working_dir, environment)
        return await processes.run_captured(self._client, id, process, timeout_seconds, max_output_bytes)

    async def start_exec(
        self,
        id: str,
        argv: Sequence[str],
        *,
        terminal: bool = False,
        stdin: bool = False,
        user: str = "",
        working_dir: str = "",
        environment: Sequence[str] = (),
        size: tuple[int, int] = (0, 0),
    ) -> processes.Process:
        """Start argv inside a running container with pipes, or a terminal of size (rows, columns)."""
        process = self._process("exec", id, argv, user, working_dir, environment)
        process["terminal"] = terminal
        if terminal and all(size):
            process["consoleSize"] = {"height": size[0], "width": size[1]}
        return await processes.start_process(self._client, id, process, terminal=terminal, stdin=stdin)

    def _process(
        self, op: str, id: str, argv: Sequence[str], user: str, working_dir: str, environment: Sequence[str]
    ) -> dict[str, Any]:
        entry = self._entry(op, id)
        if not entry.is_running or entry.is_paused:
            raise Conflict(op, entry.config.name, "it is paused" if entry.is_paused else "it does not run")
        if not argv:
            raise Invalid(op, entry.config.name, "no command")
        inherited = self._assembly.read_config(id)["process"]["env"] if environment else ()
        return processes.process_of(argv, user, working_dir, environment, inherited)

    async def attach(
        self, id: str, *, stdin: bool = False, streams: Sequence[str] = ("stdout", "stderr"),
        closes_stdin: bool = True, framed: bool = False,
    ) -> int:  # fmt: skip
        """A socket's descriptor, the caller's now: what the container writes from here on, and its stdin.
        framed: with the Docker Engine API's 8-byte headers, which a terminal never has. A container that
        was created and not started yet loses nothing."""
        entry = self._entry("attach", id)
        _result, fds = await self._client.call_fds(
            "attach", name=id, streams=list(streams), framed=framed and not entry.config.tty,
            closes_stdin=closes_stdin and stdin, early=not entry.is_running,
        )  # fmt: skip
        return fds[0]

    async def resize(self, id: str, rows: int, columns: int) -> None:
        """The size of a container's own terminal."""
        await self._client.call("resize", name=id, rows=rows, columns=columns)

    def top(self, id: str) -> tuple[int, ...]:
        """The processes of a container, by their numbers on the host."""
        self._entry("top", id)
        return cgroups.list_pids(self._assembly.cgroup(id))

    # --- looking

    def state(self, id: str) -> ContainerState | None:
        entry = self._entries.get(id)
        return self._state(entry) if entry is not None else None

    def _state(self, entry: Entry) -> ContainerState:
        sandbox = self._addresses.get(entry.config.sandbox.id)
        ports = self.networks.ports(entry.config.sandbox.id) if entry.config.sandbox.ports else ()
        return entry.state(sandbox.addresses if sandbox else {}, ports)

    def list(self) -> tuple[ContainerState, ...]:
        return tuple(map(self._state, self._entries.values()))

    def list_sandboxes(self) -> tuple[SandboxState, ...]:
        return self.networks.list_sandboxes()

    def stats(self, id: str) -> Stats:
        entry = self._entry("stats", id)
        sandbox = entry.config.sandbox
        network = self.networks.counters(sandbox.id) if sandbox.mode != "host" else (0, 0, 0, 0)
        return read_stats(id, self._assembly.cgroup(id), network)

    def open_socket(self, sandbox: str) -> socket.socket:
        found = (
            self.networks.socket_in(sandbox, socket.AF_INET, socket.SOCK_STREAM)
            if sandbox
            else socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        )
        found.setblocking(False)
        return found

    def log_directory(self, id: str) -> Path:
        """Where `runtime.logs` reads."""
        return self.layout.containers / id / "log"

    def _entry(self, op: str, id: str) -> Entry:
        entry = self._entries.get(id)
        if entry is None:
            raise NotFound(op, id[:12], "there is no such container")
        return entry

    def _pid_of(self, id: str) -> int | None:
        entry = self._entries.get(id)
        return entry.pid if entry is not None else None

    def _pid_in_sandbox(self, sandbox: str) -> int | None:
        for entry in self._entries.values():
            if entry.is_running and entry.config.sandbox.id == sandbox:
                return entry.pid
        return None

    # --- networks and volumes

    async def create_network(self, config: NetworkConfig) -> None:
        self.networks.create(config)

    async def delete_network(self, name: str) -> None:
        await self.networks.delete(name)

    def list_networks(self) -> tuple[NetworkState, ...]:
        return self.networks.list()

    async def create_volume(self, config: VolumeConfig) -> None:
        self.volumes.create(config)

    async def delete_volume(self, name: str) -> None:
        for entry in self._entries.values():
            if any(mount.kind == "volume" and mount.source == name for mount in entry.config.mounts):
                raise Conflict("delete volume", name, f"{entry.config.name} uses it", "delete that one first")
        await asyncio.to_thread(self.volumes.delete, name)

    def list_volumes(self) -> tuple[VolumeState, ...]:
        return self.volumes.list()

    # --- images

    def image(self, reference: str) -> ImageInfo | None:
        return self.images.get(reference)

    def list_images(self) -> tuple[ImageInfo, ...]:
        return self.images.list()

    async def remove_image(self, reference: str, *, force: bool = False) -> tuple[str, ...]:
        """Take a name or an image away; what went, in words. Conflict while a container needs it."""
        in_use = {entry.config.image for entry in self._entries.values()}
        return await asyncio.to_thread(lambda: self.images.remove(reference, in_use=in_use, force=force))

    # --- drift

    async def find_drift(self) -> tuple[Drift, ...]:
        found = await asyncio.to_thread(self.networks.find_drift)
        running = [(id, entry) for id, entry in self._entries.items() if entry.is_running]
        return (*found, *await asyncio.to_thread(self._limits_drift, running))

    def _limits_drift(self, running: Sequence[tuple[str, Entry]]) -> tuple[Drift, ...]:
        found: list[Drift] = []
        for id, entry in running:
            wanted = resources_to_oci(entry.config.resources)
            differences = cgroups.find_drift(self._assembly.cgroup(id), wanted)
            if differences and entry.is_running:
                found.append(Drift("cgroup", id, "; ".join(differences)))
        return tuple(found)

    async def repair(self, drift: Drift) -> None:
        if drift.kind != "cgroup":
            self.networks.repair(drift)
            return
        entry = self._entry("repair", drift.subject)
        if not entry.is_running:
            raise NotFound("repair", entry.config.name, "it does not run any more")
        cgroups.update(self._assembly.cgroup(drift.subject), resources_to_oci(entry.config.resources))

    # --- events

    def events(self) -> AsyncIterator[EngineEvent]:
        return self._events.listen()


def _check(config: ContainerConfig) -> None:
    """An id becomes names of directories and of a cgroup."""
    if len(config.id) != 64 or not set(config.id) <= set("0123456789abcdef"):
        raise Invalid("create", config.name, f"{config.id[:80]!r} is not a container's id", "64 hex digits")


def _all_limits(wanted: dict[str, Any], had: dict[str, Any]) -> dict[str, Any]:
    """The wanted limits, and "no limit" for those that were and are not any more."""
    none: dict[str, dict[str, Any]] = {
        "memory": {"limit": -1, "swap": -1, "reservation": -1},
        "cpu": {"quota": -1, "shares": 1024},
        "pids": {"limit": -1},
    }
    merged = {name: dict(values) for name, values in wanted.items()}
    for group, values in none.items():
        for name, unlimited in values.items():
            if had.get(group, {}).get(name) is not None:
                merged.setdefault(group, {}).setdefault(name, unlimited)
    return merged


def _kill_all(path: str) -> None:
    """SIGKILL to the whole cgroup. A frozen one in a v1 freezer would not feel it."""
    if cgroups.is_frozen(path):
        with contextlib.suppress(SetpointError, OSError):
            cgroups.kill(path)
            cgroups.thaw(path, PAUSE_SECONDS)
    cgroups.kill(path)
