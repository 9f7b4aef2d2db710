"""What builds have kept of their steps: which of it goes in a prune. Pure but for `forget`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from runtime.images.build.cache import CachedStep


@dataclass(frozen=True, slots=True)
class Pruned:
    """space_bytes: of what nothing needs any more, taken from the disk."""

    keys: tuple[str, ...]
    space_bytes: int


@dataclass(frozen=True, slots=True)
class PruneWish:
    """unused_seconds: what was used within that time stays. keep_bytes: the newest stay up to that size.
    id: the beginning of a key."""

    unused_seconds: float = 0.0
    keep_bytes: int = 0
    id: str = ""


def size_of(step: CachedStep) -> int:
    return step.cached.layer.size_bytes if step.cached.layer is not None else 0


def choose(steps: Iterable[CachedStep], wish: PruneWish, now: float) -> tuple[str, ...]:
    """The keys of what goes, the oldest first."""
    found = sorted(steps, key=lambda step: (-step.used_at, step.key))
    kept, going = 0, []
    for step in found:
        kept += size_of(step)
        is_old = now - step.used_at >= wish.unused_seconds
        is_beyond = not wish.keep_bytes or kept > wish.keep_bytes
        if is_old and is_beyond and step.key.startswith(wish.id):
            going.append(step.key)
    return tuple(reversed(going))


async def forget(engine: Any, wish: PruneWish, now: float) -> Pruned:
    """Prune, and give the room back. Layers that images have stay, and count for nothing."""
    steps = await asyncio.to_thread(engine.images.build_steps)
    keys = choose(steps, wish, now)
    if not keys:
        return Pruned((), 0)
    gone = await asyncio.to_thread(engine.images.forget_build_steps, keys)
    stock = await asyncio.to_thread(engine.images.stock)
    await engine.collect_images({})
    return Pruned(gone, stock.litter_bytes)
