"""A container's life: create, start, stop, pause, limit, delete.

    create ─ assembly ─> bundle      start ─ networks ─> sandbox ─ client ─> supervisor ─> process

Called by `engine`. One thing at a time happens to a container (its entry's lock); all may be repeated
after a crash, as `runtime.face` says.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal as signals
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runtime import cgroup_limits, cgroups, container_record, disk
from runtime.answering import Answering
from runtime.assembly import Assembly
from runtime.bundle import resources_to_oci
from runtime.checkpoints.checkpoints import Checkpoints
from runtime.confinement import Confinement
from runtime.container_index import ContainerIndex, is_router
from runtime.containers import Entry, with_resources
from runtime.errors import Conflict, Invalid, NotFound, SetpointError, Temporary
from runtime.event_stream import EventStream
from runtime.images.worker import IsolatedImages
from runtime.model import ContainerConfig, Resources, SandboxState
from runtime.network.networks import Networks
from runtime.removal import remove_tree
from runtime.rubbish import Rubbish, is_little
from runtime.signals import DEFAULT_STOP, own_stop_signal, parse_signal
from runtime.supervised import Supervised
from runtime.supervisor import records
from runtime.supervisor.client import Result
from runtime.unkillable import unkillable
from runtime.volume_mounts import VolumeMounts

log = logging.getLogger(__name__)

KILL_SECONDS = 5.0  # for SIGKILL to end everything; then it waits in the kernel (D state)
THAW_SECONDS = 0.5  # until what is frozen below the container's own cgroup is thawed, too
PAUSE_SECONDS = 5.0
COPY_SECONDS = 3.0  # that copies of its files have to finish in before a start
_CGROUP_SECONDS = 2.0
HOLDING = (signals.SIGSTOP, signals.SIGTSTP)  # what a person asks for is no drift


class Life:
    """What is done to containers. sandboxes: the network namespaces as they were made or found."""

    def __init__(  # noqa: PLR0913
        self,
        index: ContainerIndex,
        assembly: Assembly,
        images: IsolatedImages,
        networks: Networks,
        supervised: Supervised,
        events: EventStream,
        confinement: Confinement,
        checkpoints: Checkpoints,
        volume_mounts: VolumeMounts,
    ) -> None:
        self.sandboxes: dict[str, SandboxState] = {}
        self._index = index
        self._assembly = assembly
        self._images = images
        self._networks = networks
        self._supervised = supervised
        self._client = supervised.client
        self._events = events
        self._confinement = confinement
        self._checkpoints = checkpoints
        self._volume_mounts = volume_mounts
        self._answering = Answering()
        self._rubbish = Rubbish(supervised.client.roots, self._remove_rest)

    async def close(self) -> None:
        self._answering.close()
        await self._rubbish.close()

    async def create(self, config: ContainerConfig) -> None:
        _check(config)
        existing = self._index.find(config.id)
        if existing is not None:
            if existing.config != config:
                raise Conflict("create", config.name, "it exists with another config")
            return
        holder = self._index.holder_of(config.name)
        if holder is not None and holder not in config.replaces:
            hint = "delete that one first, or take it over as it is: setpoint adopt"
            raise Conflict("create", config.name, f"{holder[:12]} has that name", hint)
        self._networks.check_ports(config.sandbox, config.name)
        entry = Entry(config, time.time())
        self._index.add(entry)  # at once: the name is taken while volumes are filled
        try:
            self._settle_guard(config)
            async with entry.lock:
                await self._rubbish.wait_gone("create", config.id, config.name)
                if config.mounts:
                    await self._volume_mounts.take(config, f"create {config.id}")
                    await self._answering.check("create", config.name, self._assembly.sources(config))
                await self._assembly.assemble(config)
                container_record.write(self._assembly.bundle(config.id), config, entry.created_at)
        except BaseException as error:
            self._index.drop(entry)
            with contextlib.suppress(OSError):
                remove_tree(self._assembly.bundle(config.id))
            self._settle_guard(config)
            if isinstance(error, OSError):
                raise disk.explained("create", config.name, error) or Temporary(
                    "create", config.name, str(error)
                ) from error
            raise
        finally:
            self._volume_mounts.let_go(f"create {config.id}")

    async def start(self, id: str) -> None:
        entry = self._index.get("start", id)
        async with entry.lock:
            if entry.is_running:
                return
            self._index.get("start", id)  # it may have been deleted while we waited
            await entry.end_copies(COPY_SECONDS)
            await self._client.roots.wait_gone("start", id, entry.config.name)
            await self._confinement.ready(entry.config.security)
            try:
                if entry.config.mounts:
                    await self._volume_mounts.take(entry.config, id)
                    await self._answering.check(
                        "start", entry.config.name, self._assembly.sources(entry.config)
                    )
                await self._launch(entry)
            finally:
                if not entry.is_running:
                    self._volume_mounts.let_go(id)
            self._events.publish("start", id)

    async def make_sandbox(
        self, config: ContainerConfig, on_bound: Callable[[], None] = lambda: None
    ) -> None:
        """Its network namespace with links, ports and names; what is so already stays. on_bound: see
        `Networks.ensure_sandbox`."""
        if config.sandbox.mode == "host":
            return
        net_sysctls = {name: value for name, value in config.sysctls.items() if name.startswith("net.")}
        state = await self._networks.ensure_sandbox(
            config.sandbox,
            hostname=".".join(filter(None, (config.hostname or config.id[:12], config.domainname))),
            names=(config.name,),
            labels=config.labels,
            extra_hosts=config.extra_hosts,
            sysctls=net_sysctls,
            has_ids=config.security.user_namespace == "auto",
            on_bound=on_bound,
        )
        self.sandboxes[state.id] = state

    async def _launch(self, entry: Entry) -> None:
        """Its network, and its process: what that needs the supervisor makes while a new network gets its
        interfaces."""
        config, bundle = entry.config, self._assembly.bundle(entry.config.id)
        fields = self._launch_fields(entry)
        prepared: list[asyncio.Future[Result]] = []
        is_waiting = self._may_prepare(config, fields)

        def prepare() -> None:
            if not is_waiting:
                return
            with contextlib.suppress(SetpointError, OSError):  # it is met again below, and told
                self._assembly.complete(config)
                prepared.append(self._client.prepare(config.id, bundle, **fields))

        try:
            await self.make_sandbox(config, prepare)
            if not prepared:
                self._assembly.complete(config)
            if entry.has_started:
                records.remove(bundle, records.EXIT)
        except BaseException:
            is_waiting = False  # it may be made all the same
            await self._drop(config.id, prepared)
            raise
        if prepared:
            self._client.go(config.id)
        await self._launched(entry, fields, prepared)

    def _may_prepare(self, config: ContainerConfig, fields: Mapping[str, Any]) -> bool:
        """Not while its interfaces are yet to come where something is done with them: sysctls may be an
        interface's, and a restore brings its connections back."""
        has_sysctls = any(name.startswith("net.") for name in config.sysctls)
        return self._client.can_prepare and "restore" not in fields and not has_sysctls

    async def _drop(self, id: str, prepared: Sequence[asyncio.Future[Result]]) -> None:
        """End what waits for a network that failed; nothing of it stays."""
        for answer in prepared:
            self._client.drop(id)
            with contextlib.suppress(SetpointError, RuntimeError):
                await self._client.started(id, answer)
            with contextlib.suppress(SetpointError, OSError):
                await self._clear_cgroup(id)

    def _launch_fields(self, entry: Entry) -> dict[str, Any]:
        """What the supervisor is to know."""
        config = entry.config
        fields: dict[str, Any] = {
            "label": config.name,
            "stdin": config.stdin_open,
            "log_bytes": config.log_max_bytes,
            "log_files": config.log_max_files,
        }
        if (chosen := self._checkpoints.chosen(entry)) is not None:
            fields["restore"] = chosen
        return fields

    async def _launched(
        self, entry: Entry, fields: Mapping[str, Any], prepared: Sequence[asyncio.Future[Result]]
    ) -> None:
        """The process. One that an earlier life left in the cgroup is ended first."""
        config = entry.config
        bundle = self._assembly.bundle(config.id)
        try:
            if prepared:
                record = await self._client.started(config.id, prepared[0])
            else:
                record = await self._client.start(config.id, bundle, **fields)
        except Conflict as error:
            if error.op != "make cgroup":
                raise
            await self._clear_cgroup(config.id)
            record = await self._client.start(config.id, bundle, **fields)
        if "restore" in fields:
            self._checkpoints.started(entry)
        entry.is_paused = False
        container_record.mark_run(bundle)  # always: an event may have told us first that it runs
        self._supervised.started(entry, record)
        for warning in record.get("warnings", ()):
            self._events.publish("warning", config.id, warning)

    async def _clear_cgroup(self, id: str) -> None:
        path = self._assembly.cgroup(id)
        await asyncio.to_thread(cgroups.kill, path)
        await asyncio.to_thread(cgroups.delete, path, _CGROUP_SECONDS)

    async def stop(self, id: str, grace_seconds: float, signal: str = "") -> None:
        entry = self._index.get("stop", id)
        async with entry.lock:
            if entry.is_running:
                await self._end(entry, grace_seconds, signal)
                self._checkpoints.ended(entry)
        await self._release(entry)

    async def _end(self, entry: Entry, grace_seconds: float, signal: str) -> None:
        config, path = entry.config, self._assembly.cgroup(entry.config.id)
        if grace_seconds > 0:
            with contextlib.suppress(NotFound):  # it ended by itself, just now
                await self._client.call("signal", name=config.id, signal=self._stop_signal(config, signal))
            if entry.is_paused:
                await asyncio.to_thread(cgroups.thaw, path, PAUSE_SECONDS)
                entry.is_paused = False
            if await entry.wait_stopped(grace_seconds):
                return
        await asyncio.to_thread(_kill_all, path)
        if await entry.wait_ended(THAW_SECONDS):
            return
        await asyncio.to_thread(_kill_frozen, path)
        if not await entry.wait_ended(KILL_SECONDS - THAW_SECONDS):
            raise unkillable("stop", config.name, path)

    async def hasten(self, id: str, grace_seconds: float, signal: str = "") -> None:
        entry = self._index.find(id)
        if entry is None or not entry.hasten(grace_seconds) or grace_seconds <= 0:
            return
        with contextlib.suppress(NotFound):  # it has just ended
            await self._client.call("signal", name=id, signal=self._stop_signal(entry.config, signal))

    def _stop_signal(self, config: ContainerConfig, signal: str) -> int:
        is_said = signal or config.stop_signal or config.lower is not None
        image = None if is_said else self._images.get(config.image)
        return parse_signal(own_stop_signal(signal or config.stop_signal, image) or DEFAULT_STOP)

    async def _release(self, entry: Entry) -> None:
        """A stopped container's ports are free for others, unless another runs in its sandbox."""
        sandbox = entry.config.sandbox
        if sandbox.mode == "own" and sandbox.ports and self._index.pid_in_sandbox(sandbox.id) is None:
            await self._networks.release_ports(sandbox.id)

    async def signal(self, id: str, signal: str) -> None:
        entry = self._index.get("signal", id)
        if not entry.is_running:
            raise Conflict("signal", entry.config.name, "it does not run")
        number = parse_signal(signal)
        if entry.is_paused and number == signals.SIGKILL:
            await self.resume(id)
        try:
            entry.is_held = number in HOLDING if number in (*HOLDING, signals.SIGCONT) else entry.is_held
            await self._client.call("signal", name=id, signal=number)
        except NotFound:
            raise Conflict("signal", entry.config.name, "it has just ended") from None

    async def pause(self, id: str) -> None:
        await self._set_paused(id, "pause", is_paused=True)

    async def resume(self, id: str) -> None:
        await self._set_paused(id, "resume", is_paused=False)

    async def _set_paused(self, id: str, op: str, *, is_paused: bool) -> None:
        entry = self._index.get(op, id)
        async with entry.lock:
            if not entry.is_running:
                raise Conflict(op, entry.config.name, "it does not run")
            if entry.is_paused == is_paused:
                raise Conflict(op, entry.config.name, "it is paused" if is_paused else "it is not paused")
            change = cgroups.freeze if is_paused else cgroups.thaw
            await asyncio.to_thread(change, self._assembly.cgroup(id), PAUSE_SECONDS)
            entry.is_paused = is_paused

    async def update(self, id: str, resources: Resources) -> None:
        entry = self._index.get("update", id)
        async with entry.lock:
            if entry.config.resources == resources:
                return
            wanted = resources_to_oci(resources, strict=True)
            cgroup_limits.check(wanted, cgroups.hierarchies())
            config = with_resources(entry.config, resources)
            self._assembly.forget(id)  # a start makes its config of the record below
            if entry.is_running:
                oci = self._assembly.read_config(id)
                present = oci["linux"]["resources"]
                cgroup = self._assembly.cgroup(id)
                cgroups.update(cgroup, _all_limits(wanted, present, cgroup))
                oci["linux"]["resources"] = wanted | {"devices": present.get("devices", [])}
                self._assembly.write_config(id, oci)
            container_record.write(self._assembly.bundle(id), config, entry.created_at, lasting=True)
            if entry.has_started:
                container_record.mark_run(self._assembly.bundle(id))
            entry.config = config
            self._supervised.watch_memory(entry)

    async def delete(self, id: str) -> None:
        entry = self._index.find(id)
        if entry is None:
            return
        async with entry.lock:
            if entry.is_running:
                raise Conflict("delete", entry.config.name, "it runs", "stop it first")
            if self._index.find(id) is not entry:
                return
            await entry.end_copies(0)
            if not self._goes_behind(entry):
                await self._client.roots.wait_gone("delete", id, entry.config.name)
                await asyncio.to_thread(self._remove, id)
            self._assembly.forget(id)
            self._networks.give_back_ids(id)
            self._index.drop(entry)
            self._settle_guard(entry.config)

    def _goes_behind(self, entry: Entry) -> bool:
        """Set aside by a rename, which is all that anybody sees, and left to a thread: where no room on the
        disk is waited for, nor a process that what it shared with another container keeps alive."""
        id = entry.config.id
        is_quick = not entry.config.pid_mode and self._rubbish.has_room()
        if not is_quick or not is_little(self._assembly.bundle(id)):
            return False
        try:
            self._index.set_aside(id)
        except OSError:  # half of an earlier removal is in the way, or the disk: said by who waits for it
            return False
        self._rubbish.take(id)
        return True

    def _remove_rest(self, id: str) -> None:
        """In a thread of `rubbish`. What cannot be removed the next start tries again, and `doctor` names."""
        try:
            cgroups.delete(self._assembly.cgroup(id), _CGROUP_SECONDS)
        except (SetpointError, OSError) as error:
            log.warning("the control group of a container that is gone stays for now: %s", error)
        try:
            self._index.remove_aside(id)
        except OSError as error:
            log.warning("files of a container that is gone stay for now: %s", error)

    def _settle_guard(self, config: ContainerConfig) -> None:
        """Who may change interfaces came to a sandbox, or left it."""
        if is_router(config):
            self._networks.routers_changed(config.sandbox.id)

    def _remove(self, id: str) -> None:
        cgroups.delete(self._assembly.cgroup(id), _CGROUP_SECONDS)
        try:
            self._index.remove_files(id)
        except OSError as error:
            raise Temporary("delete", id, str(error)) from error


