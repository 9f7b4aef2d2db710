"""Follows the source: every revision is read and handed to the loop, and what went wrong is kept for
`status` to show. Made and run by the daemon; decides nothing about objects.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from agent.manifest.objects import Manifest, ManifestError, Revision
from agent.source.source import Source, Unreadable
from runtime.errors import SetpointError

log = logging.getLogger("setpoint.source")

RETRY_SECONDS = 5.0
LOOK_SECONDS = 60.0  # a repository may be far away
STEP_SECONDS = 0.01


class Takes(Protocol):
    """What the loop is to the follower."""

    def submit(self, manifest: Manifest, revision: Revision) -> None: ...


class Reads(Protocol):
    """What the manifest reader is to the follower."""

    def read(self, revision: Revision) -> Manifest: ...

    def is_stale(self) -> bool: ...


class Counts(Protocol):
    """What the metrics are to the follower."""

    def on_source_failure(self) -> None: ...
    def on_bug(self, key: None, error: BaseException) -> None: ...


class Follower:
    """One source (or none) and the loop. make_source: called again should the source itself fail."""

    def __init__(
        self,
        make_source: Callable[[], Source] | None,
        reader: Reads,
        loop: Takes,
        counts: Counts,
        kind: str,
    ) -> None:
        self._make_source = make_source
        self._source: Source | None = None
        self._reader = reader
        self._loop = loop
        self._counts = counts
        self._kind = kind
        self._bug = ""
        self._revision: Revision | None = None
        self._manifest = Manifest()
        self._reading = asyncio.Lock()
        self._changed: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Until cancelled. Without a source it only waits."""
        if self._make_source is None:
            await asyncio.Event().wait()
            return
        while True:
            try:
                self._source = self._make_source()
                await self._follow(self._source)
            except (SetpointError, Unreadable) as error:
                log.warning("source cannot be followed: %s", error)
                self._counts.on_source_failure()
                self._bug = str(error)
                self._tell()
            except Exception as error:
                log.exception("a bug in following the source")
                self._counts.on_bug(None, error)
                self._bug = f"a bug in the agent: {type(error).__name__}: {error}"
                self._tell()
            await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self, source: Source) -> None:
        watching = asyncio.ensure_future(self._watch_status(source))
        revisions = source.revisions()
        try:
            async for revision in revisions:
                await self._take(revision)
        finally:
            watching.cancel()
            close = getattr(revisions, "aclose", None)
            if close is not None:
                await close()

    async def _take(self, revision: Revision) -> None:
        async with self._reading:
            await self._take_alone(revision)

    async def _take_alone(self, revision: Revision) -> None:
        started = time.perf_counter()
        manifest = await asyncio.to_thread(self._reader.read, revision)
        log.info(
            "revision %s: %d objects, %d errors (%.0f ms)",
            revision.id[:12],
            len(manifest.objects),
            len(manifest.errors),
            1000 * (time.perf_counter() - started),
        )
        told = set(self._manifest.errors)
        for error in manifest.errors:
            if error not in told:  # what was wrong before is not said again with every commit
                log.warning("%s", error)
        self._loop.submit(manifest, revision)
        self._revision, self._manifest, self._bug = revision, manifest, ""
        self._tell()

    async def _watch_status(self, source: Source) -> None:
        """Say once when the source cannot be read, and once when it can again."""
        told = ""
        while True:
            error = source.status.error
            if error != told:
                if error:
                    log.warning("source cannot be read: %s", error)
                    self._counts.on_source_failure()
                else:
                    log.info("source can be read again")
                told = error
                self._tell()
            await self._take_again()
            await asyncio.sleep(1.0)

    async def _take_again(self) -> None:
        """The same revision, where it reads otherwise now: the policy is another one."""
        if self._revision is None or not self._reader.is_stale():
            return
        async with self._reading:  # a newer one may have come while we waited
            log.info("the policy changed: revision %s is read again", self._revision.id[:12])
            await self._take_alone(self._revision)

    def files(self) -> Mapping[str, bytes]:
        """Those of the newest revision; {} before the first."""
        return self._revision.files if self._revision is not None else {}

    def tree_of(self, path: str) -> str:
        """What a directory of the source holds, as `Revision` says it."""
        return self._revision.tree_of(path) if self._revision is not None else ""

    async def wait_first_look(self, seconds: float) -> None:
        """Until the source was read once, or could not be, at most so long."""
        for _ in range(int(seconds / STEP_SECONDS)):
            if self._make_source is None or self._revision is not None or self._bug or self._is_unreadable():
                return
            await asyncio.sleep(STEP_SECONDS)

    def _is_unreadable(self) -> bool:
        return self._source is not None and bool(self._source.status.error)

    # --- for the API --------------------------------------------------------------------------

    @property
    def is_settled(self) -> bool:
        """The source was read, without error, and what it says was handed to the loop."""
        if self._make_source is None:
            return True
        source, revision = self._source, self._revision
        if source is None or revision is None or self._bug:
            return False
        status = source.status
        return not status.error and not self._manifest.errors and status.revision in ("", revision.id)

    def view(self) -> dict[str, Any]:
        """The state of the source as `/status` and the metrics show it."""
        status = self._source.status if self._source else None
        revision = self._revision
        return {
            "kind": self._kind,
            "where": status.source if status else "",
            "revision": revision.id if revision else "",
            "subject": revision.subject if revision else "",
            "author": revision.author if revision else "",
            "looked_at": status.seen_at if status else 0.0,
            "error": self._bug or (status.error if status else ""),
            "errors": [problem_view(error) for error in self._manifest.errors],
            "warnings": [
                *(problem_view(warning) for warning in self._manifest.warnings),
                *(problem_of(text) for text in (status.warnings if status else ())),
            ],
        }

    async def look_now(self) -> None:
        """Have the source looked at; returns when what it says was handed to the loop, or LOOK_SECONDS
        are over."""
        source = self._source
        if source is None:
            return
        before = source.status
        source.sync()
        end = time.monotonic() + LOOK_SECONDS
        while time.monotonic() < end:
            status, revision = source.status, self._revision
            handed_over = bool(status.error) or (revision is not None and status.revision == revision.id)
            if status is not before and handed_over:
                return
            await asyncio.sleep(STEP_SECONDS)

    def next_change(self) -> asyncio.Future[None]:
        """Done when another revision was taken or the source's state changed. Shared: not to be cancelled.
        Who takes it before looking, and waits for it after, misses nothing."""
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        return self._changed

    def _tell(self) -> None:
        changed, self._changed = self._changed, None
        if changed is not None and not changed.done():
            changed.set_result(None)


def problem_view(error: ManifestError) -> dict[str, Any]:
    return {
        "file": error.where.file,
        "line": error.where.line,
        "column": error.where.column,
        "message": error.message,
        "hint": error.hint,
    }


def problem_of(text: str) -> dict[str, Any]:
    """A problem that has no place."""
    return {"file": "", "line": 0, "column": 0, "message": text, "hint": ""}
