"""What must be back at its base line: counts of an instance's things, by kernel, disk and database. Only
reads."""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from agent.checker import kernel
from runtime.layout import Layout
from runtime.network import firewall

# How much more than at the base line is well, and why. All others must be equal.
#   memory: an allocator's pages come back in no order; what the agent reads at its start (events, revisions,
#   exits) grows to the bounds of those tables
#   threads and descriptors of the agent: pool threads are made at need, each with a connection to the store
#   descriptors of the supervisor: its own four namespaces, kept from the first start on
#   rows of events and revisions: bounded by the store's own keeping, which is tried elsewhere
LOOKS, PAUSE_SECONDS = 10, 0.1
TOLERANCES: dict[str, tuple[float, int]] = {
    "agent KiB": (0.10, 3072),
    "supervisor KiB": (0.15, 1024),
    "agent threads": (0.0, 8),
    "agent descriptors": (0.0, 12),
    "supervisor descriptors": (0.0, 4),
    "rows events": (0.0, 1 << 40),
    "rows revisions": (0.0, 1 << 40),
    "database KiB": (0.0, 1 << 40),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One gauge: at the base line, now, and the most that it may be."""

    name: str
    before: int
    now: int
    most: int

    @property
    def is_well(self) -> bool:
        return self.now <= self.most


def measure(layout: Layout, agent: int) -> dict[str, int]:
    """All gauges of an instance whose agent is the process `agent`: the least of some looks, since what was
    asked for last is still coming to its end. Of processes those that live through all looks: a container's
    own program forks short ones all the time."""
    looks, alive = [], []
    for _ in range(LOOKS):
        seen = kernel.read_kernel(layout)
        looks.append(_measure_once(layout, agent, seen))
        alive.append({pid for group in seen.groups if group.name for pid in group.pids})
        time.sleep(PAUSE_SECONDS)
    least = {name: min(look.get(name, 0) for look in looks) for name in looks[0]}
    return {**least, "processes": len(set.intersection(*alive))}


def _measure_once(layout: Layout, agent: int, seen: kernel.Kernel) -> dict[str, int]:
    supervisor = seen.supervisors[0].pid if seen.supervisors else 0
    listing = seen.listing or []
    return {
        **_of_process("agent", agent),
        **_of_process("supervisor", supervisor),
        "nft elements": len(firewall.listed_elements(listing)),
        "nft rules": sum("rule" in each for each in listing),
        "cgroups": len(seen.groups),
        "links": len(seen.links),
        "mounts": len(seen.mounts),
        "loop devices": len(seen.loops),
        "run files": sum(1 for _ in _files(layout.run)),
        "data files": sum(1 for _ in _data_files(layout)),
        **_rows(layout),
        "database KiB": sum(path.stat().st_size for path in layout.data.glob("setpoint.db*")) // 1024,
    }


def compare(before: Mapping[str, int], now: Mapping[str, int]) -> list[Measured]:
    return [Measured(name, before[name], value, _most(name, before[name])) for name, value in now.items()]


def _most(name: str, before: int) -> int:
    share, more = TOLERANCES.get(name, (0.0, 0))
    return int(before * (1 + share)) + more


def _of_process(name: str, pid: int) -> dict[str, int]:
    if not pid:
        return {f"{name} KiB": 0, f"{name} threads": 0, f"{name} descriptors": 0}
    base = Path(f"/proc/{pid}")
    rollup = (base / "smaps_rollup").read_text().splitlines()
    return {
        f"{name} KiB": next(int(line.split()[1]) for line in rollup if line.startswith("Pss:")),
        f"{name} threads": sum(1 for _ in (base / "task").iterdir()),
        f"{name} descriptors": sum(1 for _ in (base / "fd").iterdir()),
    }


def kinds_of_descriptors(pid: int) -> Counter[str]:
    """What a process has open, numbers left out."""
    found: Counter[str] = Counter()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        target = os.readlink(path)
        found["/".join(target.split("/")[-1:]) if target.startswith("/") else target.split(":")[0]] += 1
    return found


def _files(root: Path) -> Iterator[Path]:
    for path in root.iterdir():
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _files(path)


def _data_files(layout: Layout) -> Iterator[Path]:
    """Without what containers wrote, and without what has bounds of its own: logs and the database."""
    for path in _files(layout.data):
        is_theirs = {"upper", "_data", "log", "diff"} & set(path.relative_to(layout.data).parts)
        if not is_theirs and not path.name.startswith(("setpoint.db", "agent.log")):
            yield path


def _rows(layout: Layout) -> dict[str, int]:
    with closing(sqlite3.connect(f"file:{layout.database}?mode=ro", uri=True, timeout=10)) as connection:
        tables = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        return {
            f"rows {name}": connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
            for name in sorted(tables)
        }
