"""A commit's files, read from git's objects: no work tree, no checkout, so that no link or filter of a
repository ever acts. Used by `git` (a work tree's HEAD) and by `remote` (a mirror).

A directory whose tree has the id that it had before is as it was: a commit which changes one file costs
the trees on the way to it and that one blob.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from agent.manifest.objects import Revision, split_context
from agent.source.git_program import GitObject, ObjectReader
from agent.source.source import (
    MAX_DEPTH,
    MAX_ENTRIES,
    MAX_FILE_BYTES,
    MAX_FILES,
    MAX_TOTAL_BYTES,
    Unreadable,
    is_wanted_name,
)

MAX_TREE_BYTES = 16 * 1024 * 1024
MAX_COMMIT_BYTES = 1024 * 1024
TREE, LINK, SUBMODULE = "40000", "120000", "160000"
Entry = tuple[str, str, str]  # mode, name, id


@dataclass(frozen=True, slots=True)
class Listing:
    """What a tree object holds that matters: (name, id) of trees and of wanted blobs, and what is left
    out. count: all its entries."""

    trees: tuple[tuple[str, str], ...]
    blobs: tuple[tuple[str, str], ...]
    left_out: tuple[str, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Directory:
    """A tree at its place. prefix: its path and "/"; blobs: path -> id; below: (prefix, id) of the trees in
    it that are read; files: path -> content, empty until the blobs are read."""

    prefix: str
    id: str
    count: int
    below: tuple[tuple[str, str], ...]
    blobs: dict[str, str]
    left_out: tuple[str, ...]
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Commit:
    id: str
    tree: str
    parents: tuple[str, ...]
    subject: str
    author: str
    committed_at: int


class PathMissing(Exception):
    """The commit has no such directory."""


class CommitReader:
    """Reads one repository's commits below one path."""

    def __init__(self, objects: ObjectReader) -> None:
        self.objects = objects
        self.warnings: tuple[str, ...] = ()
        self._directories: dict[str, Directory] = {}

    def commit(self, name: str) -> Commit | None:
        """The commit that a ref or id names, or None."""
        found = next(self.objects.read([f"{name}^{{commit}}"], MAX_COMMIT_BYTES))
        if found is None:
            return None
        if found.data is None:
            raise Unreadable(f"commit {found.id} is too large")
        return parse_commit(found.id, found.data)

    def files(self, commit: Commit, path: str) -> dict[str, bytes]:
        """The wanted files below path ("" is the whole). Raises PathMissing, Unreadable."""
        found = self._list(self._descend(commit.tree, path))
        if sum(len(directory.blobs) for directory in found.values()) > MAX_FILES:
            raise Unreadable(f"too many files (over {MAX_FILES})")
        self._read_blobs(found)
        files: dict[str, bytes] = {}
        for directory in found.values():
            files.update(directory.files)
        if sum(map(len, files.values())) > MAX_TOTAL_BYTES:
            raise Unreadable(f"manifests are too large (over {MAX_TOTAL_BYTES} bytes in all)")
        self._directories = found
        self.warnings = tuple(text for directory in found.values() for text in directory.left_out)
        return files

    def revision(self, commit: Commit, path: str, source: str, base: str) -> Revision:
        files = self.files(commit, path)
        trees = {prefix.rstrip("/"): f"git:{found.id}" for prefix, found in self._directories.items()}
        return Revision(
            commit.id, source, files, commit.subject, commit.author, base,
            tree_of=lambda name: trees.get(split_context(name)[0], ""),
        )  # fmt: skip

    def _descend(self, tree: str, path: str) -> str:
        for part in path.split("/") if path else ():
            found = dict(self._load({tree})[tree].trees).get(part)
            if found is None:
                raise PathMissing(path)
            tree = found
        return tree

    def _list(self, root: str) -> dict[str, Directory]:
        """prefix -> directory, level by level; the very same values for those that did not change."""
        before = self._directories
        found: dict[str, Directory] = {}
        listings: dict[str, Listing] = {}
        level = [("", root)]
        seen = 0
        for _ in range(MAX_DEPTH):
            listings |= self._load(
                {id for prefix, id in level if not _is_at(before, prefix, id)} - listings.keys()
            )
            below: list[tuple[str, str]] = []
            for prefix, id in level:
                is_same = _is_at(before, prefix, id)
                directory = before[prefix] if is_same else _directory(prefix, id, listings[id])
                seen += directory.count
                if seen > MAX_ENTRIES:
                    raise Unreadable(f"too many files (over {MAX_ENTRIES} entries)")
                found[prefix] = directory
                below += directory.below
            level = below
            if not level:
                break
        return found

    def _load(self, ids: Collection[str]) -> dict[str, Listing]:
        """The entries of trees, from git."""
        return {
            id: _listing(parse_tree(_content(found, id, "tree"), len(id) // 2))
            for id, found in zip(ids, self.objects.read(ids, MAX_TREE_BYTES), strict=True)
        }

    def _read_blobs(self, found: Mapping[str, Directory]) -> None:
        """Fill the directories that are new; what lay elsewhere, or beside, before is not read again. A blob
        over the limit becomes one that the manifest reader refuses with its place."""
        before = self._directories
        new = [directory for prefix, directory in found.items() if before.get(prefix) is not directory]
        known: dict[str, bytes] = {}
        for prefix, old in before.items():
            if found.get(prefix) is not old:
                known.update((id, old.files[path]) for path, id in old.blobs.items())
        missing = list(
            dict.fromkeys(id for directory in new for id in directory.blobs.values() if id not in known)
        )
        for id, blob in zip(missing, self.objects.read(missing, MAX_FILE_BYTES), strict=True):
            is_too_large = blob is not None and blob.data is None
            known[id] = bytes(MAX_FILE_BYTES) if is_too_large else _content(blob, id, "blob")
        for directory in new:
            directory.files.update((path, known[id]) for path, id in directory.blobs.items())


def _is_at(directories: Mapping[str, Directory], prefix: str, id: str) -> bool:
    found = directories.get(prefix)
    return found is not None and found.id == id


def _directory(prefix: str, id: str, listing: Listing) -> Directory:
    return Directory(
        prefix,
        id,
        listing.count,
        tuple((f"{prefix}{name}/", id) for name, id in listing.trees if not name.startswith(".")),
        {prefix + name: id for name, id in listing.blobs},
        tuple(prefix + text for text in listing.left_out),
    )


def _content(found: GitObject | None, id: str, type: str) -> bytes:
    if found is None or found.type != type:
        raise Unreadable(f"{type} {id} is missing: the repository is damaged or incomplete")
    if found.data is None:
        raise Unreadable(f"{type} {id} is too large ({found.size} bytes)")
    return found.data


def _listing(entries: Iterator[Entry]) -> Listing:
    trees: list[tuple[str, str]] = []
    blobs: list[tuple[str, str]] = []
    left_out: list[str] = []
    count = 0
    for mode, name, id in entries:
        count += 1
        if mode == TREE:
            trees.append((name, id))
        elif mode == SUBMODULE:
            left_out.append(f"{name} is a submodule and is left out")
        elif is_wanted_name(name):
            if mode == LINK:
                left_out.append(f"{name} is a symbolic link and is left out")
            else:
                blobs.append((name, id))
    return Listing(tuple(trees), tuple(blobs), tuple(left_out), count)


def parse_tree(data: bytes, id_bytes: int) -> Iterator[Entry]:
    """The entries of a tree object: `mode name NUL id`. Raises Unreadable."""
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 8)
        end = data.find(b"\0", space + 1)
        after = end + 1 + id_bytes
        if space < 0 or end < 0 or after > len(data):
            raise Unreadable("a tree object is damaged")
        name = data[space + 1 : end].decode("utf-8", "surrogateescape")
        if not name or "/" in name or name in (".", ".."):
            raise Unreadable(f"a tree object has an entry named {name!r}")
        yield data[at:space].decode("ascii", "replace"), name, data[end + 1 : after].hex()
        at = after


def parse_commit(id: str, data: bytes) -> Commit:
    """A commit object. Raises Unreadable."""
    header, _, message = data.decode("utf-8", "replace").partition("\n\n")
    tree, parents, author, committed_at = "", [], "", 0
    for line in header.split("\n"):
        word, _, rest = line.partition(" ")
        if word == "tree" and not tree:
            tree = rest
        elif word == "parent":
            parents.append(rest)
        elif word == "author" and not author:
            author = rest.partition(" <")[0]
        elif word == "committer" and not committed_at:
            seconds = rest.rpartition("> ")[2].split(" ")[0]
            committed_at = int(seconds) if seconds.isdigit() and len(seconds) < 15 else 0
    if len(tree) not in (40, 64) or set(tree) - set("0123456789abcdef"):
        raise Unreadable(f"commit {id} is damaged")
    subject = message.lstrip("\n").partition("\n")[0][:200]
    return Commit(id, tree, tuple(parents), subject, author[:200], committed_at)
