"""What is noted of images is written once, the newest, and again when that failed."""

from __future__ import annotations

from dataclasses import replace

from agent.images.notes import Notes
from store.image_memory import GoodImageRecord, ImageMemory, ImageRecord, LeaseRecord, TagRecord
from store.records import Key

WEB = Key("shop", "container", "web")
LEASE = LeaseRecord("1", "a", "ci", 0.0, 10.0)
IMAGE = ImageRecord("a", 0.0, 5.0)
TAG = TagRecord("web:1", "sha256:1", 5.0)
GOOD = GoodImageRecord(WEB, "a", "web:1", "c0ffee", 10.0)
NOTHING = ImageMemory()


def test_the_newest_value_is_written_once() -> None:
    heard: list[int] = []
    notes = Notes(lambda: heard.append(1))
    notes.put(IMAGE)
    notes.put(replace(IMAGE, used_at=9.0))
    notes.put(replace(IMAGE, used_at=9.0))
    assert len(heard) == 2 and notes.waiting == 1
    assert notes.take() == (ImageMemory(images=(replace(IMAGE, used_at=9.0),)), NOTHING)
    assert notes.take() == (NOTHING, NOTHING)


def test_what_went_is_forgotten_in_the_store_too() -> None:
    notes = Notes()
    notes.put(LEASE)
    notes.drop(LEASE)
    notes.drop(LEASE)
    assert notes.take() == (NOTHING, ImageMemory(leases=(LEASE,)))
    assert notes.leases() == () and notes.lease("1") is None


def test_what_was_not_stored_is_written_with_the_next_unless_it_is_another_by_then() -> None:
    notes = Notes()
    notes.put(IMAGE)
    notes.put(TAG)
    written, forgotten = notes.take()
    notes.put(replace(IMAGE, damage="bad"))
    notes.drop(TAG)
    notes.put_back(written, forgotten)
    assert notes.take() == (
        ImageMemory(images=(replace(IMAGE, damage="bad"),)), ImageMemory(tags=(TAG,)),
    )  # fmt: skip


def test_a_store_that_is_empty_gets_all() -> None:
    notes = Notes()
    notes.load(ImageMemory((LEASE,), (GOOD,), (IMAGE,), (TAG,)))
    assert notes.waiting == 0
    notes.write_all_again()
    assert notes.take() == (ImageMemory((LEASE,), (GOOD,), (IMAGE,), (TAG,)), NOTHING)


def test_good_ones_are_ordered_newest_first() -> None:
    notes = Notes()
    older = replace(GOOD, image="b", at=5.0)
    notes.load(ImageMemory(good=(older, GOOD)))
    assert notes.good() == {WEB: [GOOD, older]}
    back = replace(older, at=20.0)
    notes.put(back)
    assert notes.good() == {WEB: [back, GOOD]}
    notes.drop(back)
    notes.drop(GOOD)
    assert notes.good() == {}


def test_what_was_noted_before_the_store_was_read_is_newer() -> None:
    notes = Notes()
    notes.put(replace(IMAGE, used_at=99.0))
    notes.load(ImageMemory(images=(IMAGE,), tags=(TAG,)))
    assert notes.images() == {"a": replace(IMAGE, used_at=99.0)} and notes.image("b") is None
    assert notes.tags() == {("web:1", "sha256:1"): TAG}
