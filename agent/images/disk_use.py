"""What an instance takes on its disk, by kind: for `system df`. Sizes that are kept are used as they are;
writable layers and volumes are counted, within a time.

Called by the API. Changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from agent.images.keeper import ImageKeeper
from runtime.disk import room
from runtime.disk_use import DiskUse, TreeUse
from runtime.images.collection import Holding, Judgement
from runtime.images.stock import Stock
from runtime.layout import Layout
from runtime.model import ContainerState, VolumeState

COUNT_SECONDS = 2.0  # for all trees together; what is not done by then is said to be more


class InstanceUse:
    """engine: the native one."""

    def __init__(self, engine: Any, keeper: ImageKeeper, layout: Layout) -> None:
        self._engine = engine
        self._keeper = keeper
        self._layout = layout
        self._trees = DiskUse()

    async def look(self, seconds: float = COUNT_SECONDS) -> dict[str, Any]:
        """All of it as JSON data. Bytes."""
        judgements = await self._keeper.look_only()
        states, all_volumes = self._engine.list(), self._engine.list_volumes()
        volumes = tuple(volume for volume in all_volumes if not volume.options)  # theirs is elsewhere
        return await asyncio.to_thread(self._count, judgements, states, volumes, seconds)

    def _count(
        self,
        judgements: tuple[Judgement, ...],
        states: tuple[ContainerState, ...],
        volumes: tuple[VolumeState, ...],
        seconds: float,
    ) -> dict[str, Any]:
        """In a thread: trees may be large and disks slow."""
        layout = self._layout
        uppers = {state.id: layout.containers / state.id / "upper" for state in states}
        data = {volume.name: layout.volumes / volume.name / "_data" for volume in volumes}
        trees = self._trees.of((*uppers.values(), *data.values()), seconds)
        containers = [
            {"name": state.name, "id": state.id, "running": _runs(state), **_view(trees[uppers[state.id]])}
            for state in states
        ]
        kept = [{"name": volume.name, **_view(trees[data[volume.name]])} for volume in volumes]
        found, stock = room(layout.data), self._engine.images.stock()
        return {
            "images": self._images(judgements, stock),
            "build_cache": {"count": stock.cache_entries, "bytes": stock.cache_bytes},
            "containers": _sum(containers, in_use=sum(each["running"] for each in containers)),
            "volumes": _sum(kept, in_use=len(kept)),
            "logs": _files(file for state in states for file in _below(layout.containers / state.id / "log")),
            "database": _files(layout.data.glob("setpoint.db*")),
            "ballast": _files(_below(layout.data / "ballast")),
            "disk": {"total_bytes": found.total_bytes, "free_bytes": found.free_bytes},
            "counted_seconds": seconds,
        }

    def _images(self, judgements: tuple[Judgement, ...], stock: Stock) -> dict[str, Any]:
        holdings: tuple[Holding, ...] = self._engine.images.holdings()
        roots = self._keeper.roots(holdings)
        why = {each.id: each for each in judgements}
        users: dict[str, int] = {}
        for holding in holdings:
            for part in holding.parts:
                users[part] = users.get(part, 0) + 1
        free = {holding.id for holding in holdings} - roots.keys()
        return {
            "count": len(holdings),
            "in_use": len(holdings) - len(free),
            "bytes": stock.packed_bytes + stock.layer_bytes + stock.litter_bytes,
            "packed_bytes": stock.packed_bytes,
            "layers": stock.layers,
            "layer_bytes": stock.layer_bytes,
            "shared_bytes": stock.shared_bytes,
            "litter_bytes": stock.litter_bytes,
            "reclaimable_bytes": stock.litter_bytes + _only_of(holdings, free),
            "items": [
                {
                    "id": holding.id,
                    "names": list(holding.names),
                    "bytes": sum(holding.parts.values()),
                    "unshared_bytes": sum(size for part, size in holding.parts.items() if users[part] == 1),
                    "used_at": why[holding.id].used_at if holding.id in why else None,
                    "why": why[holding.id].why if holding.id in why else "",
                }
                for holding in holdings
            ],
        }


def _only_of(holdings: tuple[Holding, ...], free: set[str]) -> int:
    """The bytes that nobody but these has."""
    needed = {part for holding in holdings if holding.id not in free for part in holding.parts}
    return sum(
        {
            part: size
            for holding in holdings
            if holding.id in free
            for part, size in holding.parts.items()
            if part not in needed
        }.values()
    )


def _runs(state: ContainerState) -> bool:
    return state.phase in ("running", "paused")


def _view(use: TreeUse) -> dict[str, Any]:
    return {"bytes": use.bytes, "is_whole": use.is_whole, "counted_at": use.at}


def _sum(items: list[dict[str, Any]], in_use: int) -> dict[str, Any]:
    return {
        "count": len(items),
        "in_use": in_use,
        "bytes": sum(item["bytes"] for item in items),
        "is_whole": all(item["is_whole"] for item in items),
        "items": items,
    }


def _below(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []


def _files(paths: Iterable[Path]) -> dict[str, Any]:
    """Allocated bytes, as the trees are counted."""
    count = size = 0
    for path in paths:
        with contextlib.suppress(OSError):
            size += path.lstat().st_blocks * 512
            count += 1
    return {"count": count, "bytes": size}
