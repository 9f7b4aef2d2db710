"""What is remembered of images, in memory, and which of it is still to be written. No I/O.

The keeper changes it, the journal writes it with a pass (`store.image_memory` says what each record is). The
newest value of a record is what is written, whatever happened to it between two writes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeVar

from store.image_memory import GoodImageRecord, ImageMemory, ImageRecord, LeaseRecord, TagRecord
from store.records import Key

Record = LeaseRecord | GoodImageRecord | ImageRecord | TagRecord
_Id = tuple[Hashable, ...]
_R = TypeVar("_R", LeaseRecord, GoodImageRecord, ImageRecord, TagRecord)


class Notes:
    """on_change is called whenever something waits to be written."""

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self._records: dict[_Id, Record] = {}
        self._dirty: dict[_Id, Record] = {}  # with the last value, for those that are to be deleted
        self._good: dict[Key, list[GoodImageRecord]] = {}
        self._on_change = on_change
        self.damage: dict[str, str] = {}  # of images that are damaged: id -> what is wrong, in a sentence

    def load(self, memory: ImageMemory) -> None:
        """What the store remembers; what was noted since is newer."""
        for record in _records(memory):
            self._records.setdefault(_id(record), record)
            self._sort(record)

    # --- reading ------------------------------------------------------------------------------

    def leases(self) -> tuple[LeaseRecord, ...]:
        return self._all(LeaseRecord)

    def images(self) -> dict[str, ImageRecord]:
        return {record.id: record for record in self._all(ImageRecord)}

    def image(self, id: str) -> ImageRecord | None:
        found = self._records.get(("image", id))
        return found if isinstance(found, ImageRecord) else None

    def lease(self, id: str) -> LeaseRecord | None:
        found = self._records.get(("lease", id))
        return found if isinstance(found, LeaseRecord) else None

    def good(self) -> dict[Key, list[GoodImageRecord]]:
        """Of each object, the newest first."""
        return self._good

    def tags(self) -> dict[tuple[str, str], TagRecord]:
        return {(record.reference, record.digest): record for record in self._all(TagRecord)}

    def _all(self, kind: type[_R]) -> tuple[_R, ...]:
        return tuple(record for record in self._records.values() if isinstance(record, kind))

    # --- changing -----------------------------------------------------------------------------

    def put(self, record: Record) -> None:
        id = _id(record)
        if self._records.get(id) == record:
            return
        self._records[id] = self._dirty[id] = record
        self._changed(record)

    def drop(self, record: Record) -> None:
        id = _id(record)
        if self._records.pop(id, None) is not None:
            self._dirty[id] = record
            self._changed(record)

    def _changed(self, record: Record) -> None:
        self._sort(record)
        self._on_change()

    def _sort(self, record: Record) -> None:
        """What is looked up otherwise than by the record's own name."""
        if isinstance(record, GoodImageRecord):
            self._order(record)
        if isinstance(record, ImageRecord):
            now = self.image(record.id)
            self.damage.pop(record.id, None)
            if now is not None and now.damage:
                self.damage[record.id] = now.damage

    def _order(self, record: GoodImageRecord) -> None:
        """Its object's list, with it as it is now, or without it."""
        mine = [each for each in self._good.get(record.key, ()) if each.image != record.image]
        now = self._records.get(_id(record))
        if isinstance(now, GoodImageRecord):
            mine.append(now)
        mine.sort(key=lambda each: each.at, reverse=True)
        if mine:
            self._good[record.key] = mine
        else:
            self._good.pop(record.key, None)

    # --- writing, by the journal ----------------------------------------------------------------

    @property
    def waiting(self) -> int:
        return len(self._dirty)

    def take(self) -> tuple[ImageMemory, ImageMemory]:
        """What is to be written, and what to be forgotten."""
        written = [self._records[id] for id in self._dirty if id in self._records]
        forgotten = [record for id, record in self._dirty.items() if id not in self._records]
        self._dirty.clear()
        return _memory(written), _memory(forgotten)

    def put_back(self, written: ImageMemory | None, forgotten: ImageMemory | None) -> None:
        """They were not stored."""
        for memory in (written or ImageMemory(), forgotten or ImageMemory()):
            for record in _records(memory):
                self._dirty.setdefault(_id(record), record)

    def write_all_again(self) -> None:
        """The store is empty now."""
        self._dirty.update(self._records)


def _id(record: Record) -> _Id:
    if isinstance(record, LeaseRecord):
        return ("lease", record.id)
    if isinstance(record, GoodImageRecord):
        return ("good", record.key, record.image)
    if isinstance(record, ImageRecord):
        return ("image", record.id)
    return ("tag", record.reference, record.digest)


def _records(memory: ImageMemory) -> Iterator[Record]:
    yield from memory.leases
    yield from memory.good
    yield from memory.images
    yield from memory.tags


def _memory(records: Iterable[Record]) -> ImageMemory:
    found = tuple(records)
    return ImageMemory(
        leases=tuple(record for record in found if isinstance(record, LeaseRecord)),
        good=tuple(record for record in found if isinstance(record, GoodImageRecord)),
        images=tuple(record for record in found if isinstance(record, ImageRecord)),
        tags=tuple(record for record in found if isinstance(record, TagRecord)),
    )
