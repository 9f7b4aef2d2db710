"""The keeper over an engine of names alone: what it takes, notes, tells and holds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.images.keeper import IMAGES, USED_STEP_SECONDS, ImageKeeper
from agent.images.notes import Notes
from runtime.errors import Invalid, NotFound, Temporary
from runtime.images.collection import DAY, Asked, Holding, Rules
from runtime.model import ImageInfo
from store.errors import Unavailable
from store.image_memory import GoodImageRecord, ImageMemory, ImageRecord
from store.records import Key, ObjectRecord

WEB = Key("shop", "container", "web")


def info(id: str) -> ImageInfo:
    return ImageInfo(id, (f"lab/{id}:1",), 10, 0.0, "amd64", "linux")


def holding(id: str) -> Holding:
    return Holding(id, (f"lab/{id}:1",), {id: 1_000_000})


@dataclass
class Engine:
    layout: Any
    held: list[Holding]
    busy: set[str] = field(default_factory=set)
    taken: list[Mapping[str, tuple[str, ...]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.images = SimpleNamespace(holdings=lambda: tuple(self.held), prune_build_cache=lambda _seconds: 0)
        self.pulls = SimpleNamespace(running=lambda: ())

    def list(self) -> tuple[()]:
        return ()

    def images_in_use(self) -> set[str]:
        return set()

    def image(self, reference: str) -> ImageInfo | None:
        return next((info(h.id) for h in self.held if reference in (h.id, *h.names)), None)

    async def collect_images(self, judged: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
        self.taken.append(judged)
        self.held = [h for h in self.held if h.id not in judged or h.id in self.busy]
        return tuple(id for id in judged if id not in self.busy)


class Loop:
    def __init__(self) -> None:
        self.wanted: dict[Key, ObjectRecord] = {}
        self.image: ImageInfo | None = None
        self.events: list[tuple[Key, str, str, str]] = []
        self.changed = 0
        self.is_stored = True
        self.journal = SimpleNamespace(notes=Notes(), flush=self.flush)

    def objects(self) -> dict[Key, ObjectRecord]:
        return self.wanted

    def image_of(self, key: Key) -> ImageInfo | None:
        return self.image

    def image_changed(self, reference: str = "") -> None:
        self.changed += 1

    def note(self, key: Key, type: str, reason: str, message: str) -> None:
        self.events.append((key, type, reason, message))

    async def flush(self) -> bool:
        return self.is_stored

    def want(self, image: str, revision: str = "c0ffee") -> None:
        self.image = info(image)
        self.wanted[WEB] = ObjectRecord(
            WEB, "git", {"image": f"lab/{image}:1"}, "", 1, 1, "shop/compose.yaml", 3, revision
        )


class World:
    def __init__(self, tmp_path: Path, *ids: str, rules: Rules = Rules(high=1.0, low=1.0)) -> None:
        self.now = 1_000_000_000.0
        self.engine = Engine(SimpleNamespace(images=tmp_path), [holding(id) for id in ids])
        self.loop = Loop()
        self.keeper = ImageKeeper(self.engine, self.loop, ImageMemory, rules, 300.0, lambda: self.now)


async def test_what_was_used_long_ago_goes_and_is_told(tmp_path: Path) -> None:
    world = World(tmp_path, "a", "b")
    world.loop.want("a")
    await world.keeper.look()
    assert not world.engine.taken
    world.now += 31 * DAY
    await world.keeper.look()
    assert world.engine.taken == [{"b": ("lab/b:1",)}] and world.loop.changed == 1
    assert world.loop.events == [
        (IMAGES, "Normal", "ImageCollected", "lab/b:1 went, 1.0 MB: unused for 31 days")
    ]
    await world.keeper.look()
    assert world.keeper.notes.images().keys() == {"a"}


async def test_one_that_came_to_be_needed_is_not_told_as_gone(tmp_path: Path) -> None:
    world = World(tmp_path, "a")
    await world.keeper.look()
    world.engine.busy, world.now = {"a"}, world.now + 31 * DAY
    await world.keeper.look()
    assert world.engine.taken and not world.loop.events


async def test_use_is_noted_in_steps_and_a_clock_set_back_makes_nothing_older(tmp_path: Path) -> None:
    world = World(tmp_path, "a")
    world.loop.want("a")
    await world.keeper.look()
    first = world.keeper.notes.image("a")
    world.now += USED_STEP_SECONDS / 2
    await world.keeper.look()
    assert world.keeper.notes.image("a") == first
    world.now += USED_STEP_SECONDS
    await world.keeper.look()
    noted = world.keeper.notes.image("a")
    assert noted is not None and noted.used_at == world.now
    world.now -= 100 * DAY
    await world.keeper.look()
    noted = world.keeper.notes.image("a")
    assert noted is not None and noted.used_at == world.now


async def test_the_last_good_image_outlives_the_next_and_its_object(tmp_path: Path) -> None:
    world = World(tmp_path, "a", "b", "c")
    for image in "abc":
        world.loop.want(image, revision=image * 12)
        world.keeper.settled(WEB)
        world.keeper.settled(WEB)
        world.now += 31 * DAY
    await world.keeper.look()
    assert [set(each) for each in world.engine.taken] == [] and [
        record.image for record in world.keeper.notes.good()[WEB]
    ] == ["c", "b"]
    world.now += 31 * DAY
    await world.keeper.look()
    assert world.engine.taken == [{"a": ("lab/a:1",)}]
    world.loop.wanted.clear()
    await world.keeper.look()
    world.now += 6 * DAY
    await world.keeper.look()
    assert [record.image for record in world.keeper.notes.good()[WEB]] == ["c"]
    world.now += 60 * DAY
    await world.keeper.look()
    assert world.keeper.notes.good() == {} and world.engine.held == []


async def test_back_to_an_image_makes_it_the_newest_again(tmp_path: Path) -> None:
    world = World(tmp_path, "a", "b")
    for image in "aba":
        world.now += 1
        world.loop.want(image)
        world.keeper.settled(WEB)
    assert [record.image for record in world.keeper.notes.good()[WEB]] == ["a", "b"]
    world.loop.image = None
    world.keeper.settled(WEB)
    world.keeper.settled(Key("shop", "container", "other"))
    assert len(world.keeper.notes.good()) == 1


async def test_a_lease_keeps_until_it_is_over_or_let_go(tmp_path: Path) -> None:
    world = World(tmp_path, "a", "b")
    keeper = world.keeper
    await keeper.look()
    lease = await keeper.lease("lab/a:1", 20 * DAY, "ci")
    other = await keeper.lease("b", 20 * DAY, "ci")
    longer = await keeper.lease("lab/a:1", 29 * DAY, "ci", lease.id)
    assert longer.made_at == lease.made_at and {each.id for each in keeper.leases()} == {lease.id, other.id}
    await keeper.release(other.id)
    world.now += 25 * DAY
    await keeper.look()
    world.now += 6 * DAY
    await keeper.look()
    assert world.engine.taken == [{"b": ("lab/b:1",)}]  # to be held is to be used
    world.now += 31 * DAY
    await keeper.look()
    assert world.engine.taken[1] == {"a": ("lab/a:1",)} and keeper.leases() == ()


async def test_a_lease_that_cannot_be_stored_is_none(tmp_path: Path) -> None:
    world = World(tmp_path, "a")
    world.loop.is_stored = False
    with pytest.raises(Temporary):
        await world.keeper.lease("lab/a:1", 60.0, "ci")
    assert world.keeper.leases() == ()


async def test_leases_that_make_no_sense(tmp_path: Path) -> None:
    keeper = World(tmp_path, "a").keeper
    for seconds in (0.0, -1.0, 1e9, float("nan")):
        with pytest.raises(Invalid):
            await keeper.lease("lab/a:1", seconds, "ci")
    for subject, id in (("lab/none:1", ""), ("lab/a:1", "none")):
        with pytest.raises(NotFound):
            await keeper.lease(subject, 60.0, "ci", id)
    with pytest.raises(NotFound):
        await keeper.release("none")


async def test_a_disk_over_its_mark_with_nothing_to_take_is_an_alarm_once(tmp_path: Path) -> None:
    for least, is_alarm in ((1e-9, True), (1.0, False)):
        world = World(tmp_path, "a", rules=Rules(high=1e-9, low=1e-9, alarm=least))
        world.loop.want("a")
        await world.keeper.look()
        await world.keeper.look()
        alarm = world.keeper.alarm
        assert (alarm is not None) == is_alarm
        assert alarm is None or (alarm.reason == "DiskPressure" and "system prune" in alarm.hint)
        assert [event[2] for event in world.loop.events] == ["DiskPressure"]


async def test_an_alarm_ends_soon_after_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not at the next look, which may be five minutes away."""
    monkeypatch.setattr("agent.images.keeper.PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("agent.images.keeper.ALARM_SECONDS", 0.01)
    world = World(tmp_path, "a", rules=Rules(high=1e-9, low=1e-9, alarm=1e-9))
    world.loop.want("a")
    running = asyncio.create_task(world.keeper.run())
    world.keeper.look_soon()
    async with asyncio.timeout(30):
        while world.keeper.alarm is None:
            await asyncio.sleep(0.001)
        world.engine.layout.images = Path("/proc")  # a file system that is never full
        while world.keeper.alarm is not None:
            await asyncio.sleep(0.001)
    running.cancel()
    assert [event[2] for event in world.loop.events] == ["DiskPressure", "DiskPressureOver"]


async def test_prune_takes_what_is_asked_for(tmp_path: Path) -> None:
    world = World(tmp_path, "a", "b")
    world.loop.want("a")
    await world.keeper.look()
    assert not any(each.goes for each in await world.keeper.plan(Asked()))
    gone = await world.keeper.prune(Asked(all_unused=True))
    assert [each.id for each in gone] == ["b"]
    assert not any(each.goes for each in await world.keeper.look_only())


async def test_without_a_memory_all_is_as_used_just_now(tmp_path: Path) -> None:
    def broken() -> ImageMemory:
        raise Unavailable("read", "db", "no")

    world = World(tmp_path, "a")
    await ImageKeeper(world.engine, world.loop, broken, Rules(), 300.0).load()
    assert world.keeper.notes.images() == {}
    memory = ImageMemory(images=(ImageRecord("a", 1.0, 2.0),), good=(GoodImageRecord(WEB, "a", "", "", 1.0),))
    await ImageKeeper(world.engine, world.loop, lambda: memory, Rules(), 300.0).load()
    assert world.keeper.notes.image("a") == memory.images[0]


async def test_it_looks_by_itself_and_when_it_is_woken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.images.keeper.PAUSE_SECONDS", 0.0)
    world = World(tmp_path, "a")
    running = asyncio.ensure_future(world.keeper.run())
    world.keeper.look_soon()
    try:
        async with asyncio.timeout(30.0):
            while world.keeper.notes.image("a") is None:
                await asyncio.sleep(0.01)
            world.engine.held.append(holding("b"))
            world.engine.images.holdings = lambda: 1 / 0  # a bug ends nothing
            world.keeper.look_soon()
            await asyncio.sleep(0.05)
            world.engine.images.holdings = lambda: tuple(world.engine.held)
            while world.keeper.notes.image("b") is None:
                world.keeper.look_soon()
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
