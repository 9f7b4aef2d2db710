"""A commit's files, read from git's objects: no work tree, no checkout, so that no link or filter of a
repository ever acts. Used by `git` (a work tree's HEAD) and by `remote` (a mirror).

Trees and blobs are kept by their id, so that a commit which changes one file costs the trees on the
way to it and that one blob.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent.manifest.objects import Revision
from agent.source.git_program import GitObject, ObjectReader
from agent.source.source import (
    MAX_DEPTH,
    MAX_ENTRIES,
    MAX_FILE_BYTES,
    MAX_FILES,
    MAX_TOTAL_BYTES,
    Unreadable,
    is_wanted,
)

MAX_TREE_BYTES = 16 * 1024 * 1024
MAX_COMMIT_BYTES = 1024 * 1024
TREE, LINK, SUBMODULE = "40000", "120000", "160000"
Entry = tuple[str, str, str]  # mode, name, id


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
        self._trees: dict[str, tuple[Entry, ...]] = {}
        self._blobs: dict[str, bytes] = {}

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
        blobs, warnings = self._list(self._descend(commit.tree, path))
        if len(blobs) > MAX_FILES:
            raise Unreadable(f"too many files (over {MAX_FILES})")
        self._read_blobs(set(blobs.values()))
        files = {name: self._blobs[id] for name, id in blobs.items()}
        if sum(map(len, files.values())) > MAX_TOTAL_BYTES:
            raise Unreadable(f"manifests are too large (over {MAX_TOTAL_BYTES} bytes in all)")
        self.warnings = tuple(warnings)
        return files

    def revision(self, commit: Commit, path: str, source: str, base: str) -> Revision:
        return Revision(commit.id, source, self.files(commit, path), commit.subject, commit.author, base)

    def _descend(self, tree: str, path: str) -> str:
        for part in path.split("/") if path else ():
            found = next(
                (id for mode, name, id in self._load([tree])[tree] if name == part and mode == TREE), None
            )
            if found is None:
                raise PathMissing(path)
            tree = found
        return tree

    def _list(self, root: str) -> tuple[dict[str, str], list[str]]:
        """path -> blob id of the wanted files, level by level; and what is left out."""
        blobs: dict[str, str] = {}
        warnings: list[str] = []
        used: dict[str, tuple[Entry, ...]] = {}
        level = [("", root)]
        seen = 0
        for _ in range(MAX_DEPTH):
            trees = self._load([id for _, id in level])
            used |= trees
            below = []
            for prefix, tree in level:
                for mode, name, id in trees[tree]:
                    seen += 1
                    path = prefix + name
                    if mode == TREE:
                        if not name.startswith("."):
                            below.append((f"{path}/", id))
                    elif mode in (LINK, SUBMODULE):
                        warnings += _left_out(path, mode)
                    elif is_wanted(path):
                        blobs[path] = id
            if seen > MAX_ENTRIES or len(below) > MAX_ENTRIES:
                raise Unreadable(f"too many files (over {MAX_ENTRIES} entries)")
            level = below
            if not level:
                break
        self._trees = used
        return blobs, warnings

    def _load(self, ids: list[str]) -> dict[str, tuple[Entry, ...]]:
        """The entries of trees, from memory or from git."""
        result = {id: self._trees[id] for id in ids if id in self._trees}
        missing = [id for id in dict.fromkeys(ids) if id not in result]
        for id, found in zip(missing, self.objects.read(missing, MAX_TREE_BYTES), strict=True):
            result[id] = tuple(parse_tree(_content(found, id, "tree"), len(id) // 2))
        return result

    def _read_blobs(self, ids: set[str]) -> None:
        """Bring the blobs in memory to exactly those. A blob over the limit becomes one that the
        manifest reader refuses with its place."""
        self._blobs = {id: self._blobs[id] for id in ids if id in self._blobs}
        missing = [id for id in ids if id not in self._blobs]
        for id, found in zip(missing, self.objects.read(missing, MAX_FILE_BYTES), strict=True):
            if found is not None and found.data is None:
                self._blobs[id] = bytes(MAX_FILE_BYTES)
            else:
                self._blobs[id] = _content(found, id, "blob")


def _content(found: GitObject | None, id: str, type: str) -> bytes:
    if found is None or found.type != type:
        raise Unreadable(f"{type} {id} is missing: the repository is damaged or incomplete")
    if found.data is None:
        raise Unreadable(f"{type} {id} is too large ({found.size} bytes)")
    return found.data


def _left_out(path: str, mode: str) -> list[str]:
    """What is said of a link or submodule; nothing when no file of that name would be read."""
    if mode == SUBMODULE:
        return [f"{path} is a submodule and is left out"]
    return [f"{path} is a symbolic link and is left out"] if is_wanted(path) else []


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
