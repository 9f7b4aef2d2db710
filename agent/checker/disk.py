"""What an instance's directories hold: records read, and names that no record explains. Reads only.

A file that vanishes while we look is as good as not there: the caller looks twice.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.checker import names
from agent.checker.processes import lives
from runtime import container_record
from runtime.errors import Invalid
from runtime.layout import Layout
from runtime.model import ContainerConfig
from runtime.network import records
from runtime.network.records import NetworkRecord, SandboxRecord
from runtime.supervisor import records as life_records


@dataclass(frozen=True, slots=True)
class Life:
    """state.json of a container: the process that the supervisor started. is_there: it lives now."""

    pid: int
    start_time: int
    is_there: bool


@dataclass(frozen=True, slots=True)
class Bundle:
    """One container. life: None when nothing says that it was started, or its end was noted. lacks: files
    that it needs while it runs, and that are gone."""

    id: str
    config: ContainerConfig
    created_at: float
    life: Life | None
    has_ended: bool
    log_bytes: int
    lacks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def is_live(self) -> bool:
        return self.life is not None and self.life.is_there


@dataclass(frozen=True, slots=True)
class Disk:
    """bundles, networks, sandboxes: by id or name. run_ids: of run directories that are there.
    strays: path -> why nothing explains it."""

    bundles: Mapping[str, Bundle] = field(default_factory=dict)
    networks: Mapping[str, NetworkRecord] = field(default_factory=dict)
    sandboxes: Mapping[str, SandboxRecord] = field(default_factory=dict)
    volumes: frozenset[str] = frozenset()
    run_ids: frozenset[str] = frozenset()
    lives: Mapping[str, Life] = field(default_factory=dict)
    strays: Mapping[str, str] = field(default_factory=dict)
    is_there: bool = False


def read_disk(layout: Layout) -> Disk:
    """All of it."""
    strays: dict[str, str] = {}
    run_ids = frozenset(_names(layout.run_containers))
    lives_ = {id: life for id in run_ids if (life := _life(layout, id)) is not None}
    bundles = _bundles(layout, lives_, strays)
    networks = _networks(layout, strays)
    sandboxes = _sandboxes(layout)
    volumes = _volumes(layout, strays)
    _stray_runs(layout, bundles, sandboxes, strays)
    _find_strangers(layout.data, names.DATA, strays)
    _find_strangers(layout.run, names.RUN, strays)
    return Disk(
        bundles, networks, sandboxes, volumes, run_ids, lives_, strays,
        is_there=layout.data.is_dir() or layout.run.is_dir(),
    )  # fmt: skip


def _names(directory: Path) -> list[str]:
    try:
        return [path.name for path in directory.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


# --- containers -----------------------------------------------------------------------------------


def _bundles(layout: Layout, found_lives: Mapping[str, Life], strays: dict[str, str]) -> dict[str, Bundle]:
    found = {}
    for name in _names(layout.containers):
        path = layout.containers / name
        read = None if name.startswith(".") else container_record.read(str(path))
        if read is None or read[0].id != name:
            strays[str(path)] = "a container's directory that is half made or half removed"
            continue
        has_ended = any(
            life_records.read(str(place / name), life_records.EXIT) is not None
            for place in (layout.containers, layout.run_containers)
        )
        life = found_lives.get(name)
        lacks = _lacks(layout, read[0]) if life is not None and life.is_there else ()
        found[name] = Bundle(name, *read, life, has_ended, _log_bytes(path / "log"), lacks)
        _find_strangers(path, names.BUNDLE, strays)
    return found


def _lacks(layout: Layout, config: ContainerConfig) -> tuple[str, ...]:
    there = set(_names(layout.run_containers / config.id))
    return tuple(name for name in names.needed(config) if name not in there)


def _life(layout: Layout, id: str) -> Life | None:
    record = life_records.read(f"{layout.run_containers}/{id}", life_records.STATE)
    if record is None:
        return None
    pid, start_time = _int(record.get("pid")), _int(record.get("start_time"))
    return Life(pid, start_time, bool(pid) and lives(pid, start_time, str(record.get("boot_id"))))


def _int(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _log_bytes(directory: Path) -> int:
    total = 0
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            total += entry.stat(follow_symlinks=False).st_size
    return total


# --- networks -------------------------------------------------------------------------------------


def _networks(layout: Layout, strays: dict[str, str]) -> dict[str, NetworkRecord]:
    found = {}
    for data in records.read_all(layout.networks):
        with contextlib.suppress(KeyError, TypeError, ValueError, Invalid):
            record = records.network_from(data)
            found[record.name] = record
    for name in _names(layout.networks):
        if name.removesuffix(".json") not in found or not name.endswith(".json"):
            strays[str(layout.networks / name)] = "not a network's record"
    return found


def _sandboxes(layout: Layout) -> dict[str, SandboxRecord]:
    """Of this boot; the others are as good as gone, and `_stray_runs` names them."""
    found = {}
    for data in records.read_all(layout.run / "sandboxes"):
        with contextlib.suppress(KeyError, TypeError, ValueError, Invalid):
            record = records.sandbox_from(data)
            if record.boot == life_records.boot_id():
                found[record.id] = record
    return found


# --- names that nothing explains ------------------------------------------------------------------


def _volumes(layout: Layout, strays: dict[str, str]) -> frozenset[str]:
    """Volumes are kept, whoever used them. What a removal or a filling left is not one."""
    found = set()
    for name in _names(layout.volumes):
        path = layout.volumes / name
        if name.startswith(".gone-"):
            strays[str(path)] = "a volume that is half removed"
            continue
        found.add(name)
        _find_strangers(path, names.VOLUME, strays)
    return frozenset(found)


def _stray_runs(
    layout: Layout,
    bundles: Mapping[str, Bundle],
    sandboxes: Mapping[str, SandboxRecord],
    strays: dict[str, str],
) -> None:
    for name in _names(layout.run_containers):
        if name not in bundles:
            strays[str(layout.run_containers / name)] = "the run directory of a container that is no more"
        else:
            _find_strangers(layout.run_containers / name, names.RUN_OF_ONE, strays)
    for directory in (layout.run / "sandboxes", layout.run / "hosts", layout.netns):
        for name in _names(directory):
            if name.removesuffix(".json") not in sandboxes:
                strays[str(directory / name)] = "belongs to a sandbox that is no more"


def _find_strangers(directory: Path, known: re.Pattern[str], strays: dict[str, str]) -> None:
    for name in _names(directory):
        if not known.fullmatch(name):
            strays[str(directory / name)] = _why(name)


def _why(name: str) -> str:
    if name.endswith((".new", ".tmp")):
        return "a file that was being written"
    if name == ".filling":
        return "half of a volume's first content"
    if name.startswith("supervisor.sock."):
        return "the socket of a supervisor that did not come up"
    return "nothing of ours has that name"


def below(directories: Iterable[Path], path: str) -> bool:
    """Whether a path is one of these, or in one."""
    return any(f"{path}/".startswith(f"{directory}/") for directory in directories)
