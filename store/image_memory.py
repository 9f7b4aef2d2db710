"""What is remembered of images: who holds one for how long, which one was good, when each was used last.

Records and their rows. The image store itself is the truth of what there is (`runtime.images`): all of
this may be lost, and then every image counts as used just now and nothing is taken for a while.
Times are Unix seconds, wall clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from store.records import Key

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """Somebody holds an image until a time. subject: an image's id, or a canonical name. owner: who asked
    for it, in words for people."""

    id: str
    subject: str
    owner: str
    made_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class GoodImageRecord:
    """An object was as wanted with this image: what a revert goes back to. image: its id. at: when it was
    so last. removed_at: since when the object is in no manifest, None while it is."""

    key: Key
    image: str
    reference: str
    revision: str
    at: float
    removed_at: float | None = None


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """What is known of one image. used_at: when something was seen to need it last. checked_at: when all of
    it was compared with its digests, None never; damage: what was wrong then, in a sentence, or ""."""

    id: str
    seen_at: float
    used_at: float
    checked_at: float | None = None
    damage: str = ""


@dataclass(frozen=True, slots=True)
class TagRecord:
    """A tag was seen to mean a digest in its registry, first at this time: the age that nobody can forge."""

    reference: str
    digest: str
    seen_at: float


@dataclass(frozen=True, slots=True)
class ImageMemory:
    """All that is remembered of images. In a batch: what is to be written, and what to be forgotten."""

    leases: tuple[LeaseRecord, ...] = ()
    good: tuple[GoodImageRecord, ...] = ()
    images: tuple[ImageRecord, ...] = ()
    tags: tuple[TagRecord, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.leases or self.good or self.images or self.tags)


def lease_row(record: LeaseRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "subject": record.subject,
        "owner": record.owner,
        "made_at": record.made_at,
        "expires_at": record.expires_at,
    }


def lease_record(row: Row) -> LeaseRecord:
    return LeaseRecord(
        _text(row, "id"), _text(row, "subject"), _text(row, "owner"), _time(row, "made_at"),
        _time(row, "expires_at"),
    )  # fmt: skip


def good_row(record: GoodImageRecord) -> dict[str, Any]:
    return {
        "project": record.key.project,
        "kind": record.key.kind,
        "name": record.key.name,
        "image": record.image,
        "reference": record.reference,
        "revision": record.revision,
        "at": record.at,
        "removed_at": record.removed_at,
    }


def good_record(row: Row) -> GoodImageRecord:
    return GoodImageRecord(
        Key(_text(row, "project"), _text(row, "kind"), _text(row, "name")),
        _text(row, "image"),
        _text(row, "reference"),
        _text(row, "revision"),
        _time(row, "at"),
        None if row["removed_at"] is None else _time(row, "removed_at"),
    )


def image_row(record: ImageRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "seen_at": record.seen_at,
        "used_at": record.used_at,
        "checked_at": record.checked_at,
        "damage": record.damage,
    }


def image_record(row: Row) -> ImageRecord:
    checked_at = None if row["checked_at"] is None else _time(row, "checked_at")
    return ImageRecord(
        _text(row, "id"), _time(row, "seen_at"), _time(row, "used_at"), checked_at, _text(row, "damage")
    )


def tag_row(record: TagRecord) -> dict[str, Any]:
    return {"reference": record.reference, "digest": record.digest, "seen_at": record.seen_at}


def tag_record(row: Row) -> TagRecord:
    return TagRecord(_text(row, "reference"), _text(row, "digest"), _time(row, "seen_at"))


def _text(row: Row, name: str) -> str:
    value = row[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value!r:.60}")
    return value


def _time(row: Row, name: str) -> float:
    value = row[name]
    if not isinstance(value, int | float) or not abs(value) < 1e15:
        raise ValueError(f"{name} is {value!r:.60}")
    return float(value)
