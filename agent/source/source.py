"""What every source of manifests has in common: revisions that come, a wish to look now, a status.

    async for revision in source.revisions(): …

A source never parses what it reads, and never gives less because it could not look: as long as it
cannot, the last revision stays the last, and `status.error` says why.
"""

from __future__ import annotations

import posixpath
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Protocol

from agent.manifest.objects import Revision

MAX_FILES = 50_000
MAX_TOTAL_BYTES = 128 * 1024 * 1024
MAX_FILE_BYTES = 1024 * 1024 + 1  # one more than the manifest reader takes, so that it says so
MAX_ENTRIES = 500_000
MAX_DEPTH = 32


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """error: why the last look failed, "" when it did not. warnings: what was left out, and what is
    worth saying of the last revision. seen_at: when the source last answered (Unix seconds)."""

    source: str
    revision: str = ""
    seen_at: float = 0.0
    error: str = ""
    warnings: tuple[str, ...] = ()


class Source(Protocol):
    @property
    def status(self) -> SourceStatus: ...

    def revisions(self) -> AsyncIterator[Revision]:
        """Each state that differs from the one before, the first one as soon as there is one. To be
        iterated once. Ends never; closing the iterator frees what it holds."""

    def sync(self) -> None:
        """Look now, and not only when an event or a timer says so. Safe from the loop's thread only."""


class Unreadable(Exception):
    """The source cannot be looked at now; its text is for people."""


def is_wanted(path: str) -> bool:
    """Whether a file can matter to manifests: YAML, and files of variables, outside of dot-directories.

    Everything else in a project's directory (data that is bind-mounted, say) is never read.
    """
    if path.startswith(".") or "/." in path:
        directories, _, name = path.rpartition("/")
        if directories.startswith(".") or "/." in directories:
            return False
        return is_wanted_name(name)
    return is_wanted_name(path.rpartition("/")[2])


def is_wanted_name(name: str) -> bool:
    """The same for a file's name alone."""
    if name.endswith((".yaml", ".yml")):
        return not name.startswith((".", "#"))
    if name.startswith("."):
        return name == ".env" or name.startswith(".env.")
    if name.startswith("#") or name.endswith(("~", ".swp", ".tmp")):
        return False
    return is_variables(name)


def is_variables(name: str) -> bool:
    """env, x.env, env.x: the names that `env_file` is given."""
    return "env" in name.lower().split(".")


def has_manifest(paths: Iterable[str]) -> bool:
    return any(
        path.endswith((".yaml", ".yml")) and not posixpath.basename(path).startswith(".") for path in paths
    )
