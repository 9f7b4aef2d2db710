"""Drift of one instance: what notices it, what finds it, what puts it back. The engine's part below.

    a write, a removal ─ Tripwires ─┐
    a mount that went ── MountWatch ─┼─> on_hint(subjects) ─> … the agent asks find(subjects), then repair
    a link, a rule ───── Monitor ────┘

A subject is a container's or sandbox's id, a network's name, or "" for what is the host's as a whole. A
hint is never acted upon: find() looks. Containers are watched a moment after their start, off its path.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection
from pathlib import Path

from runtime.assembly import CONFIG, Assembly
from runtime.bundle import resources_to_oci
from runtime.container_index import ContainerIndex
from runtime.containers import Entry
from runtime.drift import limits
from runtime.drift.containers import ContainerDrift
from runtime.drift.mount_watch import MountWatch
from runtime.drift.tripwires import REMOVED, WRITTEN, Tripwires
from runtime.errors import NotFound
from runtime.layout import Layout
from runtime.model import Drift
from runtime.network import bridges
from runtime.network.networks import Networks
from runtime.supervisor import records
from runtime.supervisor.client import Client
from runtime.volume_mounts import VolumeMounts
from runtime.volumes import DATA, Volumes

ARM_SECONDS = 0.2
NETNS_SECONDS = 0.2  # our own starts bind namespaces too: one look after a burst of them
HOST = ""
_HOST_MOUNTS = "the host's mounts"
_RECORDS = frozenset((CONFIG, records.STATE, "resolv.conf", "hostname", "hosts"))
Hint = Callable[["frozenset[str] | None", str], None]


class Drifts:
    """on_hint gets subjects to look at (None: all) and what stirred, in a word."""

    def __init__(
        self, layout: Layout, index: ContainerIndex, assembly: Assembly, networks: Networks,
        volumes: Volumes, volume_mounts: VolumeMounts, client: Client, on_hint: Hint,
    ) -> None:  # fmt: skip
        self._layout = layout
        self._index = index
        self._assembly = assembly
        self._networks = networks
        self._volumes_directory = str(layout.volumes)
        self._on_hint = on_hint
        self._volume_mounts = volume_mounts
        self._containers = ContainerDrift(assembly, networks, volumes, volume_mounts, client)
        self._tripwires = Tripwires(self._on_files)
        # What containers may write, too. One that keeps writing costs others their hints, and no more.
        self._shared = Tripwires(lambda subjects: self._on_files(subjects or frozenset()))
        self._mounts = MountWatch(self._on_mounts)
        self._to_arm: set[str] = set()
        self._arming: asyncio.TimerHandle | None = None
        self._netns_look: asyncio.TimerHandle | None = None

    # --- from start to end

    def open(self) -> None:
        """Watch what is there. The networks and the containers' index are open."""
        self._tripwires.open()
        self._shared.open()
        self._mounts.open()
        self._mounts.watch(_HOST_MOUNTS, "self")
        run = self._layout.run
        self._shared.watch_directory(str(run / "hosts"), _itself, REMOVED | WRITTEN)
        self._tripwires.watch_directory(str(run / "sandboxes"), lambda name: (name.removesuffix(".json"),))
        for network in self._networks.list():
            self.watch_network(network.name)
        for entry in self._index:
            if entry.is_running:
                self.started(entry.config.id)

    def close(self) -> None:
        for timer in (self._arming, self._netns_look):
            if timer is not None:
                timer.cancel()
        self._mounts.close()
        self._tripwires.close()
        self._shared.close()

    # --- what is watched

    def running_changed(self, id: str, is_running: bool) -> None:
        """The supervisor's word, and each time it gives it."""
        if is_running:
            self.started(id)
        else:
            self.ended(id)

    def started(self, id: str) -> None:
        """A container runs: watch it soon."""
        self._to_arm.add(id)
        if self._arming is None:
            self._arming = asyncio.get_running_loop().call_later(ARM_SECONDS, self._arm)

    def ended(self, id: str) -> None:
        self._to_arm.discard(id)
        self._tripwires.forget(id)
        self._shared.forget(id)
        self._mounts.forget(id)
        self._containers.forget(id)

    def _arm(self) -> None:
        self._arming = None
        armed, self._to_arm = self._to_arm, set()
        for id in armed:
            entry = self._index.find(id)
            if entry is not None and entry.is_running:
                self._watch_container(entry)

    def _watch_container(self, entry: Entry) -> None:
        config, id = entry.config, entry.config.id
        self._tripwires.forget(id)
        self._shared.forget(id)
        for file in limits.files(self._assembly.cgroup(id), resources_to_oci(config.resources)):
            self._tripwires.watch(id, file)
        run = self._assembly.run_directory(id)
        self._shared.watch(id, f"{run}/resolv.conf")
        self._tripwires.watch_directory(run, lambda name: (id,) if name in _RECORDS else ())
        for mount in config.mounts:
            if mount.kind == "volume":
                self._watch_volume(mount.source)
        if any(mount.kind in ("volume", "bind") for mount in config.mounts) and entry.pid is not None:
            self._mounts.watch(id, entry.pid)

    def watch_network(self, name: str) -> None:
        """The sysctls of a network's bridge; again when the bridge was made anew."""
        self._tripwires.forget(name)
        for network in self._networks.list():
            if network.name == name:
                for path in bridges.sysctl_paths(network.bridge, has_ipv6=bool(network.subnet6)):
                    self._tripwires.watch(name, path)

    def _watch_volume(self, volume: str) -> None:
        def users_of(name: str) -> list[str]:
            return self._users_of(volume) if name == DATA else []

        self._tripwires.watch_directory(f"{self._volumes_directory}/{volume}", users_of)

    def _users_of(self, volume: str) -> list[str]:
        return [
            entry.config.id for entry in self._index if entry.is_running and volume in entry.config.volumes
        ]

    def _on_files(self, subjects: frozenset[str] | None) -> None:
        """Every end empties a cgroup: what has ended is nothing to look at. And every start and every end
        writes the hosts files of all peers: those are read here, before anybody looks at their links."""
        if subjects is not None:
            entries = {subject: self._index.find(subject) for subject in subjects}
            running = {
                subject for subject, entry in entries.items() if entry is not None and entry.is_running
            }
            others = {subject for subject, entry in entries.items() if entry is None}
            subjects = frozenset(running | self._networks.with_wrong_files(others))
        if subjects is None or subjects:
            self._on_hint(subjects, "files")

    def _on_mounts(self, subjects: frozenset[str]) -> None:
        if _HOST_MOUNTS in subjects and self._netns_look is None:
            self._netns_look = asyncio.get_running_loop().call_later(NETNS_SECONDS, self._look_at_host)
        if containers := subjects - {_HOST_MOUNTS}:
            self._on_hint(containers, "mounts")

    def _look_at_host(self) -> None:
        """Every start binds a namespace, so that a hint for each mount would be one for each start."""
        self._netns_look = None
        if lost := (*self._networks.lost_namespaces(), *self._volume_mounts.users_of_lost()):
            self._on_hint(frozenset(lost), "mounts")

    # --- looking and putting back

    async def find(self, subjects: Collection[str] | None = None) -> tuple[Drift, ...]:
        """All findings, or those of some subjects. Changes nothing."""
        only = None if subjects is None else frozenset(subjects)
        found = await asyncio.to_thread(self._networks.find_drift, only)
        entries = self._index if only is None else map(self._index.find, only)
        running = [entry for entry in entries if entry is not None and entry.is_running]
        return (*found, *(await asyncio.to_thread(self._find_in, running) if running else ()))

    def _find_in(self, running: list[Entry]) -> tuple[Drift, ...]:
        return tuple(drift for entry in running for drift in self._containers.find(entry))

    async def repair(self, drift: Drift) -> None:
        """Put one finding back. NotFound when its subject is gone, Temporary when only a restart helps."""
        entry = self._index.find(drift.subject)
        if entry is not None:
            await self._containers.repair(drift, entry)
            return
        self._networks.repair(drift)
        if drift.kind == "bridge":
            self.watch_network(drift.subject)
        if drift.kind == "hosts":
            await self._remount_hosts(drift.subject)

    async def _remount_hosts(self, sandbox: str) -> None:
        """A hosts file that was removed is another one now: containers have the old one still."""
        directory = Path(self._layout.run / "hosts")
        self._shared.watch_directory(str(directory), _itself, REMOVED | WRITTEN)
        for entry in list(self._index):
            if entry.config.sandbox.id == sandbox and entry.is_running:
                with contextlib.suppress(NotFound):
                    await self._containers.repair(Drift("mount", entry.config.id, "/etc/hosts"), entry)


def _itself(name: str) -> tuple[str]:
    return (name,)
