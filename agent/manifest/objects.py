"""What reading a revision gives: desired objects and errors, each with its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from agent.manifest.spec import AnySpec
from agent.policy.policy import OPEN, Policy
from store.records import Key


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a manifest; line and column count from 1. Prints as file:line:column."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class ManifestError:
    where: Where
    message: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}"
        return f"{text} (hint: {self.hint})" if self.hint else text


@dataclass(frozen=True, slots=True)
class Object:
    """One desired object. spec_hash is over the fields that were set, so that a newer Setpoint with
    new defaults does not see a change. recreate_hash leaves out what can be applied live: as long as
    it stays the same, the container that runs may stay (see `hashing`)."""

    key: Key
    spec: AnySpec
    where: Where
    spec_hash: str
    recreate_hash: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A revision, read. frozen_files: files with an error, whose objects stay as they are: not knowing
    is never not wanting. `objects` holds nothing of a frozen file. warnings stop nothing. denied: what
    the policy refuses, and why. is_withheld: nothing of it may be taken (see `agent.policy.gate`).
    policy: what it was judged by."""

    objects: Mapping[Key, Object] = field(default_factory=dict)
    errors: tuple[ManifestError, ...] = ()
    frozen_files: frozenset[str] = frozenset()
    warnings: tuple[ManifestError, ...] = ()
    denied: Mapping[Key, str] = field(default_factory=dict)
    is_withheld: bool = False
    policy: Policy = OPEN


NO_DOCKERFILE = "/"  # no path in a directory is like it


def context_name(directory: str, dockerfile: str = "") -> str:
    """A directory that something is built of, and the Dockerfile in it, which says what is ignored: "" for
    the one that a build looks for, NO_DOCKERFILE where there is none."""
    return f"{directory}\0{dockerfile}" if dockerfile else directory


def split_context(name: str) -> tuple[str, str]:
    """(directory, dockerfile), the inverse."""
    directory, _, dockerfile = name.partition("\0")
    return directory, dockerfile


@dataclass(frozen=True, slots=True)
class Revision:
    """One state of a source: path (relative to its root, "/"-separated) -> bytes.

    id: the commit, or "dir-" and a digest of the files. Paths are in no order.
    base: the absolute directory on this host that the files lie in, which relative bind mounts are
    relative to; "" when there is none (a remote repository). tree_of: what a directory of the source
    (`context_name`) holds, by content, for who builds of it: "git:ID", "dir:DIGEST", or "" when it is not
    there.
    """

    id: str
    source: str
    files: Mapping[str, bytes]
    subject: str = ""
    author: str = ""
    base: str = ""
    tree_of: Callable[[str], str] = field(default=lambda path: "", compare=False)
