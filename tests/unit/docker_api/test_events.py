"""Events in Docker's form, which of them fit a filter, and how many follow one feed. No agent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.api.docker import event_feed, events
from agent.api.docker.event_feed import EventFeed
from agent.api.docker.event_view import Telling, fits, tellings
from agent.api.docker.events import Wanted, reason_of, shared_lines
from store.event_caps import is_passing
from store.records import Batch, EventRecord, Happening, Key
from store.store import Store

START = Happening("container", "start", "ab" * 32, {"name": "web", "image": "shop/web:1", "tier": "front"})
PULL = Happening("image", "pull", "shop/web:1", {"name": "shop/web:1"})


def an_event(at: float, *happenings: Happening) -> EventRecord:
    return EventRecord(at, Key("shop", "container", "web"), "Normal", "Started", "", happenings=happenings)


def test_an_event_has_both_forms() -> None:
    [telling] = tellings(an_event(1.5, START), "one")
    assert json.loads(telling.line(is_old=False)) == {
        "Type": "container",
        "Action": "start",
        "Actor": {"ID": START.id, "Attributes": dict(START.attributes)},
        "scope": "local",
        "time": 1,
        "timeNano": 1_500_000_000,
    }
    older = json.loads(telling.line(is_old=True))
    assert (older["status"], older["id"], older["from"]) == ("start", START.id, "shop/web:1")


def test_networks_have_ids_and_what_one_record_says_stays_in_order() -> None:
    joined = Happening("network", "connect", "shop_front", {"name": "shop_front"})
    first, second = tellings(an_event(2.0, joined, START), "one")
    assert len(first.happening.id) == 64
    assert first.view["timeNano"] < second.view["timeNano"]


@pytest.mark.parametrize(
    ("happening", "filters", "is_told"),
    [
        (START, {}, True),
        (START, {"type": ("image", "container")}, True),
        (START, {"type": ("image",)}, False),
        (START, {"container": ("we",)}, True),  # the daemon looks at beginnings
        (START, {"container": ("abab",)}, True),
        (START, {"container": ("db",)}, False),
        (START, {"event": ("start", "die")}, True),
        (START, {"event": ("star",)}, False),
        (START, {"image": ("shop/web",)}, True),
        (START, {"image": ("shop/web:1",)}, True),
        (START, {"image": ("shop",)}, False),
        (PULL, {"image": ("shop/web",)}, True),
        (START, {"label": ("tier",)}, True),
        (START, {"label": ("tier=front", "image=shop/web:1")}, True),
        (START, {"label": ("tier=back",)}, False),
        (START, {"scope": ("swarm",)}, False),
        (Happening("container", "exec_start: sh", "ab"), {"event": ("exec_start",)}, True),
        (Happening("container", "exec_start: sh", "ab"), {"event": ("start",)}, False),
    ],
)
def test_filters(happening: Happening, filters: dict[str, tuple[str, ...]], is_told: bool) -> None:
    assert fits(happening, filters) is is_told


# --- the feed -------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "setpoint.db")
    yield opened
    opened.close()


def write(store: Store, first: int, count: int) -> None:
    """Events at first, first + 1, …; every other one says nothing to others."""
    events = (
        an_event(float(at), *([Happening("volume", "create", str(at))] if at % 2 else []))
        for at in range(first, first + count)
    )
    store.write(Batch(events=tuple(events)))


async def take_all(feed: EventFeed, after: int, count: int) -> tuple[list[Telling], int]:
    """The next `count` tellings."""
    found: list[Telling] = []
    while len(found) < count:
        told, reached = await feed.take(after, (None, None), event_feed.AT_ONCE)
        found += told
        if reached <= after:
            async with asyncio.timeout(10):
                await feed.wait(after, lambda _told: False, None)
        after = reached
    return found, after


async def test_who_can_take_it_at_once_is_told_without_being_woken(store: Store) -> None:
    feed, seen = EventFeed(store, "one"), list[str]()

    def hand_on(told: tuple[Telling, ...]) -> bool:
        seen.extend(telling.happening.id for telling in told)
        return len(seen) < 4

    with feed.joined():
        waiting = asyncio.create_task(feed.wait(feed.last_id, hand_on, None))
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            write(store, 0, 4)
            while len(seen) < 2:
                await asyncio.sleep(0.001)
            assert not waiting.done()
            write(store, 4, 4)
            reached = await waiting
        assert seen == ["1", "3", "5", "7"]
        told, _ = await feed.take(reached, (None, None), 500)
    assert [telling.happening.id for telling in told] == ["5", "7"]  # what was not taken, once more
    assert not feed._waiting


@pytest.mark.parametrize("is_read", [True, False])
async def test_an_end_is_told_after_what_was_printed_last(
    store: Store, monkeypatch: pytest.MonkeyPatch, is_read: bool
) -> None:
    """To who is attached: as soon as it is sent, and after a moment where he does not read. In order."""
    monkeypatch.setattr(event_feed, "LONGEST_SECONDS", 60.0 if is_read else 0.05)
    sending: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    feed, seen = EventFeed(store, "one", attached={START.id: {sending}}), list[str]()

    def hand_on(told: tuple[Telling, ...]) -> bool:
        seen.extend(f"{telling.happening.action} {telling.happening.id[:2]}" for telling in told)
        return True

    async def heard(count: int) -> None:
        async with asyncio.timeout(10):
            while len(seen) < count:
                await asyncio.sleep(0.001)

    with feed.joined():
        waiting = asyncio.create_task(feed.wait(feed.last_id, hand_on, None))
        await asyncio.sleep(0)
        write(store, 1, 1)
        await heard(1)
        store.write(Batch(events=(an_event(2.0, replace(START, action="die", id="cd" * 32)),)))
        await heard(2)
        store.write(Batch(events=(an_event(3.0, replace(START, action="die")),)))
        write(store, 5, 1)
        if is_read:
            await asyncio.sleep(0.05)
            assert len(seen) == 2
            sending.set_result(None)
        await heard(4)
        waiting.cancel()
    assert seen == ["create 1", "die cd", "die ab", "create 5"]


async def test_each_is_told_once_to_the_quick_and_to_the_slow(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_feed, "KEPT", 8)
    monkeypatch.setattr(event_feed, "AT_ONCE", 5)
    feed = EventFeed(store, "one")
    write(store, 0, 6)
    wanted = [str(at) for at in range(6, 66) if at % 2]
    with feed.joined(), feed.joined():
        start = feed.last_id
        quick, at = [], start
        for first in range(6, 66, 10):
            write(store, first, 10)
            told, at = await take_all(feed, at, 5)
            quick += told
        slow, _ = await take_all(feed, start, 30)
        assert feed.followers == 2
        assert len(feed._recent) <= 8
    assert [telling.happening.id for telling in quick] == wanted
    assert [telling.happening.id for telling in slow] == wanted
    assert feed.followers == 0


async def test_records_that_tell_of_nothing_are_passed_over(store: Store) -> None:
    feed = EventFeed(store, "one")
    with feed.joined():
        write(store, 0, 1)
        async with asyncio.timeout(10):
            while feed._last < store.last_event_id:
                await asyncio.sleep(0.001)
    assert feed._last


async def test_nothing_is_kept_while_nobody_follows(store: Store) -> None:
    feed = EventFeed(store, "one")
    with feed.joined():
        write(store, 0, 4)
        await take_all(feed, 0, 2)
    write(store, 4, 4)
    assert not feed._recent
    assert not store._listeners
    with feed.joined():
        told, _ = await take_all(feed, 0, 4)
    assert [telling.happening.id for telling in told] == ["1", "3", "5", "7"]


def noted(number: int, name: str) -> EventRecord:
    return replace(an_event(float(number), Happening("volume", "create", name)), id=number)


async def take_now(feed: EventFeed, after: int) -> list[str]:
    for _ in range(3):
        await asyncio.sleep(0)
    return [telling.happening.id for telling in feed._newer(after)]


async def test_what_is_noted_is_told_before_it_is_stored_and_then_not_again(store: Store) -> None:
    feed, tells = EventFeed(store, "one", lambda tell: told_to.append(tell)), list[str]()
    told_to: list[object] = []
    write(store, 0, 2)
    with feed.joined():
        start = feed.last_id
        assert feed.tell(noted(start + 1, "first"))
        assert feed.tell(noted(start + 2, "second"))
        assert await take_now(feed, start) == ["first", "second"]
        store.write(Batch(events=(noted(start + 1, "first"), noted(start + 2, "second"))))
        store.write(Batch(events=(noted(start + 3, "third"),)))
        async with asyncio.timeout(10):
            while len(tells := await take_now(feed, start)) < 3:
                await asyncio.sleep(0.001)
        assert tells == ["first", "second", "third"]
        slow, _ = await take_all(feed, 0, 4)
    assert [telling.happening.id for telling in slow] == ["1", "first", "second", "third"]
    assert [bool(each) for each in told_to] == [True, False]


async def test_what_is_told_has_the_number_that_it_is_stored_under(store: Store) -> None:
    """Also behind one that found no room while the store could not be written."""
    store.write(Batch(events=(noted(1, "first"), noted(3, "third"))))
    assert [event.id for event in store.events()] == [1, 3]


async def test_what_comes_behind_something_that_is_still_to_be_stored_waits_for_it(store: Store) -> None:
    feed = EventFeed(store, "one")
    assert not feed.tell(noted(1, "nobody follows"))
    with feed.joined():
        assert not feed.tell(noted(2, "second"))
        assert await take_now(feed, 0) == []
        store.write(Batch(events=(noted(1, "first"), noted(2, "second"))))
        told, _ = await take_all(feed, 0, 2)
        assert [telling.happening.id for telling in told] == ["first", "second"]
        assert feed.tell(noted(3, "third"))
        assert await take_now(feed, 2) == ["third"]


async def test_who_is_behind_what_is_kept_waits_until_it_is_stored(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_feed, "KEPT", 2)
    feed = EventFeed(store, "one")
    with feed.joined():
        events = tuple(noted(number, str(number)) for number in range(1, 6))
        for event in events:
            assert feed.tell(event)
        await asyncio.sleep(0.01)
        waiting = asyncio.create_task(feed.wait(0, lambda _told: True, None))
        await asyncio.sleep(0.01)
        assert not waiting.done()  # it would ask without an end
        store.write(Batch(events=events))
        feed.tell(noted(6, "6"))
        async with asyncio.timeout(10):
            assert await waiting == 0
        told, _ = await take_all(feed, 0, 6)
    assert [telling.happening.id for telling in told] == ["1", "2", "3", "4", "5", "6"]


@pytest.mark.parametrize(
    ("type", "action", "passes"),
    [
        ("container", "exec_create: sh -c true", True),
        ("container", "exec_start: true", True),
        ("container", "exec_die", True),
        ("container", "exec_detach", True),
        ("container", "attach", True),
        ("container", "detach", True),
        ("container", "resize", True),
        ("image", "save", True),
        ("container", "kill", False),
        ("container", "restart", False),
        ("container", "pause", False),
        ("container", "commit", False),
        ("image", "tag", False),
    ],
)
def test_what_changes_nothing_has_a_cap_of_its_own_in_the_history(
    type: str, action: str, passes: bool
) -> None:
    assert is_passing(reason_of(type, action)) is passes


async def test_what_was_written_for_many_goes_with_the_last_of_them(store: Store) -> None:
    feed, wanted = EventFeed(store, "one"), Wanted(None, None, (), False, b"")
    with events._following(feed):
        with events._following(feed):
            shared_lines((), wanted)
        assert shared_lines.cache_info().currsize
    assert not shared_lines.cache_info().currsize
