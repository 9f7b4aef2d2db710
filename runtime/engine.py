"""The engine on this kernel: implements `runtime.face.Engine`. What the agent, the API and `oci` call.

    life ─> assembly, networks, client ─> supervisor ─> processes        execs ─> client
    state, list <─ index in memory <─ bundles at open, the supervisor's events from then on (supervised)

One event loop, which all calls are made in; what may take long goes to a thread. A crash at any point
leaves what the next `open` understands.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import stat
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from runtime import block_groups, cgroups, descriptors, disk, leftovers, run_directory
from runtime.assembly import Assembly
from runtime.build_recipe import BuildRecipe, FetchGit, FindContext
from runtime.builds import Builds
from runtime.changes import Changes
from runtime.checkpoints.checkpoints import Checkpoints
from runtime.confinement import Confinement
from runtime.container_copies import ContainerCopies
from runtime.container_files import ContainerFiles
from runtime.container_index import ContainerIndex
from runtime.container_places import Places
from runtime.containers import Entry
from runtime.copies.nursery import Nursery
from runtime.denials import Denials
from runtime.drift.drifts import Drifts
from runtime.errors import Conflict, SetpointError
from runtime.event_stream import EventStream
from runtime.execs import Execs
from runtime.fence import Fence
from runtime.images.facts import EVERYTHING, Admission, ImageFacts
from runtime.images.worker import IsolatedImages
from runtime.layout import Layout
from runtime.life import Life
from runtime.model import (
    ContainerConfig,
    ContainerState,
    Drift,
    EndpointConfig,
    EngineEvent,
    ExecResult,
    ImageInfo,
    NetworkConfig,
    NetworkState,
    PullState,
    Resources,
    SandboxState,
    Stats,
    VolumeConfig,
    VolumeState,
)
from runtime.network.networks import Networks
from runtime.processes import Process
from runtime.pulls import FindOrigins, Pulls, Report, Wish
from runtime.registry_calls import RegistryCalls
from runtime.signature_calls import SignatureCalls
from runtime.stats import read_details, read_stats
from runtime.supervised import Supervised
from runtime.volume_mounts import VolumeMounts
from runtime.volumes import Volumes
from runtime.worker_caps import Caps

if TYPE_CHECKING:
    from runtime.images.check import Finding
    from runtime.images.index import Record
    from runtime.images.pushed import Pushed
    from runtime.images.registry.credentials import Credential

HINTS_SECONDS = 0.02  # between two readings of what the network's monitor heard


class NativeEngine:
    """open() before anything else, close() at the end: containers run on.

    find_origins: whom to ask for an image that is to be pulled; it may block. admission: which images may
    come here, and be used. caps: of the processes that read images, build contexts and archives.
    """

    def __init__(
        self,
        layout: Layout,
        find_origins: FindOrigins | None = None,
        admission: Admission = EVERYTHING,
        find_context: FindContext | None = None,
        fetch_git: FetchGit | None = None,
        caps: Caps = Caps(),
    ) -> None:
        self.layout = layout
        self.fences = {
            name: Fence(name, caps) for name in (layout.image_cgroup, layout.build_cgroup, layout.copy_cgroup)
        }
        self.images = IsolatedImages(layout, admission, self.fences[layout.image_cgroup])
        self.pulls = Pulls(self.images, find_origins, self._on_pull)
        self.registries = RegistryCalls(self.images, find_origins, self.pulls.pushing)
        self.signatures = SignatureCalls(self.images, find_origins, self._on_signatures)
        self.volumes = Volumes(layout)
        self._index = ContainerIndex(layout)
        self.volume_mounts = VolumeMounts(self.volumes, self._index)
        self.networks = Networks(layout, pid_of=self._index.pid_in_sandbox, is_router=self._index.has_router)
        self._events = EventStream()
        self._supervised = Supervised(layout, self._index, self._events)
        self._client = self._supervised.client
        self.confinement = Confinement(layout)
        self._assembly = Assembly(
            layout, self.images, self.volumes, self.networks, self._index.process_of, self.confinement.profile
        )
        self.checkpoints = Checkpoints(layout, self._index, self._assembly, self._client)
        self._life = Life(
            self._index, self._assembly, self.images, self.networks, self._supervised, self._events,
            self.confinement, self.checkpoints, self.volume_mounts,
        )  # fmt: skip
        self._changes = Changes(self._index, self._assembly, self._life.sandboxes, self._life.make_sandbox)
        self._nursery = Nursery(self.fences[layout.copy_cgroup])
        self.files = ContainerFiles(layout, self._index, self.images, self._life, self._nursery)
        self.copies = ContainerCopies(
            self._index, self._assembly, self.volume_mounts, self._nursery, self._client.roots
        )
        self._execs = Execs(self._index, self._assembly, self._client)
        self._drifts = Drifts(
            layout,
            self._index,
            self._assembly,
            self.networks,
            self.volumes,
            self.volume_mounts,
            self._client,
            self._on_drift_hint,
        )
        self.builds = Builds(self, find_context, fetch_git)
        self._denials = Denials(layout.cgroup_parent, self._on_denied, self._index.by_first_pid)
        self._opened = contextlib.AsyncExitStack()
        self._creating: Counter[str] = Counter()  # images of containers that are being made

    @property
    def is_supervisor_up(self) -> bool:
        return self._supervised.is_up

    # --- from start to end

    async def open(self) -> None:
        """Take over what is there: bundles, networks, volumes, and what the supervisor runs (it is
        started if need be). Temporary when it does not come up; then nothing stays open."""
        async with contextlib.AsyncExitStack() as stack:
            descriptors.make_room()
            run_directory.prepare(self.layout)
            stack.callback(self.fences[self.layout.image_cgroup].close)
            stack.push_async_callback(self.signatures.close)
            stack.push_async_callback(self.pulls.close)
            self.confinement.open()
            stack.push_async_callback(self.confinement.close)
            self.layout.containers.mkdir(mode=0o700, parents=True, exist_ok=True)
            if stat.S_IMODE(self.layout.data.stat().st_mode) != 0o700:  # read-only disks take no chmod
                self.layout.data.chmod(0o700)
            block_groups.spread(self.layout.containers)
            self._index.read()
            leftovers.check_bundles(self.layout, self._ids())
            self.networks.open()
            stack.callback(self.networks.close)
            self.volumes.open()
            self._life.sandboxes.update((each.id, each) for each in self.networks.list_sandboxes())
            stack.push_async_callback(self._life.close)
            stack.push_async_callback(self._supervised.close)
            await self._supervised.open()
            self.volume_mounts.open()
            stack.push_async_callback(self.volume_mounts.close)
            await self.checkpoints.open()
            await self.files.open()
            await self._clear_leftovers(stack)
            await self.builds.open()
            stack.push_async_callback(self.builds.close)
            stack.callback(self._nursery.close)
            self._denials.open()
            stack.callback(self._denials.close)
            self._drifts.open()
            stack.callback(self._drifts.close)
            self._supervised.on_running = self._running_changed
            self._watch_network(stack)
            self._opened = stack.pop_all()

    def _running_changed(self, id: str, is_running: bool) -> None:
        self._drifts.running_changed(id, is_running)
        if not is_running:
            self.volume_mounts.let_go(id)

    def _ids(self) -> set[str]:
        return {entry.config.id for entry in self._index}

    async def _clear_leftovers(self, stack: contextlib.AsyncExitStack) -> None:
        await asyncio.to_thread(leftovers.clear, self.layout, self._ids())
        in_use = self._index.images()
        sweeping = asyncio.ensure_future(asyncio.to_thread(leftovers.sweep, self.layout, self.images, in_use))

        async def end() -> None:
            await asyncio.gather(sweeping, return_exceptions=True)

        stack.push_async_callback(end)

    async def close(self) -> None:
        """Let go of everything; containers, networks and the supervisor stay. May be repeated."""
        await self._opened.aclose()

    def _on_denied(self, id: str, number: int) -> None:
        from runtime import seccomp, seccomp_told  # late: few ever need it

        if self._index.find(id) is not None:
            name = seccomp.name_of(number)
            advice = seccomp_told.advice(name)
            self._events.publish("denied", id, f"{name} was denied by the seccomp profile ({advice})")

    def _watch_network(self, stack: contextlib.AsyncExitStack) -> None:
        loop, monitor = asyncio.get_running_loop(), self.networks.monitor()
        stack.callback(monitor.close)

        def on_hints() -> None:
            # Paced: whoever may change links inside a container must not keep us busy by it.
            loop.remove_reader(monitor.fileno())
            paused.append(loop.call_later(HINTS_SECONDS, listen))
            hints = monitor.read()
            if any(hint.kind == "overflow" for hint in hints):
                self._on_drift_hint(None, "overflow")
            elif hints:
                self._on_drift_hint(frozenset(hint.name for hint in hints), "network")

        def listen() -> None:
            paused.clear()
            loop.add_reader(monitor.fileno(), on_hints)

        def stop() -> None:
            for timer in paused:
                timer.cancel()
            loop.remove_reader(monitor.fileno())

        paused: list[asyncio.TimerHandle] = []
        listen()
        stack.callback(stop)

    def _on_drift_hint(self, subjects: frozenset[str] | None, what: str) -> None:
        if subjects is None:
            self._events.publish("overflow", "", what)
            return
        for subject in subjects:
            self._events.publish("drift", subject, what)

    # --- containers

    async def create(self, config: ContainerConfig) -> None:
        disk.check_room("create", config.name, self.layout.data)
        self._creating[config.image] += 1
        try:
            await self._life.create(config)
        finally:
            self._creating[config.image] -= 1

    async def start(self, id: str) -> None:
        await self._life.start(id)

    async def stop(self, id: str, grace_seconds: float, signal: str = "") -> None:
        await self._life.stop(id, grace_seconds, signal)

    async def hasten(self, id: str, grace_seconds: float, signal: str = "") -> None:
        await self._life.hasten(id, grace_seconds, signal)

    async def signal(self, id: str, signal: str) -> None:
        await self._life.signal(id, signal)

    async def pause(self, id: str) -> None:
        await self._life.pause(id)

    async def resume(self, id: str) -> None:
        await self._life.resume(id)

    async def update(self, id: str, resources: Resources) -> None:
        await self._life.update(id, resources)

    async def rename(self, id: str, name: str) -> None:
        await self._changes.rename(id, name)

    async def relabel(self, id: str, labels: Mapping[str, str]) -> None:
        await self._changes.relabel(id, labels)

    async def connect(self, id: str, endpoint: EndpointConfig, position: int = 0) -> None:
        await self._changes.connect(id, endpoint, position)

    async def disconnect(self, id: str, network: str) -> None:
        await self._changes.disconnect(id, network)

    async def delete(self, id: str) -> None:
        await self._life.delete(id)

    async def delete_sandbox(self, sandbox: str) -> None:
        if self._index.pid_in_sandbox(sandbox) is not None:
            raise Conflict("delete sandbox", sandbox, "a container runs in it", "stop it first")
        await self.networks.delete_sandbox(sandbox)
        self._life.sandboxes.pop(sandbox, None)

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
        return await self._execs.run(
            id, argv, timeout_seconds=timeout_seconds, max_output_bytes=max_output_bytes, user=user,
            working_dir=working_dir, environment=environment,
        )  # fmt: skip

    async def start_exec(  # noqa: PLR0913
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
        output: bool = True,
        privileged: bool = False,
    ) -> Process:
        """Start argv inside a running container with pipes, or a terminal of size (rows, columns), or
        (without output) with none."""
        return await self._execs.start(
            id, argv, terminal=terminal, stdin=stdin, user=user, working_dir=working_dir,
            environment=environment, size=size, output=output, privileged=privileged,
        )  # fmt: skip

    async def attach(
        self, id: str, *, stdin: bool = False, streams: Sequence[str] = ("stdout", "stderr"),
        closes_stdin: bool = True, framed: bool = False,
    ) -> int:  # fmt: skip
        """A socket's descriptor, the caller's now: what the container writes from here on, and its stdin.
        framed: with the Docker Engine API's 8-byte headers, which a terminal never has. A container that
        was created and not started yet loses nothing."""
        descriptor, _stamp = await self.attach_at(
            id, stdin=stdin, streams=streams, closes_stdin=closes_stdin, framed=framed
        )
        return descriptor

    async def attach_at(
        self, id: str, *, stdin: bool = False, streams: Sequence[str] = ("stdout", "stderr"),
        closes_stdin: bool = True, framed: bool = False,
    ) -> tuple[int, str]:  # fmt: skip
        """As `attach`, with the stamp of the last record in the log that is not on the socket."""
        return await self._execs.attach(
            id, stdin=stdin, streams=streams, closes_stdin=closes_stdin, framed=framed
        )

    def has_terminal(self, id: str) -> bool:
        """Whether its first process has one."""
        return self._execs.has_terminal(id)

    async def resize(self, id: str, rows: int, columns: int) -> None:
        """The size of a container's own terminal."""
        await self._execs.resize(id, rows, columns)

    def top(self, id: str) -> tuple[int, ...]:
        """The processes of a container, by their numbers on the host."""
        self._index.get("top", id)
        return cgroups.list_pids(self._assembly.cgroup(id))

    # --- looking

    def state(self, id: str) -> ContainerState | None:
        entry = self._index.find(id)
        return self._state(entry) if entry is not None else None

    def _state(self, entry: Entry) -> ContainerState:
        sandbox = self._life.sandboxes.get(entry.config.sandbox.id)
        ports = self.networks.ports(entry.config.sandbox.id) if entry.config.sandbox.ports else ()
        return entry.state(sandbox, ports)

    def list(self) -> tuple[ContainerState, ...]:
        return tuple(map(self._state, self._index))

    @property
    def names(self) -> Mapping[str, str]:
        """The containers' names, each with its id; live, read only."""
        return self._index.names

    def ids_with(self, prefix: str) -> Sequence[str]:
        """The ids of the containers that begin so."""
        return self._index.ids_with(prefix)

    def list_sandboxes(self) -> tuple[SandboxState, ...]:
        return self.networks.list_sandboxes()

    def stats(self, id: str) -> Stats:
        entry = self._index.get("stats", id)
        sandbox = entry.config.sandbox
        network = self.networks.counters(sandbox.id) if sandbox.mode != "host" else (0, 0, 0, 0)
        found = read_stats(id, self._assembly.cgroup(id), network, entry.io_bytes)
        entry.io_bytes = (found.io_read_bytes, found.io_write_bytes)
        return found

    def user_of(self, id: str) -> str:
        """Who a container's processes run as, by its config or its image's; "" is root."""
        config = self._index.get("find user", id).config
        image = self.images.get(config.image) if config.image else None
        return config.user or (image.user if image is not None else "")

    def detailed_stats(self, id: str) -> Stats:
        """The same with its details."""
        found, sandbox = self.stats(id), self._index.get("stats", id).config.sandbox
        interfaces = self.networks.interfaces(sandbox.id) if sandbox.mode != "host" else {}
        return replace(found, details=read_details(self._assembly.cgroup(id), interfaces))

    def open_socket(self, sandbox: str) -> socket.socket:
        found = (
            self.networks.socket_in(sandbox, socket.AF_INET, socket.SOCK_STREAM)
            if sandbox
            else socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        )
        found.setblocking(False)
        return found

    def places(self, id: str) -> Places:
        """Where the things of a container lie on this host by now."""
        return self._assembly.places(self._index.get("inspect", id).config)

    def log_directory(self, id: str) -> Path:
        """Where `runtime.logs` reads."""
        return self.layout.containers / id / "log"

    # --- networks and volumes

    async def create_network(self, config: NetworkConfig) -> None:
        disk.check_room("create network", config.name, self.layout.data)
        self.networks.create(config)
        self._drifts.watch_network(config.name)

    async def delete_network(self, name: str) -> None:
        await self.networks.delete(name)

    def list_networks(self) -> tuple[NetworkState, ...]:
        return self.networks.list()

    async def create_volume(self, config: VolumeConfig) -> None:
        disk.check_room("create volume", config.name, self.layout.data)
        self.volumes.create(config)

    async def delete_volume(self, name: str) -> None:
        for id in self._index.holders_of(name):
            user = self._index.get("delete volume", id).config.name
            raise Conflict("delete volume", name, f"{user} uses it", "delete that one first")
        await self.volume_mounts.free(name)
        if (gone := self.volumes.hide(name)) and not self.volumes.delete_empty(name, gone):
            await asyncio.to_thread(self.volumes.delete_hidden, name, gone)

    def is_volume_empty(self, name: str) -> bool:
        return self.volumes.is_empty(name)

    def volume_users(self) -> dict[str, str]:
        """Volume -> the name of a container that has it."""
        return {name: entry.config.name for entry in self._index for name in entry.config.volumes}

    def volume_holders(self) -> dict[str, tuple[str, ...]]:
        """Volume -> the ids of the containers that have it."""
        return self._index.held_volumes()

    def holders_of(self, volume: str) -> tuple[str, ...]:
        """The ids of the containers that have this one."""
        return self._index.holders_of(volume)

    def tell_names(self) -> None:
        """What containers of a network are called is in the hosts files of all of it when this returns; else
        it is a moment later."""
        self.networks.tell_names()

    def profiles(self) -> set[str]:
        """The seccomp profiles that containers name."""
        return {entry.config.security.seccomp for entry in self._index}

    def list_volumes(self) -> tuple[VolumeState, ...]:
        return self.volumes.list()

    def volume(self, name: str) -> VolumeState | None:
        return self.volumes.get(name)

    def _on_pull(self, reference: str, error: SetpointError | None) -> None:
        self._events.publish("image", reference, str(error) if error else "")

    def _on_signatures(self, reference: str, error: SetpointError | None) -> None:
        self._events.publish("signatures", reference, str(error) if error else "")

    # --- images

    def image(self, reference: str) -> ImageInfo | None:
        return self.images.get(reference)

    def image_facts(self, reference: str) -> tuple[ImageFacts, ...]:
        return self.images.facts(reference)

    async def pull(
        self, reference: str, *, platform: str = "", project: str = "", only_newer: bool = False
    ) -> None:
        self.pulls.begin(Wish(reference, platform, project, only_newer))

    async def build(self, reference: str, recipe: BuildRecipe) -> None:
        self.pulls.begin_work(reference, lambda: self.builds.run_recipe(reference, recipe))

    def pull_state(self, reference: str) -> PullState | None:
        return self.pulls.state(reference)

    async def ask_signatures(self, reference: str, *, project: str = "") -> None:
        self.signatures.begin(reference, project)

    def signatures_state(self, reference: str) -> PullState | None:
        return self.signatures.state(reference)

    async def pull_image(
        self,
        reference: str,
        report: Report | None = None,
        *,
        platform: str = "",
        credential: Credential | None = None,
    ) -> ImageInfo:
        """Fetch an image from its registry, whether it is here or not; what is here of it is not fetched.
        credential: who asks, for this once."""
        return await self.pulls.pull(Wish(reference, platform, credential=credential), report)

    async def push_image(
        self, reference: str, report: Report | None = None, *, credential: Credential | None = None
    ) -> Pushed:
        """Bring an image to the registry of its name. It ends when who waits for it goes away."""
        return await self.registries.push(reference, report, credential)

    async def check_images(
        self,
        image_ids: Sequence[str],
        *,
        repair: bool,
        report: Report | None = None,
        bytes_per_second: float = 0.0,
    ) -> tuple[Finding, ...]:
        """What is damaged of these images, of all when there is none. repair: from what is here.
        bytes_per_second: in nobody's way, and not faster."""
        busy = sorted({entry.config.image for entry in self._index if entry.is_running} - {""})
        return await asyncio.to_thread(
            lambda: self.images.check(
                image_ids, repair=repair, busy=busy, progress=report, bytes_per_second=bytes_per_second
            )
        )

    def list_images(self) -> tuple[ImageInfo, ...]:
        return self.images.list()

    async def remove_image(self, reference: str, *, force: bool = False) -> tuple[str, ...]:
        """Take a name or an image away; what went, in words. Conflict while a container needs it."""
        in_use = self._index.images()
        return await asyncio.to_thread(lambda: self.images.remove(reference, in_use=in_use, force=force))

    def images_in_use(self) -> set[str]:
        """Ids of images that containers have, stopped ones too, or are being made of."""
        return set(self._index.images()) | {
            image for image, count in self._creating.items() if image and count
        }

    async def collect_images(self, judged: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
        """Remove images, each unless it has other names by now than those it was judged with, or a container
        came to need it; the ids of those that went. Then what no image needs."""
        in_use = self.images_in_use()
        gone: tuple[Record, ...] = ()
        if judged:
            gone = await asyncio.to_thread(lambda: self.images.forget(judged, in_use=in_use))
        # From here on nobody finds them. Who found one before is making a container of it, or has.
        in_use = self.images_in_use()
        if back := [record for record in gone if record.image_id in in_use]:
            await asyncio.to_thread(self.images.restore, back)
        await asyncio.to_thread(lambda: self.images.remove_litter(in_use=in_use))
        return tuple(dict.fromkeys(record.image_id for record in gone if record.image_id not in in_use))

    # --- drift

    async def find_drift(self, subjects: Collection[str] | None = None) -> tuple[Drift, ...]:
        found = await self._drifts.find(subjects)
        return found if subjects is not None and "" not in subjects else (
            *found, *self.confinement.find_drift()
        )  # fmt: skip

    async def repair(self, drift: Drift) -> None:
        if drift.kind == "apparmor":
            await self.confinement.repair()
            return
        await self._drifts.repair(drift)

    # --- events

    def events(self) -> AsyncIterator[EngineEvent]:
        return self._events.listen()