def _check(config: ContainerConfig) -> None:
    """An id becomes names of directories and of a cgroup."""
    if len(config.id) != 64 or not set(config.id) <= set("0123456789abcdef"):
        raise Invalid("create", config.name, f"{config.id[:80]!r} is not a container's id", "64 hex digits")


def _all_limits(wanted: dict[str, Any], had: dict[str, Any], path: str) -> dict[str, Any]:
    """The wanted limits, and "no limit" for those that were and are not any more."""
    none: dict[str, dict[str, Any]] = {
        "memory": {"limit": -1, "swap": -1, "reservation": -1},
        "cpu": {"quota": -1, "period": 100_000, "shares": 1024, "realtimeRuntime": 0},
        "pids": {"limit": -1},
    }
    if "swappiness" in (had.get("memory") or ()):
        none["memory"]["swappiness"] = cgroups.swappiness_of_parent(path)
    if not {"cpus", "mems"}.isdisjoint(had.get("cpu") or ()):
        none["cpu"] |= cgroups.cpuset_of_parent(path)
    merged = {name: dict(values) for name, values in wanted.items()}
    for group, values in none.items():
        for name, unlimited in values.items():
            if had.get(group, {}).get(name) is not None:
                merged.setdefault(group, {}).setdefault(name, unlimited)
    _add_lifted(merged, had.get("blockIO") or {})
    return merged


def _add_lifted(merged: dict[str, Any], had: dict[str, Any]) -> None:
    """Limits of block I/O that are no more, as what lifts them: 0."""
    block = merged.get("blockIO", {})
    for name, value in had.items():
        if name == "weight":
            block.setdefault(name, 0)
            continue
        kept = {(each["major"], each["minor"]) for each in block.get(name, ())}
        what = "weight" if name == "weightDevice" else "rate"
        gone = [{**each, what: 0} for each in value if (each["major"], each["minor"]) not in kept]
        if gone:
            block[name] = [*block.get(name, ()), *gone]
    if block:
        merged["blockIO"] = block


def _kill_all(path: str) -> None:
    """SIGKILL to the whole cgroup. A frozen one in a v1 freezer would not feel it."""
    if cgroups.is_frozen(path):
        with contextlib.suppress(SetpointError, OSError):
            cgroups.kill(path)
            cgroups.thaw(path, THAW_SECONDS)
    cgroups.kill(path)


def _kill_frozen(path: str) -> None:
    """The same for what the container, or somebody else, has frozen below its cgroup."""
    with contextlib.suppress(SetpointError, OSError):
        cgroups.thaw_below(path)
    with contextlib.suppress(OSError):
        cgroups.kill(path)
