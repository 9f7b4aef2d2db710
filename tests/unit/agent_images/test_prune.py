"""What of containers and volumes a prune takes."""

from __future__ import annotations

from agent.images.prune import Thing, Wishes, build_cache_of, image_of, judge_containers, judge_volumes
from agent.reconcile.convert import LABEL_KEY
from runtime.images.collection import Judgement
from runtime.images.stock import Stock
from runtime.model import ContainerState, VolumeState

NOW, HOUR = 1_000_000.0, 3600.0


def container(id: str, phase: str, key: str, finished_at: float | None = None) -> ContainerState:
    return ContainerState(
        id, f"name-{id}", {LABEL_KEY: key}, phase, created_at=NOW - HOUR, finished_at=finished_at
    )  # type: ignore[arg-type]


def told(things: list[Thing]) -> dict[str, tuple[bool, str]]:
    return {thing.id: (thing.goes, thing.why) for thing in things}


def test_only_what_is_stopped_and_nothing_wants() -> None:
    states = [
        container("1", "stopped", "shop/container/web"), container("2", "running", "gone/container/x"),
        container("3", "paused", "gone/container/x"), container("4", "stopped", "gone/container/x"),
        container("5", "created", ""), container("6", "stopped", "", NOW - 60),
    ]  # fmt: skip
    found = judge_containers(states, {"shop/container/web"}, Wishes(until_seconds=600.0), NOW)
    assert told(found) == {
        "4": (True, "stopped, and nothing wants it"), "5": (True, "stopped, and nothing wants it"),
        "6": (False, "stopped, and not long enough ago"),
    }  # fmt: skip


def test_volumes_never_but_when_they_are_asked_for() -> None:
    volumes = [
        VolumeState("wanted", {LABEL_KEY: "shop/volume/wanted"}, "", created_at=0.0),
        VolumeState("used", {}, "", created_at=0.0),
        VolumeState("old", {LABEL_KEY: "shop/volume/old"}, "", created_at=0.0),
        VolumeState("new", {}, "", created_at=NOW),
    ]
    wanted, users = {"shop/volume/wanted"}, {"used": "shop-web-1"}
    kept = told(judge_volumes(volumes, users, wanted, Wishes(all_unused=True), NOW))
    assert not any(goes for goes, _ in kept.values()) and "--volumes" in kept["old"][1]
    asked = Wishes(volumes=True, until_seconds=HOUR)
    assert told(judge_volumes(volumes, users, wanted, asked, NOW)) == {
        "old": (True, "nothing wants it"), "new": (False, "nothing wants it, and it is not old enough"),
    }  # fmt: skip


def test_images_and_the_cache_of_builds() -> None:
    gone = image_of(Judgement("a", ("x:1", "y:1"), True, "unused", 0.0, 500, 300))
    assert gone == Thing("image", "a", "x:1, y:1", True, "unused", 300)
    assert image_of(Judgement("a", (), False, "runs", 0.0, 500)).bytes == 500
    stock = Stock(0, 0, 0, 700, 0, 0, 3)
    assert not build_cache_of(stock, Wishes()).goes
    assert build_cache_of(stock, Wishes(all_unused=True)) == Thing(
        "build cache", "", "3 steps", True, "it was asked for", 700
    )
