"""What became of the newest revision: applying, applied, failed or invalid. Pure bookkeeping.

Called by `loop`, which stores the record when it changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agent.manifest.objects import ManifestError, Revision
from store.records import RevisionRecord


class Revisions:
    def __init__(self) -> None:
        self._record: RevisionRecord | None = None
        self._is_changed = False
        self._is_measured = False

    @property
    def current(self) -> str:
        return self._record.id if self._record is not None else ""

    @property
    def is_applying(self) -> bool:
        """It may still converge; also one that failed so far, or that has errors in some files."""
        return self._record is not None and self._record.converged_at is None

    def submitted(
        self, revision: Revision, errors: Sequence[ManifestError], changes: int, now: float
    ) -> None:
        """A new revision, or the same one read again (then only what differs counts)."""
        before = self._record
        outcome = "invalid" if errors else "applying"
        message = f"{len(errors)} errors, the first: {errors[0]}" if errors else ""
        if before is not None and before.id == revision.id and not changes and before.message == message:
            return
        seen_at = before.seen_at if before is not None and before.id == revision.id else now
        self._record = RevisionRecord(
            id=revision.id, source=revision.source, seen_at=seen_at, outcome=outcome, message=message,
            subject=revision.subject, author=revision.author,
        )  # fmt: skip
        self._is_changed = True

    def converged(self, now: float) -> float:
        """All is Ready; the seconds since it was seen."""
        assert self._record is not None
        outcome = "invalid" if self._record.outcome == "invalid" else "applied"
        message = self._record.message if outcome == "invalid" else ""
        self._record = replace(self._record, outcome=outcome, message=message, converged_at=now)
        self._is_changed = True
        return now - self._record.seen_at

    def failed(self, message: str) -> None:
        """Nothing goes on any more, and not all is Ready."""
        assert self._record is not None
        if self._record.outcome == "applying":
            self._record = replace(self._record, outcome="failed", message=message)
            self._is_changed = True

    def take_changed(self) -> RevisionRecord | None:
        """The record, if it must be stored again."""
        if not self._is_changed:
            return None
        self._is_changed = False
        return self._record
