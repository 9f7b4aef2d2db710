"""How much a container has written, and with its image is. Counts a tree; decides nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from agent.api.context import Context
from runtime import disk_use
from runtime.images.snapshots import UPPER
from runtime.model import ContainerState

COUNT_SECONDS = 10.0


async def sizes_of(context: Context, states: Sequence[ContainerState]) -> list[dict[str, int]]:
    """The fields that ?size= asks for, of each."""
    found = []
    for state, written in zip(states, await _written(context, [each.id for each in states]), strict=True):
        image = context.engine.image(state.image) if state.image else None
        whole_image = image.size_bytes if image is not None else 0
        found.append({"SizeRw": written, "SizeRootFs": written + whole_image})
    return found


async def written_bytes(context: Context, id: str) -> int:
    """What a container has written to its root, as far as it can be counted in a moment."""
    (found,) = await _written(context, [id])
    return found


async def _written(context: Context, ids: Sequence[str]) -> list[int]:
    """In one thread: to hand each over costs more than most take to count. Each has its time."""
    uppers: list[Path] = [context.settings.layout.containers / id / UPPER for id in ids]

    def count_all() -> list[int]:
        return [
            disk_use.count(upper, time.monotonic() + COUNT_SECONDS, time.time()).bytes for upper in uppers
        ]

    return await asyncio.to_thread(count_all)
