"""What of one running container is not as it was made: its process, limits, mounts and records.

find() reads and changes nothing, some 100 us a container; it may be called from another thread than the
event loop's. repair() puts one finding back by steps that may be repeated, and restarts nothing. What only
a restart would repair is Temporary. Called by `drifts`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime import cgroups, container_record
from runtime.assembly import CONFIG, Assembly
from runtime.bundle import resources_to_oci
from runtime.cgroup_limits import Write
from runtime.containers import Entry
from runtime.drift import limits, remount
from runtime.errors import Conflict, NotFound, SetpointError, Temporary
from runtime.model import ContainerConfig, Drift
from runtime.mounts import parse_mount
from runtime.network.networks import Networks
from runtime.supervisor import records
from runtime.supervisor.client import Client
from runtime.volume_mounts import VolumeMounts
from runtime.volumes import Volumes

THAW_SECONDS = 2.0
SIGCONT = 18
_FILES = ("hosts", "resolv.conf", "hostname")


@dataclass(frozen=True, slots=True)
class _Expected:
    """What a running container of this config is to have. limits: (file, what it says). rules: of devices,
    None where they cannot be told. mounts: (place in the container, path on the host)."""

    config: ContainerConfig
    resources: dict[str, Any]
    limits: tuple[tuple[str, Write], ...]
    joined: frozenset[str]
    rules: frozenset[str] | None
    mounts: tuple[tuple[str, str], ...]
    records: tuple[str, ...]


class ContainerDrift:
    """Of all containers of an instance."""

    def __init__(
        self, assembly: Assembly, networks: Networks, volumes: Volumes, volume_mounts: VolumeMounts,
        client: Client,
    ) -> None:  # fmt: skip
        self._assembly = assembly
        self._volume_mounts = volume_mounts
        self._networks = networks
        self._volumes = volumes
        self._client = client
        self._expected: dict[str, _Expected] = {}

    def forget(self, id: str) -> None:
        """It ended: with another start it may have other device rules."""
        self._expected.pop(id, None)

    def _expectation(self, config: ContainerConfig) -> _Expected:
        """Kept while the config is the same value: most looks find nothing, and this is most of a look."""
        known = self._expected.get(config.id)
        if known is None or known.config is not config:
            resources, path = resources_to_oci(config.resources), self._assembly.cgroup(config.id)
            known = _Expected(
                config, resources, limits.wanted(path, resources), limits.joined(resources),
                self._rules_of(config.id), tuple(self._sources(config)), self._records_of(config.id),
            )  # fmt: skip
            self._expected[config.id] = known
        return known

    # --- looking

    def find(self, entry: Entry) -> tuple[Drift, ...]:
        """All findings of a container; () for one that does not run, or ends while we look."""
        pid, id = entry.pid, entry.config.id
        if pid is None or entry.lock.locked():  # what is being changed is looked at afterwards
            return ()
        try:
            found = tuple(Drift(kind, id, detail) for kind, detail in self._find(entry, pid))
        except OSError:
            if entry.is_running and not _has_ended(pid):
                raise
            return ()
        return found if entry.is_running and not entry.lock.locked() else ()

    def _find(self, entry: Entry, pid: int) -> Iterator[tuple[str, str]]:
        path = self._assembly.cgroup(entry.config.id)
        is_frozen = cgroups.is_frozen(path)
        if is_frozen != entry.is_paused:
            seen = "somebody froze its cgroup" if is_frozen else "somebody let it go on while it is paused"
            yield "freezer", seen
        elif not entry.is_held and _state_of(pid) == "T":
            yield "process", "its first process is stopped (SIGSTOP)"
        if told := self._limits(entry.config, path, pid):
            yield "cgroup", "; ".join(told)
        for target, fault in self._mounts(entry.config, pid):
            yield "mount", f"{target} {fault}"
        if names := self._volume_mounts.lost_of(entry.config):
            yield "mount", f"volume {', '.join(names)} is not mounted on the host"
        if lost := self._lost_records(entry.config):
            yield "record", f"{', '.join(lost)} missing"
        if empty := self._assembly.empty_files(entry.config):
            yield "mount", f"{', '.join(empty)} gone, empty or over 1 MiB"

    def _limits(self, config: ContainerConfig, path: str, pid: int) -> tuple[str, ...]:
        expected = self._expectation(config)
        left = limits.has_left(path, pid, expected.joined)
        moved = (f"process {pid} was moved out of its cgroup ({', '.join(left)})",) if left else ()
        devices = limits.find_devices(path, expected.rules) if expected.rules is not None else ()
        return (*limits.find(expected.limits), *devices, *moved)

    def _rules_of(self, id: str) -> frozenset[str] | None:
        with contextlib.suppress(NotFound):  # its run directory may be what was damaged
            return limits.device_rules(
                self._assembly.read_config(id)["linux"]["resources"].get("devices", ())
            )
        return None

    def _mounts(self, config: ContainerConfig, pid: int) -> Iterator[tuple[str, str]]:
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for target, source in self._expectation(config).mounts:
                if fault := remount.fault(pid, root, target, source):
                    yield target, fault
        finally:
            os.close(root)

    def _sources(self, config: ContainerConfig) -> Iterator[tuple[str, str]]:
        """(place in the container, path on the host) of what is mounted from the host."""
        own = set()
        for mount in config.mounts:
            own.add(mount.target.rstrip("/"))
            if mount.kind == "bind":
                yield mount.target, mount.source
            elif mount.kind == "volume":
                with contextlib.suppress(NotFound):
                    yield mount.target, os.fspath(self._volumes.path(mount.source))
        for name in _FILES:
            if f"/etc/{name}" not in own and not (name == "hostname" and config.uts_mode == "host"):
                yield f"/etc/{name}", self._file(config, name)

    def _file(self, config: ContainerConfig, name: str) -> str:
        if name == "hosts" and config.sandbox.mode != "host":
            return self._networks.hosts_path(config.sandbox.id)
        return f"{self._assembly.run_directory(config.id)}/{name}"

    def _records_of(self, id: str) -> tuple[str, ...]:
        """Without them a later agent or supervisor would not know the container."""
        run, bundle = self._assembly.run_directory(id), self._assembly.bundle(id)
        return (f"{bundle}/{container_record.NAME}", f"{run}/{CONFIG}", f"{run}/{records.STATE}")

    def _lost_records(self, config: ContainerConfig) -> list[str]:
        wanted = self._expectation(config).records
        return [path.rpartition("/")[2] for path in wanted if not os.path.exists(path)]  # noqa: PTH110

    # --- putting back

    async def repair(self, drift: Drift, entry: Entry) -> None:
        """Put one finding back. NotFound when the container has ended meanwhile."""
        config, pid = entry.config, entry.pid
        if pid is None:
            raise NotFound("repair", config.name, "it does not run any more")
        try:
            await self._repair(drift, entry, pid)
        except OSError as error:
            if not entry.is_running:
                raise NotFound("repair", config.name, "it has just ended") from None
            reason = error.strerror or str(error)
            raise Conflict("repair", config.name, reason, "it is tried again") from error

    async def _repair(self, drift: Drift, entry: Entry, pid: int) -> None:
        config, path = entry.config, self._assembly.cgroup(entry.config.id)
        match drift.kind:
            case "process":
                await self._client.call("signal", name=config.id, signal=SIGCONT)
            case "freezer":
                await asyncio.to_thread(_set_frozen, path, entry.is_paused)
            case "cgroup":
                self._repair_limits(config, path, pid)
            case "mount":
                await self._volume_mounts.put_back(config, pid)
                self._restore_files(config)
                self._remount(config, pid)
            case "record":
                await self._restore_records(entry)
            case _:
                raise NotFound("repair", drift.kind, "there is no such drift of a container")

    def _repair_limits(self, config: ContainerConfig, path: str, pid: int) -> None:
        expected = self._expectation(config)
        if limits.has_left(path, pid, expected.joined):
            limits.take_in(path, pid)
        limits.put_back(path, expected.resources)
        if expected.rules is not None:
            limits.put_devices_back(path, expected.rules)

    def _restore_files(self, config: ContainerConfig) -> None:
        """What was mounted, on the host, where it is gone: names as they were, volumes as empty as they
        are now."""
        for mount in config.mounts:
            if mount.kind == "volume":
                self._volumes.restore(mount.source)
        if config.sandbox.mode != "host":
            self._networks.restore_hosts(config.sandbox.id)
        self._assembly.restore_files(config)

    def _remount(self, config: ContainerConfig, pid: int) -> None:
        faulty = {target.rstrip("/") for target, _ in self._mounts(config, pid)}
        if not faulty:
            return
        own = {mount.target.rstrip("/") for mount in config.mounts}
        for each in self._oci(config)["mounts"]:
            if each["destination"].rstrip("/") in faulty:
                self._remount_one(config, pid, each, is_own=each["destination"].rstrip("/") in own)

    def _remount_one(self, config: ContainerConfig, pid: int, oci: dict[str, Any], *, is_own: bool) -> None:
        """Temporary, which asks for a restart, when data that the manifest promises cannot be mounted."""
        try:
            remount.put_back(pid, parse_mount(oci, self._assembly.bundle(config.id)))
        except OSError as error:
            if not is_own or not Path(f"/proc/{pid}").exists():
                raise
            reason = f"mount {oci['destination']}: {error.strerror or error}"
            raise Temporary("repair", config.name, reason, "it is restarted") from error

    def _oci(self, config: ContainerConfig) -> dict[str, Any]:
        with contextlib.suppress(NotFound):
            return self._assembly.read_config(config.id)
        return self._assembly.restore_config(config)

    async def _restore_records(self, entry: Entry) -> None:
        config, id = entry.config, entry.config.id
        lost = self._lost_records(config)
        for directory in (self._assembly.run_directory(id), self._assembly.bundle(id)):
            os.makedirs(directory, 0o700, exist_ok=True)  # noqa: PTH103
        if container_record.NAME in lost:
            container_record.write(self._assembly.bundle(id), config, entry.created_at)
        if CONFIG in lost:
            self._assembly.restore_config(config)
        if records.STATE in lost:
            with contextlib.suppress(SetpointError):  # it has ended, or the supervisor has
                record = await self._client.call("state", name=id)
                records.write(self._assembly.run_directory(id), records.STATE, record)


def _set_frozen(path: str, is_paused: bool) -> None:
    try:
        (cgroups.freeze if is_paused else cgroups.thaw)(path, THAW_SECONDS)
    except Temporary as error:  # which would ask for a restart
        raise Conflict(error.op, error.subject, error.reason, error.hint) from error


def _has_ended(pid: int) -> bool:
    """Also of one whose end we have not heard of yet: it is there, and has no root any more."""
    try:
        return _state_of(pid) in "ZX"
    except OSError:
        return True


def _state_of(pid: int) -> str:
    """R, S, D, T … of proc(5)."""
    stat = Path(f"/proc/{pid}/stat").read_bytes()
    return chr(stat[stat.rindex(b")") + 2])
