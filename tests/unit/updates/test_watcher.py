"""The watcher over registries of names alone: what it asks, remembers, and says on objects."""

from __future__ import annotations

import time
from typing import Any

from agent.images.notes import Notes
from agent.updates.watcher import KEPT_TAGS_SECONDS, MOST_ASKED, UpdateWatcher
from runtime.errors import Temporary
from runtime.model import ImageInfo
from store.image_memory import TagRecord
from store.records import Condition, Key, ObjectRecord

WEB, DB = Key("shop", "container", "web"), Key("shop", "image", "db")
HOUR = 3600.0


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def info(id: str, own: str = "") -> ImageInfo:
    return ImageInfo(id, (), 10, 0.0, "amd64", "linux", digest=own)


class Registries:
    def __init__(self) -> None:
        self.have: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []
        self.is_down = False

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.is_down:
            raise Temporary("tags image", what, "nobody answers")

    async def tags(self, reference: str, most: int) -> list[str]:
        self._ask(reference)
        return list(self.have.get(reference, {}))[:most]

    async def digest(self, reference: str) -> str:
        self._ask(reference)
        repository, _, tag = reference.rpartition(":")
        return self.have[repository][tag]


class World:
    """An engine and a loop in one."""

    def __init__(self) -> None:
        self.registries = Registries()
        self.notes, self.journal = Notes(), self
        self.wanted: dict[Key, ObjectRecord] = {}
        self.images: dict[Key, ImageInfo] = {}
        self.stored: dict[str, ImageInfo] = {}
        self.news: dict[Key, tuple[Condition, ...]] = {}
        self.events: list[str] = []
        self.now = 1_000_000_000.0
        self.watcher = UpdateWatcher(self, self, 60.0, lambda: self.now, lambda _: time.gmtime(0))

    def want(self, key: Key, image: str, **update: Any) -> None:
        spec = {"image": image, **({"update": update} if update else {})}
        self.wanted[key] = ObjectRecord(key, "git", spec, "", 1, 1, "shop/compose.yaml", 3, "c0ffee")

    def objects(self) -> dict[Key, ObjectRecord]:
        return self.wanted

    def image_of(self, key: Key) -> ImageInfo | None:
        return self.images.get(key)

    def image(self, reference: str) -> ImageInfo | None:
        return self.stored.get(reference)

    def tell_news(self, key: Key, news: tuple[Condition, ...]) -> None:
        self.news[key] = news

    def note(self, key: Key, type: str, reason: str, message: str) -> None:
        self.events.append(f"{key} {reason}: {message}")


async def test_a_newer_tag_is_told_once_and_ends_when_it_is_taken() -> None:
    world = World()
    world.registries.have["docker.io/lab/web"] = {"1.0": digest(1), "1.1": digest(2)}
    world.want(WEB, "lab/web:1.0", policy="minor", minimum_age=0.0)
    world.want(DB, "lab/db:1.0")
    for _ in range(2):
        (found,) = await world.watcher.look()
        assert found.update is not None and found.update.tag == "1.1" and found.view()["available"]
    assert world.events == ["shop/container/web UpdateAvailable: 1.1 is newer than 1.0"]
    (condition,) = world.news[WEB]
    assert (condition.status, condition.reason) == ("True", "NewerTag")
    assert "lab/db" not in str(world.registries.asked)
    world.want(WEB, "lab/web:1.1", policy="minor", minimum_age=0.0)
    (found,) = await world.watcher.look()
    assert found.update is None and world.news[WEB] == ()
    world.wanted.clear()
    assert await world.watcher.look() == () and world.news[WEB] == ()


async def test_the_age_counts_from_the_first_time_it_was_seen() -> None:
    world = World()
    world.registries.have["docker.io/lab/web"] = {"1.0": digest(1), "1.1": digest(2)}
    world.want(WEB, "lab/web:1.0", policy="minor")
    (found,) = await world.watcher.look()
    assert found.update is not None and not found.update.is_due
    world.now += 73 * HOUR
    (found,) = await world.watcher.look()
    assert found.update is not None and found.update.is_due
    world.registries.have["docker.io/lab/web"]["1.1"] = digest(3)  # moved: its age begins anew
    (found,) = await world.watcher.look()
    assert found.update is not None and not found.update.is_due


async def test_the_image_that_is_here_by_its_index_is_no_news() -> None:
    world = World()
    world.registries.have["docker.io/lab/web"] = {"1.0": digest(1)}
    world.want(WEB, "lab/web:1.0", policy="digest", minimum_age=0.0)
    (found,) = await world.watcher.look()
    assert found.update is None  # it is not here, so nothing is newer
    world.images[WEB] = info("web", own=digest(9))
    (found,) = await world.watcher.look()
    assert found.update is not None and found.update.digest == digest(1)
    assert world.news[WEB][0].reason == "NewDigest"
    world.stored[f"docker.io/lab/web@{digest(1)}"] = info("web")
    (found,) = await world.watcher.look()
    assert found.update is None
    world.want(WEB, f"lab/web:1.0@{digest(8)}", policy="digest", minimum_age=0.0)
    (found,) = await world.watcher.look()
    assert found.update is not None and found.image == "lab/web:1.0"


async def test_a_registry_in_need_is_said_and_others_are_asked() -> None:
    world = World()
    world.want(WEB, "lab/web:1.0", policy="minor", minimum_age=0.0)
    world.registries.is_down = True
    (found,) = await world.watcher.look()
    assert found.error == "nobody answers" and not found.view()["available"]
    assert world.news[WEB][0].status == "Unknown" and not world.events


async def test_each_thing_is_asked_once_and_not_without_an_end() -> None:
    world = World()
    world.registries.have["docker.io/lab/web"] = {f"1.{n}": digest(n) for n in range(100)}
    for key in (WEB, DB):
        world.want(key, "lab/web:1.0", policy="minor", minimum_age=0.0)
    await world.watcher.look()
    asked = world.registries.asked
    assert len(asked) == len(set(asked)) == 1 + MOST_ASKED + 1


async def test_what_makes_no_sense_is_passed_over() -> None:
    world = World()
    world.want(WEB, f"lab/web@{digest(1)}", policy="minor")
    world.want(DB, "not an image", policy="minor")
    world.want(Key("shop", "container", "x"), "lab/web:1.0", policy="often")
    (found,) = await world.watcher.look()
    assert found.key == WEB and found.update is None and not world.registries.asked


async def test_what_tags_meant_that_nobody_names_is_forgotten_in_the_end() -> None:
    world = World()
    world.notes.put(TagRecord("docker.io/lab/old:1", digest(1), world.now))
    await world.watcher.look()
    assert world.notes.tags()
    world.now += KEPT_TAGS_SECONDS + 1
    await world.watcher.look()
    assert not world.notes.tags()
