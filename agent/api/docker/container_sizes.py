"""How much a container has written, and with its image is. Counts a tree; decides nothing."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from agent.api.context import Context
from runtime import disk_use
from runtime.images.snapshots import UPPER
from runtime.model import ContainerState

COUNT_SECONDS = 10.0


async def sizes_of(context: Context, state: ContainerState) -> dict[str, int]:
    """The fields that ?size= asks for."""
    image = context.engine.image(state.image) if state.image else None
    written = await written_bytes(context, state.id)
    whole_image = image.size_bytes if image is not None else 0
    return {"SizeRw": written, "SizeRootFs": written + whole_image}


async def written_bytes(context: Context, id: str) -> int:
    """What a container has written to its root, as far as it can be counted in a moment."""
    upper: Path = context.settings.layout.containers / id / UPPER
    end = time.monotonic() + COUNT_SECONDS
    return (await asyncio.to_thread(disk_use.count, upper, end, time.time())).bytes
