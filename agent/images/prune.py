"""What `system prune` takes: a list of things that go or stay, each with its reason; and its plain applier.

    plan_prune ─> Things, shown and asked about ─> apply_prune: the same again, and taken

Images are judged by the keeper. Containers and volumes go only when nothing wants them; volumes only when
they are asked for. Called by the API.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agent.images.keeper import ImageKeeper
from agent.reconcile.convert import LABEL_KEY
from runtime.disk_use import DiskUse
from runtime.errors import SetpointError
from runtime.images.collection import Asked, Judgement
from runtime.images.stock import Stock
from runtime.layout import Layout
from runtime.model import ContainerState, VolumeState

COUNT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Wishes:
    """all_unused, until_seconds: as `collection.Asked`. volumes: those that nothing wants, and their data."""

    all_unused: bool = False
    until_seconds: float = 0.0
    volumes: bool = False


@dataclass(frozen=True, slots=True)
class Thing:
    """kind: image, build cache, content, container, volume. bytes: what its going gives, or what it
    takes as it stays. error: why it did not go after all."""

    kind: str
    id: str
    name: str
    goes: bool
    why: str
    bytes: int = 0
    error: str = ""

    def view(self) -> dict[str, Any]:
        return asdict(self)


class Prune:
    """engine: the native one. wanted: keys of objects, as text, that somebody wants now."""

    def __init__(self, engine: Any, keeper: ImageKeeper, layout: Layout) -> None:
        self._engine = engine
        self._keeper = keeper
        self._layout = layout

    async def plan(self, wishes: Wishes, wanted: set[str], now: float) -> tuple[Thing, ...]:
        """What would go and what stays."""
        engine = self._engine
        judgements = await self._keeper.plan(Asked(wishes.all_unused, wishes.until_seconds))
        stock = await asyncio.to_thread(engine.images.stock)
        things = [*judge_containers(engine.list(), wanted, wishes, now)]
        things += map(image_of, judgements)
        if stock.cache_entries:
            things.append(build_cache_of(stock, wishes))
        if stock.litter_bytes:
            things.append(Thing("content", "", "", True, "no image needs it", stock.litter_bytes))
        volumes = judge_volumes(engine.list_volumes(), engine.volume_users(), wanted, wishes, now)
        sizes = await asyncio.to_thread(self._sizes, things, volumes)
        return tuple(_sized(thing, sizes) for thing in (*things, *volumes))

    async def apply(self, wishes: Wishes, wanted: set[str], now: float) -> tuple[Thing, ...]:
        """Take it; of what was to go, with what went wrong. Containers first: their images are free then."""
        engine = self._engine
        done = []
        for thing in await self.plan(wishes, wanted, now):
            if thing.goes and thing.kind in ("container", "volume"):
                remove = engine.delete if thing.kind == "container" else engine.delete_volume
                done.append(await _tried(thing, remove))
        stock = await asyncio.to_thread(engine.images.stock)
        litter = stock.litter_bytes
        if wishes.all_unused and await asyncio.to_thread(
            engine.images.prune_build_cache, wishes.until_seconds
        ):
            done.append(build_cache_of(stock, wishes))
        gone = await self._keeper.prune(Asked(wishes.all_unused, wishes.until_seconds))
        if litter:
            done.append(Thing("content", "", "", True, "no image needs it", litter))
        return (*done, *map(image_of, gone))

    def _sizes(self, *groups: Iterable[Thing]) -> dict[tuple[str, str], int]:
        paths: dict[Path, tuple[str, str]] = {}
        for thing in (each for group in groups for each in group):
            if thing.kind == "container":
                paths[self._layout.containers / thing.id] = (thing.kind, thing.id)
            if thing.kind == "volume":
                paths[self._layout.volumes / thing.id] = (thing.kind, thing.id)
        counted = DiskUse().of(paths, COUNT_SECONDS)
        return {paths[path]: use.bytes for path, use in counted.items()}


def image_of(judgement: Judgement) -> Thing:
    size = judgement.goes_bytes if judgement.goes else judgement.own_bytes
    name = ", ".join(judgement.names)
    return Thing("image", judgement.id, name, judgement.goes, judgement.why, size)


def build_cache_of(stock: Stock, wishes: Wishes) -> Thing:
    why = "it was asked for" if wishes.all_unused else "makes builds quick (--all takes it)"
    name = f"{stock.cache_entries} steps"
    return Thing("build cache", "", name, wishes.all_unused, why, stock.cache_bytes)


def judge_containers(
    states: Iterable[ContainerState], wanted: set[str], wishes: Wishes, now: float
) -> list[Thing]:
    """Stopped ones of objects that there are not any more. Those of objects are the loop's to remove."""
    found = []
    for state in states:
        if state.labels.get(LABEL_KEY, "") in wanted or state.phase in ("running", "paused"):
            continue
        age = now - (state.finished_at or state.created_at)
        goes = age >= wishes.until_seconds
        why = "stopped, and nothing wants it" if goes else "stopped, and not long enough ago"
        found.append(Thing("container", state.id, state.name, goes, why))
    return found


def judge_volumes(
    volumes: Iterable[VolumeState], users: Mapping[str, str], wanted: set[str], wishes: Wishes, now: float
) -> list[Thing]:
    """Never, but when they are asked for."""
    found = []
    for volume in volumes:
        if volume.labels.get(LABEL_KEY, "") in wanted or volume.name in users:
            continue
        is_old = now - volume.created_at >= wishes.until_seconds
        goes = wishes.volumes and is_old
        why = "nothing wants it" if goes else "nothing wants it; data stay unless --volumes says otherwise"
        if wishes.volumes and not is_old:
            why = "nothing wants it, and it is not old enough"
        found.append(Thing("volume", volume.name, volume.name, goes, why))
    return found


def _sized(thing: Thing, sizes: Mapping[tuple[str, str], int]) -> Thing:
    size = sizes.get((thing.kind, thing.id), thing.bytes)
    return Thing(thing.kind, thing.id, thing.name, thing.goes, thing.why, size)


async def _tried(thing: Thing, remove: Any) -> Thing:
    """One that does not go holds up no other."""
    try:
        await remove(thing.id)
    except SetpointError as error:
        return Thing(thing.kind, thing.id, thing.name, False, thing.why, 0, error.reason)
    return thing
