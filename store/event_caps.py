"""The caps of the history: how much is kept of what lasts, and of what passes.

An event passes when it changed nothing: somebody ran a program in a container, or looked at its output.
Whoever does that once a second writes hundreds of thousands a day; they have a cap of their own, so that
they push out nothing of what `why` tells. Called by `store` alone, which holds the lock and the transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from store import tables

# Reasons, as the Docker API's handlers tell them (`agent.api.docker.events.note`).
PASSING_REASONS = frozenset(
    ("ContainerArchivePath", "ContainerAttach", "ContainerDetach", "ContainerExecCreate",
     "ContainerExecDetach", "ContainerExecDie", "ContainerExecStart", "ContainerExport",
     "ContainerExtractToDir", "ContainerResize", "ContainerTop", "ImageSave")
)  # fmt: skip
KEEP_EVENTS = 100_000
KEEP_PASSING = 10_000
KEEP_SECONDS = 30 * 86400.0
KEEP_ALWAYS = 1000  # a clock that jumps by years must not empty the history
TRIM_EVERY = 1000  # events between two looks at the caps
TRIM_AT_MOST = 5000  # rows a look removes of each, so that no pass waits for a long delete

_EVENTS = tables.events.c
_IS_PASSING = _EVENTS.reason.in_(sorted(PASSING_REASONS))


def is_passing(reason: str) -> bool:
    return reason in PASSING_REASONS


@dataclass(slots=True)
class _Share:
    """The events of one cap. count: how many there are; from_id: none with a lower id is left, but for
    those that age took."""

    is_one: sa.ColumnElement[bool]
    keep: int
    count: int = 0
    from_id: int = 0


class EventCaps:
    """`written` and `trim` in the transaction of every write; `forget` when that was taken back, or the rows
    are others.

    A look removes what came since the last one, and goes on where that ended: each row is passed over once.
    """

    def __init__(
        self, keep: int = KEEP_EVENTS, keep_seconds: float = KEEP_SECONDS, keep_passing: int = KEEP_PASSING
    ) -> None:
        self._lasting = _Share(sa.not_(_IS_PASSING), keep)
        self._passing = _Share(_IS_PASSING, keep_passing)
        self._keep_seconds = keep_seconds
        self._is_counted = False
        self._untrimmed = 0

    def forget(self) -> None:
        """They are counted again at the next look."""
        self._is_counted = False

    def written(self, reasons: Iterable[str]) -> None:
        """These are among the rows now."""
        for reason in reasons:
            self._untrimmed += 1
            (self._passing if is_passing(reason) else self._lasting).count += 1

    def is_due_after(self, count: int) -> bool:
        """Whether `trim` has something to do once so many more are written."""
        return self._untrimmed + count >= TRIM_EVERY

    def trim(self, connection: sa.Connection, last: int) -> bool:
        """Hold the caps; False when it is not time to yet. last: the newest event's id."""
        if self._untrimmed < TRIM_EVERY:
            return False
        if not self._is_counted:
            self._count(connection)
        self._trim_old(connection, last)
        for share in (self._lasting, self._passing):
            _trim_many(connection, share)
        self._untrimmed = 0
        return True

    def _count(self, connection: sa.Connection) -> None:
        for share in (self._lasting, self._passing):
            query = sa.select(sa.func.count()).where(share.is_one)
            share.count, share.from_id = connection.execute(query).scalar() or 0, 0
        self._is_counted = True

    def _trim_old(self, connection: sa.Connection, last: int) -> None:
        """Age is counted from the newest event, not from a clock that may be wrong."""
        newest = connection.execute(sa.select(_EVENTS.at).where(_EVENTS.id == last)).scalar() or 0.0
        before = newest - self._keep_seconds
        oldest = connection.execute(sa.select(sa.func.min(_EVENTS.at))).scalar()
        if oldest is None or oldest >= before:
            return
        for share in (self._lasting, self._passing):
            recent = sa.select(_EVENTS.id).where(share.is_one).order_by(_EVENTS.id.desc())
            kept = connection.execute(recent.offset(KEEP_ALWAYS - 1).limit(1)).scalar() or 0
            is_old = sa.and_(share.is_one, _EVENTS.at < before, _EVENTS.id < kept)
            old = sa.select(_EVENTS.id).where(is_old).order_by(_EVENTS.at).limit(TRIM_AT_MOST)
            share.count -= connection.execute(sa.delete(tables.events).where(_EVENTS.id.in_(old))).rowcount


def _trim_many(connection: sa.Connection, share: _Share) -> None:
    surplus = min(share.count - share.keep, TRIM_AT_MOST)
    if surplus <= 0:
        return
    is_one = sa.and_(share.is_one, _EVENTS.id >= share.from_id)
    first = sa.select(_EVENTS.id).where(is_one).order_by(_EVENTS.id).limit(surplus).subquery()
    up_to: Any = connection.execute(sa.select(sa.func.max(first.c.id))).scalar()
    if up_to is None:
        return
    deleted = connection.execute(sa.delete(tables.events).where(is_one, _EVENTS.id <= up_to)).rowcount
    share.count, share.from_id = share.count - deleted, up_to + 1
