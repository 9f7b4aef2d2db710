"""An engine without a kernel: `runtime.face.Engine` in memory, with a clock and failures from outside.

It outlives any number of loops, as the kernel outlives agents. `tests/contract` holds it to the
behaviour of the real one. What must never happen (two live containers for one replica) it notes in
`violations` at the moment at which it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from runtime.build_recipe import BuildRecipe
from runtime.errors import Conflict, Invalid, NotFound, SetpointError, Temporary
from runtime.images.facts import ImageFacts, Signature
from runtime.images.reference import parse_reference
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
    PortConfig,
    PullState,
    Resources,
    SandboxConfig,
    SandboxState,
    Stats,
    VolumeConfig,
    VolumeState,
)
from runtime.renaming import placed, renamed

BUSYBOX = ImageInfo(
    id="sha256:" + "b" * 64,
    names=("busybox:latest",),
    size_bytes=1_000_000,
    created_at=0.0,
    architecture="amd64",
    os="linux",
    command=("sh",),
)
Fault = Callable[[str, str], Exception | None]
"""(operation, subject) -> what to raise, or None."""


@dataclass
class _Container:
    config: ContainerConfig
    state: ContainerState


@dataclass
class _Sandbox:
    labels: Mapping[str, str]
    addresses: dict[str, str]
    ports: tuple[PortConfig, ...]
    addresses6: dict[str, str] = field(default_factory=dict)


@dataclass
class FakeEngine:
    """now: Unix seconds. fault: asked before each operation takes effect; half: asked after it did, so
    that the caller sees an error although the thing is done; "assemble" is when a container is known and
    not whole yet. exec_result: what every exec answers. clock_error: by how many seconds somebody has set
    the wall clock, which stamps go by.
    """

    now: Callable[[], float]
    clock_error: float = 0.0
    fault: Fault = lambda op, subject: None
    half: Fault = lambda op, subject: None
    exec_result: Callable[[str, Sequence[str]], ExecResult] = lambda id, argv: ExecResult(0, b"")
    stop_takes: float = 0.0
    begin_takes: float = 0.0
    assembly_takes: float = 0.0
    start_takes: float = 0.0
    images: dict[str, ImageInfo] = field(default_factory=lambda: {"busybox:latest": BUSYBOX})
    signatures: dict[str, tuple[Signature, ...]] = field(default_factory=dict)
    first_seen: dict[str, float] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    asked_of: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._containers: dict[str, _Container] = {}
        self._sandboxes: dict[str, _Sandbox] = {}
        self._networks: dict[str, tuple[NetworkConfig, NetworkState]] = {}
        self._volumes: dict[str, tuple[VolumeConfig, VolumeState]] = {}
        self.full_volumes: set[str] = set()
        self._drifts: list[Drift] = []
        self._ending: dict[str, asyncio.Timeout] = {}
        self._pulls: dict[str, PullState] = {}
        self._asked: dict[str, PullState] = {}
        self._watchers: set[asyncio.Queue[EngineEvent]] = set()
        self._next_pid = 1000

    async def _begin(self, op: str, subject: str) -> None:
        self.calls.append((op, subject))
        await asyncio.sleep(self.begin_takes)
        if error := self.fault(op, subject):
            raise error

    def _end(self, op: str, subject: str) -> None:
        if error := self.half(op, subject):
            raise error

    # --- containers -----------------------------------------------------------------------------

    async def create(self, config: ContainerConfig) -> None:
        await self._begin("create", config.id)
        there = self._containers.get(config.id)
        if there is not None:
            if there.config != config:
                raise Conflict("create", config.name, "exists with another config")
            return
        for other in self._containers.values():
            if other.config.name == config.name and other.config.id not in config.replaces:
                raise Conflict("create", config.name, f"{other.config.id[:12]} has that name")
        if all(image.id != config.image for image in self.images.values()):
            raise NotFound("create", config.name, f"no image {config.image}")
        state = ContainerState(
            id=config.id, name=config.name, labels=dict(config.labels), phase="created",
            sandbox=config.sandbox.id, image=config.image, created_at=self.now(),
            resources=config.resources, ports=config.sandbox.ports, endpoints=config.sandbox.endpoints,
            volumes=config.volumes,
        )  # fmt: skip
        self._containers[config.id] = _Container(config, state)  # the name is taken while volumes are filled
        try:
            await self._take_volumes(config)
        except BaseException:
            del self._containers[config.id]
            raise
        self._end("create", config.id)

    async def _take_volumes(self, config: ContainerConfig) -> None:
        for mount in config.mounts:
            await asyncio.sleep(0)
            if mount.kind == "volume" and mount.source not in self._volumes:
                await self._make_volume(VolumeConfig(mount.source))
        await asyncio.sleep(self.assembly_takes)
        if error := self.fault("assemble", config.id):
            raise error

    async def start(self, id: str) -> None:
        await self._begin("start", id)
        await asyncio.sleep(self.start_takes)
        container = self._container("start", id)
        if container.state.phase in ("running", "paused"):
            return
        self._make_sandbox(container.config)
        self._note_twins(container)
        sandbox = self._sandboxes.get(container.config.sandbox.id)
        self._next_pid += 1
        container.state = replace(
            container.state, phase="running", pid=self._next_pid, started_at=self.wall(), finished_at=None,
            began_at=self.now(), ended_at=None, ran_seconds=None, exit_code=None, oom_killed=False,
            addresses=dict(sandbox.addresses) if sandbox else {},
            addresses6=dict(sandbox.addresses6) if sandbox else {},
        )  # fmt: skip
        self._end("start", id)

    def _make_sandbox(self, config: ContainerConfig) -> None:
        wanted = config.sandbox
        if wanted.mode == "host":
            return
        if wanted.mode == "join":
            if wanted.id not in self._sandboxes:
                raise NotFound("start", config.name, "the network it shares is not there")
            return
        for endpoint in wanted.endpoints:
            if endpoint.network not in self._networks:
                raise NotFound("start", config.name, f"no network {endpoint.network}")
        self._check_ports(config)
        addresses = {
            endpoint.network: endpoint.ipv4 or self._address(endpoint.network)
            for endpoint in wanted.endpoints
        }
        there = self._sandboxes.get(wanted.id)
        kept = {name: a for name, a in there.addresses.items() if name in addresses} if there else {}
        made = _Sandbox(dict(config.labels), addresses | kept, wanted.ports)
        made.addresses6 = self._addresses6(wanted.endpoints, there.addresses6 if there else {})
        self._sandboxes[wanted.id] = made

    def _addresses6(self, endpoints: Iterable[EndpointConfig], kept: Mapping[str, str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for endpoint in endpoints:
            subnet = self._networks[endpoint.network][1].subnet6
            if endpoint.ipv6 and not subnet:
                raise Invalid("start", endpoint.network, "it has no IPv6")
            if subnet:
                taken = {s.addresses6.get(endpoint.network) for s in self._sandboxes.values()}
                first = subnet.partition("/")[0]
                free = next(a for n in range(2, 65536) if (a := f"{first}{n:x}") not in taken)
                found[endpoint.network] = endpoint.ipv6 or kept.get(endpoint.network) or free
        return found

    def _check_ports(self, config: ContainerConfig) -> None:
        for id, sandbox in self._sandboxes.items():
            for port in sandbox.ports if id != config.sandbox.id else ():
                if any(_clash(port, mine) for mine in config.sandbox.ports):
                    raise Conflict("start", config.name, f"port {port.host_port} is taken")

    def _address(self, network: str) -> str:
        taken = {s.addresses.get(network) for s in self._sandboxes.values()}
        subnet = self._networks[network][1].subnet.rsplit(".", 2)[0]
        return next(a for n in range(2, 65536) if (a := f"{subnet}.{n // 256}.{n % 256}") not in taken)

    def _note_twins(self, container: _Container) -> None:
        mine = _replica(container.state)
        for other in self._containers.values():
            is_live = other is not container and other.state.phase in ("running", "paused")
            if is_live and mine[0] and _replica(other.state) == mine:
                self.violations.append(f"two live containers for {mine}")

    async def stop(self, id: str, grace_seconds: float, signal: str = "") -> None:
        await self._begin("stop", id)
        container = self._containers.get(id)
        if container is None:
            raise NotFound("stop", id, "no such container")
        if container.state.phase not in ("running", "paused"):
            return
        is_killed = self.stop_takes >= grace_seconds
        if self.stop_takes:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_seconds) as self._ending[id]:
                    await asyncio.sleep(self.stop_takes)
            is_killed |= self._ending.pop(id).expired()
        if id in self._containers and container.state.phase in ("running", "paused"):
            self._exit(container, 137 if is_killed else 143)
        self._end("stop", id)

    async def hasten(self, id: str, grace_seconds: float, signal: str = "") -> None:
        at, ending = asyncio.get_running_loop().time() + grace_seconds, self._ending.get(id)
        if ending is not None and (ending.when() or at) > at:
            ending.reschedule(at)

    async def signal(self, id: str, signal: str) -> None:
        await self._begin("signal", id)
        container = self._container("signal", id)
        if container.state.phase != "running":
            raise Conflict("signal", id, "it does not run")
        if signal in ("KILL", "SIGKILL", "9"):
            self._exit(container, 137)
        elif signal in ("TERM", "SIGTERM", "15"):
            self._exit(container, 143)

    async def pause(self, id: str) -> None:
        await self._begin("pause", id)
        container = self._container("pause", id)
        if container.state.phase != "running":
            raise Conflict("pause", id, "it does not run")
        container.state = replace(container.state, phase="paused")

    async def resume(self, id: str) -> None:
        await self._begin("resume", id)
        container = self._container("resume", id)
        if container.state.phase != "paused":
            raise Conflict("resume", id, "it is not paused")
        container.state = replace(container.state, phase="running")

    async def update(self, id: str, resources: Resources) -> None:
        await self._begin("update", id)
        container = self._container("update", id)
        container.state = replace(container.state, resources=resources)
        container.config = replace(container.config, resources=resources)
        self._end("update", id)

    async def rename(self, id: str, name: str) -> None:
        await self._begin("rename", id)
        container = self._container("rename", id)
        for other in self._containers.values():
            if other.config.name == name and other is not container:
                raise Conflict("rename", id, f"{other.config.id[:12]} has the name {name}")
        self._change(container, renamed(container.config, name))
        self._end("rename", id)

    async def relabel(self, id: str, labels: Mapping[str, str]) -> None:
        await self._begin("relabel", id)
        container = self._container("relabel", id)
        self._change(container, replace(container.config, labels=dict(labels)))
        container.state = replace(container.state, labels=dict(labels))
        self._end("relabel", id)

    async def connect(self, id: str, endpoint: EndpointConfig, position: int = 0) -> None:
        await self._begin("connect", id)
        container = self._container("connect", id)
        before = self._own_network("connect", container).endpoints
        self._reach(container, placed(before, endpoint, position))
        self._end("connect", id)

    async def disconnect(self, id: str, network: str) -> None:
        await self._begin("disconnect", id)
        container = self._container("disconnect", id)
        before = self._own_network("disconnect", container).endpoints
        self._reach(container, tuple(each for each in before if each.network != network))
        self._end("disconnect", id)

    def _own_network(self, op: str, container: _Container) -> SandboxConfig:
        if container.config.sandbox.mode != "own":
            raise Conflict(op, container.config.name, "its network is not its own")
        return container.config.sandbox

    def _reach(self, container: _Container, endpoints: tuple[EndpointConfig, ...]) -> None:
        config = container.config
        self._change(container, replace(config, sandbox=replace(config.sandbox, endpoints=endpoints)))

    def _change(self, container: _Container, config: ContainerConfig) -> None:
        if config.sandbox.id in self._sandboxes and config.sandbox.mode == "own":
            self._make_sandbox(config)
        addresses, addresses6 = container.state.addresses, container.state.addresses6
        if container.state.phase in ("running", "paused") and config.sandbox.id in self._sandboxes:
            sandbox = self._sandboxes[config.sandbox.id]
            addresses, addresses6 = dict(sandbox.addresses), dict(sandbox.addresses6)
        container.config = config
        container.state = replace(
            container.state, name=config.name, endpoints=config.sandbox.endpoints, addresses=addresses,
            addresses6=addresses6,
        )  # fmt: skip

    async def delete(self, id: str) -> None:
        await self._begin("delete", id)
        container = self._containers.get(id)
        if container is None:
            return
        if container.state.phase in ("running", "paused"):
            raise Conflict("delete", id, "it runs")
        del self._containers[id]
        self._end("delete", id)

    async def delete_sandbox(self, sandbox: str) -> None:
        await self._begin("delete_sandbox", sandbox)
        if any(s.sandbox == sandbox and s.phase in ("running", "paused") for s in self.list()):
            raise Conflict("delete sandbox", sandbox, "a container runs in it")
        self._sandboxes.pop(sandbox, None)
        self._end("delete_sandbox", sandbox)

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
        await self._begin("exec", id)
        container = self._container("exec", id)
        if container.state.phase != "running":
            raise Conflict("exec", id, "it does not run")
        return self.exec_result(id, argv)

    def state(self, id: str) -> ContainerState | None:
        container = self._containers.get(id)
        return container.state if container else None

    def list(self) -> tuple[ContainerState, ...]:
        return tuple(container.state for container in self._containers.values())

    def list_sandboxes(self) -> tuple[SandboxState, ...]:
        return tuple(
            SandboxState(id, sandbox.labels, dict(sandbox.addresses), dict(sandbox.addresses6))
            for id, sandbox in self._sandboxes.items()
        )

    def open_socket(self, sandbox: str) -> socket.socket:
        """The host's network stands for every sandbox's."""
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.setblocking(False)
        return connection

    def stats(self, id: str) -> Stats:
        self._container("stats", id)
        return Stats(id, self.now(), 0.0, 0.0, 0.0, 0, None, 0, 0, 1, None, 0, 0, 0, 0, 0, 0)

    def _container(self, op: str, id: str) -> _Container:
        container = self._containers.get(id)
        if container is None:
            raise NotFound(op, id, "no such container")
        return container

    # --- networks and volumes -------------------------------------------------------------------

    async def create_network(self, config: NetworkConfig) -> None:
        await self._begin("create_network", config.name)
        if config.name in self._networks:
            if self._networks[config.name][0] != config:
                raise Conflict("create network", config.name, "exists with another config")
            return
        number = len(self._networks) + 1
        subnet = config.subnet or f"10.{number}.0.0/16"
        state = NetworkState(
            config.name, dict(config.labels), subnet, subnet.rsplit(".", 1)[0] + ".1",
            f"br{number}", config.internal, self.now(),
        )  # fmt: skip
        if config.ipv6 is not None:
            six = config.ipv6.subnet or f"fd00:{number:x}::/64"
            state = replace(state, subnet6=six, gateway6=config.ipv6.gateway or f"{six.partition('/')[0]}1")
        self._networks[config.name] = (config, state)
        self._end("create_network", config.name)

    async def delete_network(self, name: str) -> None:
        await self._begin("delete_network", name)
        if any(name in sandbox.addresses for sandbox in self._sandboxes.values()):
            raise Conflict("delete network", name, "a container is on it")
        self._networks.pop(name, None)
        self._end("delete_network", name)

    def list_networks(self) -> tuple[NetworkState, ...]:
        return tuple(state for _, state in self._networks.values())

    async def create_volume(self, config: VolumeConfig) -> None:
        await self._begin("create_volume", config.name)
        if config.name in self._volumes and self._volumes[config.name][0] != config:
            raise Conflict("create volume", config.name, "exists with another config")
        await self._make_volume(config)
        self._end("create_volume", config.name)

    async def _make_volume(self, config: VolumeConfig) -> None:
        path = f"/volumes/{config.name}"
        state = VolumeState(config.name, dict(config.labels), path, self.now(), dict(config.options))
        self._volumes.setdefault(config.name, (config, state))

    async def delete_volume(self, name: str) -> None:
        await self._begin("delete_volume", name)
        for container in self._containers.values():
            if any(m.kind == "volume" and m.source == name for m in container.config.mounts):
                raise Conflict("delete volume", name, "a container uses it")
        self._volumes.pop(name, None)
        self._end("delete_volume", name)

    def is_volume_empty(self, name: str) -> bool:
        return name not in self.full_volumes

    def list_volumes(self) -> tuple[VolumeState, ...]:
        return tuple(state for _, state in self._volumes.values())

    def volume(self, name: str) -> VolumeState | None:
        return self._volumes[name][1] if name in self._volumes else None

    # --- images, drift, events ------------------------------------------------------------------

    def image_facts(self, reference: str) -> tuple[ImageFacts, ...]:
        image = self.image(reference)
        if image is None:
            return ()
        is_exact = reference == image.id
        names = (parse_reference(name).canonical for name in (image.names if is_exact else (reference,)))
        signatures, seen_at = self.signatures.get(reference, ()), self.first_seen.get(reference, 0.0)
        return tuple(
            ImageFacts(name, (image.digest,), image.architecture, signatures, seen_at, is_exact, image.id)
            for name in names
        )

    def image(self, reference: str) -> ImageInfo | None:
        return self.images.get(reference) or next(
            (image for image in self.images.values() if image.id == reference), None
        )

    async def pull(
        self, reference: str, *, platform: str = "", project: str = "", only_newer: bool = False
    ) -> None:
        await self._begin("pull", reference)
        self._pulls[reference] = PullState(project=project)
        self._end("pull", reference)

    async def ask_signatures(self, reference: str, *, project: str = "") -> None:
        await self._begin("ask_signatures", reference)
        if (state := self._asked.get(reference)) is None or state.error is not None:
            self.asked_of.append(reference)
            self._asked[reference] = PullState(project=project)
        self._end("ask_signatures", reference)

    def signatures_state(self, reference: str) -> PullState | None:
        return self._asked.get(reference)

    def answered(self, reference: str, said: SetpointError | tuple[Signature, ...]) -> None:
        """How it ends that a registry is asked for signatures, says a test."""
        if isinstance(said, SetpointError):
            self._asked[reference] = PullState(said, self._asked.get(reference, PullState()).project)
        else:
            del self._asked[reference]
            self.signatures[reference] = (*self.signatures.get(reference, ()), *said)
        self.emit("signatures", reference)

    async def build(self, reference: str, recipe: BuildRecipe) -> None:
        await self._begin("build", reference)
        self._pulls[reference] = PullState()
        self._end("build", reference)

    def pull_state(self, reference: str) -> PullState | None:
        return self._pulls.get(reference)

    def pulled(self, reference: str, image: ImageInfo | SetpointError) -> None:
        """How a pull that was begun ends, says a test."""
        if isinstance(image, SetpointError):
            self._pulls[reference] = PullState(image, self._pulls.get(reference, PullState()).project)
        else:
            del self._pulls[reference]
            self.images[reference] = image
        self.emit("image", reference)

    async def find_drift(self, subjects: Collection[str] | None = None) -> tuple[Drift, ...]:
        await asyncio.sleep(0)
        return tuple(drift for drift in self._drifts if subjects is None or drift.subject in subjects)

    async def repair(self, drift: Drift) -> None:
        await self._begin("repair", drift.subject)
        if drift not in self._drifts:
            raise NotFound("repair", drift.subject, "nothing to repair")
        self._drifts.remove(drift)
        if drift.kind == "netns":
            raise Temporary("repair", drift.subject, "only a restart helps")
        self._end("repair", drift.subject)

    async def events(self) -> AsyncIterator[EngineEvent]:
        queue: asyncio.Queue[EngineEvent] = asyncio.Queue()
        self._watchers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._watchers.discard(queue)

    # --- what happens from outside --------------------------------------------------------------

    def emit(self, kind: str, id: str, detail: str = "") -> None:
        for queue in self._watchers:
            queue.put_nowait(EngineEvent(kind, id, self.now(), detail))

    def exit(self, id: str, code: int = 137, *, oom: bool = False) -> None:
        """The container's process ends."""
        self._exit(self._container("exit", id), code, oom=oom)

    def _exit(self, container: _Container, code: int | None, *, oom: bool = False) -> None:
        now, began_at = self.now(), container.state.began_at
        container.state = replace(
            container.state, phase="stopped", pid=None, finished_at=self.wall(), exit_code=code,
            ended_at=now, ran_seconds=None if began_at is None else now - began_at, oom_killed=oom,
            addresses={}, addresses6={},
        )  # fmt: skip
        self.emit("exit", container.state.id)

    def wall(self) -> float:
        """What the wall clock says."""
        return self.now() + self.clock_error

    def seen_by_another_clock(self, by: float) -> None:
        """An agent started after the wall clock was set: its clock that never jumps began elsewhere."""
        for container in self._containers.values():
            state = container.state
            container.state = replace(
                state,
                began_at=None if state.began_at is None else state.began_at + by,
                ended_at=None if state.ended_at is None else state.ended_at + by,
            )

    def lose_containers(self) -> None:
        """Their bundles are gone, and with them all that is known of them; namespaces are the kernel's."""
        self._containers.clear()

    def reboot(self) -> None:
        """Processes, namespaces and exit records are gone, bundles are not."""
        self._sandboxes.clear()
        self._drifts.clear()
        for container in self._containers.values():
            if container.state.phase != "created":
                container.state = replace(
                    container.state, phase="stopped", pid=None, started_at=None, finished_at=None,
                    began_at=None, ended_at=None, ran_seconds=None, exit_code=None, oom_killed=False,
                    addresses={}, addresses6={},
                )  # fmt: skip

    def tamper(self, drift: Drift) -> None:
        """Something in the kernel is not as it was made. Broken twice, it is still one finding, as a look
        at a kernel would give it."""
        if drift not in self._drifts:
            self._drifts.append(drift)
        self.emit("drift", drift.subject)

    def foreign(self, id: str) -> None:
        """A container, running, that somebody else made: without our labels."""
        state = ContainerState(id, id, {}, "running", pid=1, started_at=self.now(), created_at=self.now())
        config = ContainerConfig(id, id, BUSYBOX.id, sandbox=SandboxConfig(mode="host"))
        self._containers[id] = _Container(config, state)

    def remove_image(self, reference: str) -> None:
        if reference not in self.images:
            raise Invalid("remove image", reference, "no such image")
        del self.images[reference]

    def running(self) -> dict[str, str]:
        """name -> id of what runs."""
        return {s.name: s.id for s in self.list() if s.phase == "running"}


def _replica(state: ContainerState) -> tuple[str, str]:
    return state.labels.get("setpoint.key", ""), state.labels.get("setpoint.index", "")


def _clash(one: PortConfig, other: PortConfig) -> bool:
    if one.among or other.among:  # another one is taken
        return False
    if one.host_port == 0 or one.host_port != other.host_port or one.protocol != other.protocol:
        return False
    return not one.host_ip or not other.host_ip or one.host_ip == other.host_ip
