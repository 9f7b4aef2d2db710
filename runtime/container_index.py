"""The engine's containers by id and by name, and the directories on disk that say which there are.

    containers/<id>/         a bundle: whole when its container.json is there
    containers/.gone-<id>    one on its way out
    containers/.broken-<id>  one whose record could not be read: for a person to look at

Filled at `open`, kept by the engine's own calls. Decides nothing about what runs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runtime import container_record
from runtime.containers import Entry
from runtime.errors import Conflict, NotFound
from runtime.layout import Layout
from runtime.model import ContainerConfig
from runtime.removal import remove_tree
from runtime.security import may_route
from runtime.supervisor import records

log = logging.getLogger(__name__)

GONE = ".gone-"
BROKEN = ".broken-"


def is_router(config: ContainerConfig) -> bool:
    """Whether a container may change the interfaces of the sandbox that it is in."""
    security = config.security
    return config.sandbox.mode != "host" and may_route(
        security.cap_add, security.cap_drop, security.privileged
    )


class ContainerIndex:
    """All containers of an instance, in memory."""

    def __init__(self, layout: Layout) -> None:
        self._containers = layout.containers
        self._run = os.fspath(layout.run_containers)
        self._entries: dict[str, Entry] = {}
        self._names: dict[str, str] = {}
        self._members: dict[str, dict[str, Entry]] = {}  # sandbox -> the containers in it, by their ids
        self._routers: dict[str, set[str]] = {}  # sandbox -> containers in it that may change its interfaces
        self._holders: dict[str, dict[str, None]] = {}  # volume -> containers that have it, oldest first

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def images(self) -> set[str]:
        """The ids of the images that containers have."""
        return {entry.config.image for entry in self if entry.config.image}

    def find(self, id: str) -> Entry | None:
        return self._entries.get(id)

    def get(self, op: str, id: str) -> Entry:
        entry = self._entries.get(id)
        if entry is None:
            raise NotFound(op, id[:12], "there is no such container")
        return entry

    def holder_of(self, name: str) -> str | None:
        """The id of the container that has a name."""
        return self._names.get(name)

    @property
    def names(self) -> Mapping[str, str]:
        """Name -> id; live, read only. A container that is being renamed has both names."""
        return self._names

    def ids_with(self, prefix: str) -> list[str]:
        """The ids that begin so."""
        return [id for id in self._entries if id.startswith(prefix)]

    def add(self, entry: Entry) -> None:
        self._entries[entry.config.id] = entry
        self._names[entry.config.name] = entry.config.id
        self._members.setdefault(entry.config.sandbox.id, {})[entry.config.id] = entry
        if is_router(entry.config):
            self._routers.setdefault(entry.config.sandbox.id, set()).add(entry.config.id)
        for volume in entry.config.volumes:
            self._holders.setdefault(volume, {})[entry.config.id] = None

    def drop(self, entry: Entry) -> None:
        self._entries.pop(entry.config.id, None)
        self.release(entry.config.name, entry)
        members = self._members.get(entry.config.sandbox.id, {})
        members.pop(entry.config.id, None)
        if not members:
            self._members.pop(entry.config.sandbox.id, None)
        routers = self._routers.get(entry.config.sandbox.id, set())
        routers.discard(entry.config.id)
        if not routers:
            self._routers.pop(entry.config.sandbox.id, None)
        for volume in entry.config.volumes:
            holders = self._holders.get(volume, {})
            holders.pop(entry.config.id, None)
            if not holders:
                self._holders.pop(volume, None)

    def holders_of(self, volume: str) -> tuple[str, ...]:
        """The ids of the containers that have a volume."""
        return tuple(self._holders.get(volume, ()))

    def held_volumes(self) -> dict[str, tuple[str, ...]]:
        """Volume -> the ids of the containers that have it."""
        return {volume: tuple(holders) for volume, holders in self._holders.items()}

    def has_router(self, sandbox: str) -> bool:
        """Whether one of the containers in a sandbox, running or not, may change its interfaces."""
        return sandbox in self._routers

    def hold(self, name: str, entry: Entry) -> None:
        """Keep a name for a container that is to have it. Conflict when another one has it."""
        holder = self._names.setdefault(name, entry.config.id)
        if holder != entry.config.id:
            raise Conflict(
                "rename", entry.config.name, f"{holder[:12]} has the name {name}", "delete that one first"
            )

    def release(self, name: str, entry: Entry) -> None:
        """It has this name no more, if it had."""
        if self._names.get(name) == entry.config.id:
            del self._names[name]

    def pid_of(self, id: str) -> int | None:
        entry = self._entries.get(id)
        return entry.pid if entry is not None else None

    def process_of(self, id: str) -> tuple[int, int] | None:
        """The first process of a container that runs, by its number and its start time."""
        entry = self._entries.get(id)
        return entry.process if entry is not None and entry.pid is not None else None

    def by_first_pid(self, pid: int) -> str | None:
        """Whose first process has this number, or had it in the latest life."""
        return next((id for id, entry in self._entries.items() if entry.process[0] == pid), None)

    def pid_in_sandbox(self, sandbox: str) -> int | None:
        """Of the oldest container that runs in it."""
        members = self._members.get(sandbox, {}).values()
        return next((entry.pid for entry in members if entry.is_running), None)

    # --- on disk

    def read(self) -> None:
        """Whole bundles become entries; half-made ones and those on their way out are removed. One whose
        record is damaged, or too new to be understood, is set aside with all that its container wrote."""
        for path in self._containers.iterdir():
            if path.name.startswith(BROKEN):
                continue
            found = None if path.name.startswith(".") else container_record.read(str(path))
            if found is None or found[0].id != path.name:
                self._clear(path)
                continue
            entry = Entry(*found)
            self.add(entry)
            exit_record = self.exit_record(entry.config.id)
            if exit_record is not None:
                entry.ended(exit_record)
            has_run = container_record.has_run(str(path)) or (path / "log").exists()
            entry.has_started = exit_record is not None or has_run

    def _clear(self, path: Path) -> None:
        is_damaged = not path.name.startswith(".") and container_record.is_there(str(path))
        with contextlib.suppress(OSError):
            if not is_damaged:
                remove_tree(path)
                return
            aside = path.with_name(f"{BROKEN}{path.name}-{int(time.time())}")
            log.warning(
                "the record of container %s cannot be read: its files are kept in %s", path.name, aside
            )
            path.rename(aside)

    def exit_record(self, id: str) -> dict[str, Any] | None:
        """How the container ended last, as the supervisor wrote it down."""
        for directory in (f"{self._containers}/{id}", f"{self._run}/{id}"):
            record = records.read(directory, records.EXIT)
            if record is not None:
                return record
        return None

    def set_aside(self, id: str) -> None:
        """From now on, after a crash too, it is not a container but rubbish. OSError."""
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{self._containers}/{id}", self._gone(id))  # noqa: PTH104 - for every removal

    def remove_files(self, id: str) -> None:
        """All of a container, which may be set aside already. OSError."""
        remove_tree(self._gone(id))
        self.set_aside(id)
        self.remove_aside(id)

    def remove_aside(self, id: str) -> None:
        """What is left of one that was set aside. OSError."""
        remove_tree(f"{self._run}/{id}")
        remove_tree(self._gone(id))

    def _gone(self, id: str) -> str:
        return f"{self._containers}/{GONE}{id}"
