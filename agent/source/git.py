"""A git work tree as a source: what is committed at HEAD is what is wanted, whatever is saved.

Looks when something in .git changes (HEAD, refs, packed-refs, reftable), and every few seconds all
the same. A look that finds the same commit costs one question to a running git.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from agent.manifest.objects import Revision
from agent.source.git_program import PLAIN, ObjectReader, run
from agent.source.git_tree import CommitReader, PathMissing
from agent.source.sandbox import Sandbox
from agent.source.source import SourceStatus, Unreadable
from agent.source.watch import Watch

POLL_SECONDS = 10.0
IDLE_SECONDS = 60.0
REBASES = ("rebase-merge", "rebase-apply")  # in .git, from before HEAD moves until after it is a branch again


@dataclass(frozen=True, slots=True)
class Repository:
    """Where a watched directory's repository is. prefix: the directory's path in it, "" for its top."""

    git_directory: Path
    common_directory: Path
    prefix: str


def find_repository(path: Path) -> Repository | None:
    """The repository whose work tree path lies in, or None. Raises Unreadable."""
    if not any((directory / ".git").exists() for directory in (path, *path.parents)):
        return None
    questions = ("--absolute-git-dir", "--git-common-dir", "--show-prefix")
    lines = run(["rev-parse", *questions], directory=path).split("\n")
    git_directory = Path(lines[0])
    return Repository(git_directory, (path / lines[1]).resolve(), lines[2].strip("/"))


class GitSource:
    """path: an absolute directory in a work tree."""

    def __init__(
        self,
        path: Path,
        repository: Repository,
        poll_seconds: float = POLL_SECONDS,
        sandbox: Sandbox = PLAIN,
    ) -> None:
        self.path = path
        self.repository = repository
        self.poll_seconds = poll_seconds
        self._status = SourceStatus(str(path))
        self._wake = asyncio.Event()
        self._watch = Watch(self._wake.set, lambda path: True)
        self._sandbox = sandbox
        self._objects = ObjectReader(repository.git_directory, sandbox)
        self._reader = CommitReader(self._objects)
        self._used_at = 0.0

    @property
    def status(self) -> SourceStatus:
        return self._status

    def sync(self) -> None:
        self._wake.set()

    async def revisions(self) -> AsyncIterator[Revision]:
        loop = asyncio.get_running_loop()
        problem = await asyncio.to_thread(self._watch.start, loop, self._directories())
        poll_seconds = min(self.poll_seconds, 2.0) if problem else self.poll_seconds
        try:
            while True:
                revision = await asyncio.to_thread(self._look)
                if revision is not None:
                    yield revision
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), poll_seconds)
                self._wake.clear()
                self._watch.take()
        finally:
            await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._watch.stop()
        self._objects.close()
        self._sandbox.close()

    def _directories(self) -> list[tuple[Path, bool]]:
        common = self.repository.common_directory
        places = [
            (self.repository.git_directory, False),
            (common / "refs", True),
            (common / "reftable", False),
        ]
        if common != self.repository.git_directory:
            places.append((common, False))
        return [(directory, recursive) for directory, recursive in places if directory.is_dir()]

    def _look(self) -> Revision | None:
        """A revision if HEAD is another commit than before. Runs in a thread, one at a time."""
        now = time.monotonic()
        try:
            revision = self._read()
        except Unreadable as error:
            self._status = replace(self._status, error=str(error))
            return None
        if revision is not None:
            self._used_at = now
        elif now - self._used_at > IDLE_SECONDS:
            self._objects.close()  # a few megabytes; it is back within milliseconds
        return revision

    def _check_at_rest(self) -> None:
        """Unreadable while a rebase (or `git pull --rebase`) takes HEAD through commits that nobody asked to
        run: one of them may lack what was committed here, and its containers would be removed. Asked after
        HEAD was read."""
        if any((self.repository.git_directory / name).exists() for name in REBASES):
            raise Unreadable(
                f"a rebase is under way in {self.path}: what was committed before it counts until it ends, "
                "by git rebase --continue or --abort"
            )

    def _read(self) -> Revision | None:
        commit = self._reader.commit("HEAD")
        if commit is None:
            raise Unreadable(f"{self.path} is in a git repository, and nothing is committed yet")
        self._check_at_rest()
        if commit.id == self._status.revision:
            self._status = replace(self._status, seen_at=time.time(), error="")
            return None
        try:
            revision = self._reader.revision(commit, self.repository.prefix, str(self.path), str(self.path))
        except PathMissing:
            if not self._status.revision:
                raise Unreadable(
                    f"{self.path} is not committed: the commit {commit.id[:12]} has no such path"
                ) from None
            revision = Revision(commit.id, str(self.path), {}, commit.subject, commit.author, str(self.path))
        self._status = SourceStatus(str(self.path), commit.id, time.time(), "", self._reader.warnings)
        return revision
