"""Which image is verified next, and what is said of one that is damaged."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from agent.images.keeper import ImageKeeper
from agent.images.verifier import FIRST_SECONDS, ImageVerifier, damage_of
from runtime.images.check import Finding
from runtime.images.collection import DAY, Holding, Rules
from runtime.images.progress import Progress
from runtime.images.slowly import Pace
from store.image_memory import ImageMemory

from .test_keeper import Loop, holding

WEEK = 7 * DAY


class World:
    def __init__(self, tmp_path: Path, *held: Holding) -> None:
        self.now = 1_000_000_000.0
        self.findings: tuple[Finding, ...] = ()
        self.asked: list[tuple[list[str], float]] = []
        self.events: list[tuple[str, str, str]] = []
        loop = Loop()
        names = SimpleNamespace(holdings=lambda: held, names=lambda id: (f"lab/{id}:1",))
        engine = SimpleNamespace(
            images=names, layout=SimpleNamespace(images=tmp_path), check_images=self.check,
            list=lambda: (), images_in_use=set, pulls=SimpleNamespace(running=lambda: ()),
        )  # fmt: skip
        keeper = ImageKeeper(engine, loop, ImageMemory, Rules(), 300.0, lambda: self.now)
        self.keeper = keeper
        self.verifier = ImageVerifier(
            engine, keeper, lambda *event: self.events.append(event), WEEK, lambda: self.now
        )

    async def check(self, ids: list[str], *, repair: bool, bytes_per_second: float) -> tuple[Finding, ...]:
        assert not repair and bytes_per_second > 0
        self.asked.append((ids, self.now))
        return tuple(finding for finding in self.findings if finding.image in ids)


async def test_each_is_looked_at_in_its_turn(tmp_path: Path) -> None:
    world = World(tmp_path, holding("a"), holding("b"))
    assert await world.verifier.look() == ""  # nobody has seen them yet
    await world.keeper.look_only()
    assert await world.verifier.look() == ""  # they were hashed as they came
    world.now += FIRST_SECONDS
    assert {await world.verifier.look(), await world.verifier.look()} == {"a", "b"}
    assert await world.verifier.look() == ""
    world.now += WEEK - 1
    assert await world.verifier.look() == ""
    world.now += 1
    assert await world.verifier.look() == "a"
    world.now -= 100 * WEEK  # a clock that was wrong keeps nothing from being looked at
    assert {await world.verifier.look(), await world.verifier.look()} == {"a", "b"}
    assert await world.verifier.look() == ""


async def test_one_for_which_there_is_no_room_waits(tmp_path: Path) -> None:
    world = World(tmp_path, Holding("a", ("lab/a:1",), {"a": 1 << 60}))
    await world.keeper.look_only()
    world.now += FIRST_SECONDS
    assert await world.verifier.look() == "" and not world.asked


async def test_damage_is_told_once_stays_and_ends(tmp_path: Path) -> None:
    world = World(tmp_path, holding("a"))
    await world.keeper.look_only()
    world.findings = (
        Finding("a", "sha256:" + "1" * 64, "bin/su", "has another content"),
        Finding("a", "sha256:" + "2" * 64, "", "is missing"),
        Finding("a", "a", "etc", "is writable for all", is_warning=True),
    )
    for _ in range(2):
        world.now += WEEK
        assert await world.verifier.look() == "a"
    said = "bin/su of layer 111111111111 has another content (and 1 more)"
    assert world.events == [("Warning", "ImageDamaged", f"lab/a:1 is damaged: {said}")]
    (alarm,) = world.verifier.alarms()
    assert alarm.message == f"image lab/a:1 is damaged: {said}"
    assert alarm.hint == "setpoint image check --repair lab/a:1"
    world.verifier.note(["a"], [])
    assert world.events[1:] == [("Normal", "ImageWhole", "lab/a:1 is whole again")]
    assert not world.verifier.alarms()


def test_what_was_repaired_or_only_warns_is_no_damage() -> None:
    found: list[Any] = [
        Finding("a", "sha256:1", "x", "has another content", "done"),
        Finding("b", "b", "etc", "is writable for all", is_warning=True),
        Finding("c", "sha256:1", "x", "has another content", "a running container has it"),
    ]
    assert damage_of(found) == {"c": "x of layer 1 has another content"}


def test_the_pace_is_kept() -> None:
    now, slept, told = [0.0], [], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(told.append, 100.0, lambda: now[0], sleep)
    pace(Progress("unpack", "a", 100, 300))
    pace(Progress("unpack", "a", 300, 300))
    assert slept == [1.0, 2.0]
    now[0] += 10.0
    pace(Progress("unpack", "b", 500, 500))
    assert slept == [1.0, 2.0] and len(told) == 3
