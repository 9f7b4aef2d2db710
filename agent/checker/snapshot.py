"""Which containers run now, and since when: what is compared with after a fault. Reads files and /proc."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.checker.disk import Bundle, Disk, read_disk
from agent.reconcile.convert import LABEL_INDEX, LABEL_KEY, LABEL_RECREATE_HASH
from runtime.layout import Layout


@dataclass(frozen=True, slots=True)
class Running:
    """One container. key: of the object that it is of ("" for what no agent made), index: which replica.
    pid 0: it does not run. spec_hash: of what it was made for; resources: its limits, which change without
    a restart."""

    id: str
    name: str
    key: str
    index: str
    pid: int
    start_time: int
    spec_hash: str
    log_bytes: int

    @property
    def is_live(self) -> bool:
        return self.pid != 0

    @property
    def process(self) -> tuple[int, int]:
        return self.pid, self.start_time


@dataclass(frozen=True, slots=True)
class Snapshot:
    """containers: by name. at: Unix seconds."""

    containers: Mapping[str, Running] = field(default_factory=dict)
    at: float = 0.0

    @property
    def live(self) -> tuple[Running, ...]:
        return tuple(each for each in self.containers.values() if each.is_live)


def take(layout: Layout) -> Snapshot:
    """What runs now."""
    at = time.time()
    return snapshot_of(read_disk(layout), at)


def snapshot_of(disk: Disk, at: float) -> Snapshot:
    """Of two bundles of one name, as while one replaces the other, the one that runs."""
    found: dict[str, Running] = {}
    for bundle in sorted(disk.bundles.values(), key=lambda each: (each.is_live, each.created_at)):
        found[bundle.name] = running_of(bundle)
    return Snapshot(found, at)


def running_of(bundle: Bundle) -> Running:
    labels, life = bundle.config.labels, bundle.life
    is_live = life is not None and life.is_there
    return Running(
        id=bundle.id,
        name=bundle.name,
        key=labels.get(LABEL_KEY, ""),
        index=labels.get(LABEL_INDEX, ""),
        pid=life.pid if life is not None and is_live else 0,
        start_time=life.start_time if life is not None and is_live else 0,
        spec_hash=labels.get(LABEL_RECREATE_HASH, ""),
        log_bytes=bundle.log_bytes,
    )
