"""Where COPY, ADD and bind mounts take files from: a build's context, or the root of a stage or an image.

    SourceTree(root, …).find(pattern) ─> real paths ─ items(path) ─> Item, … ─ digest

A context hides what `.dockerignore` names, and its files belong to root. Nothing here leaves the root that it
was given (`paths`), and nothing but regular files is ever opened.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from runtime.errors import Invalid
from runtime.images.build import paths
from runtime.images.build.paths import Parts
from runtime.images.limits import DEFAULT_LIMITS, Limits
from runtime.images.xattrs import allowed_xattrs

_CHUNK_BYTES = 1 << 20
_KINDS = {
    stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link", stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "device", stat.S_IFBLK: "device",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Item:
    """Something to copy. parts: its real path. inner: below what is copied, () for that itself. link: of a
    symbolic link. xattrs: those that a layer may hold."""

    parts: Parts
    inner: Parts
    kind: str
    status: os.stat_result
    link: str = ""
    xattrs: tuple[tuple[str, bytes], ...] = ()

    @property
    def mode(self) -> int:
        return stat.S_IMODE(self.status.st_mode)


class SourceTree:
    """root: a descriptor, the caller's. keeps_owner: files keep their owners; else they are root's, and there
    are no devices. is_hidden: whether a path (without the first "/") is as good as not there; may_hold:
    whether something below such a directory is there all the same."""

    def __init__(
        self,
        root: int,
        name: str,
        *,
        keeps_owner: bool,
        is_hidden: Callable[[str], bool] = lambda path: False,
        may_hold: Callable[[str], bool] = lambda path: True,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self.root = root
        self.name = name
        self.keeps_owner = keeps_owner
        self._is_hidden = is_hidden
        self._may_hold = may_hold
        self._limits = limits

    def real(self, path: str) -> Parts:
        """Where a path leads, last link included."""
        return paths.real_path(self.root, path)

    def status(self, parts: Parts) -> os.stat_result | None:
        """None for what is hidden, too."""
        found = paths.status(self.root, parts)
        if found is None or not parts:
            return found
        path = "/".join(parts)
        if not self._is_hidden(path):
            return found
        return found if stat.S_ISDIR(found.st_mode) and self._holds(parts) else None

    def _holds(self, parts: Parts) -> bool:
        """Whether a hidden directory has something in it that is not."""
        if not self._may_hold("/".join(parts)):
            return False
        for name, is_directory in self._names(parts):
            path = "/".join((*parts, name))
            if not self._is_hidden(path) or (is_directory and self._holds((*parts, name))):
                return True
        return False

    def _names(self, parts: Parts) -> list[tuple[str, bool]]:
        directory = paths.open_directory(self.root, parts)
        try:
            with os.scandir(directory) as entries:
                return sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
        finally:
            os.close(directory)

    def names(self, parts: Parts) -> Iterator[tuple[str, bool]]:
        """(name, is it a directory) of what a directory shows, sorted."""
        for name, is_directory in self._names(parts):
            if self.status((*parts, name)) is not None:
                yield name, is_directory

    def items(self, parts: Parts, excludes: Callable[[str], bool] = lambda path: False) -> Iterator[Item]:
        """What is at a real path and below it, parents first. excludes: takes the path below it."""
        found = self.status(parts)
        if found is None:
            return
        count = 0
        waiting: list[tuple[Parts, Parts, os.stat_result]] = [(parts, (), found)]
        while waiting:
            whole, inner, found = waiting.pop()
            count += 1
            self.check(count, inner)
            item = self._item(whole, inner, found)
            if item is None:
                continue
            yield item
            if item.kind != "directory":
                continue
            for name, _ in reversed(list(self.names(whole))):
                below = (*inner, name)
                status = self.status((*whole, name))
                if status is not None and not excludes("/".join(below)):
                    waiting.append(((*whole, name), below, status))

    def check(self, count: int, inner: Parts) -> None:
        """`Invalid` when a walk that has come so far is to end."""
        if count > self._limits.entries:
            raise Invalid("copy files", self.name, f"more than {self._limits.entries} files")
        if len(inner) > self._limits.depth:
            raise Invalid("copy files", self.name, f"deeper than {self._limits.depth} directories")

    def _item(self, parts: Parts, inner: Parts, found: os.stat_result) -> Item | None:
        kind = _KINDS.get(stat.S_IFMT(found.st_mode))
        if kind is None:  # a socket: it means nothing without who listens
            return None
        if kind == "device" and (not self.keeps_owner or found.st_rdev == 0):
            raise Invalid("copy files", paths.shown(parts), f"a device, in {self.name}", "leave it out")
        link = ""
        if kind == "link":
            parent = paths.open_directory(self.root, parts[:-1])
            try:
                link = os.readlink(parts[-1], dir_fd=parent)
            finally:
                os.close(parent)
        return Item(parts, inner, kind, found, link, self._xattrs(parts, kind))

    def _xattrs(self, parts: Parts, kind: str) -> tuple[tuple[str, bytes], ...]:
        if kind not in ("file", "directory"):
            return ()
        try:
            opened = (
                paths.open_file(self.root, parts)
                if kind == "file"
                else paths.open_directory(self.root, parts)
            )
        except OSError:
            return ()
        try:
            names = sorted(os.listxattr(opened))
            if not names:
                return ()
            allowed, _ = allowed_xattrs(
                {os.fsencode(name): os.getxattr(opened, name) for name in names}, self._limits
            )
            return allowed
        except OSError:
            return ()
        finally:
            os.close(opened)

    def open(self, item: Item) -> int:
        return paths.open_file(self.root, item.parts)


def owner_of(source: SourceTree, item: Item) -> tuple[int, int]:
    return (item.status.st_uid, item.status.st_gid) if source.keeps_owner else (0, 0)


def digest_file(descriptor: int) -> str:
    """sha256 of what is left in an open file, as hex digits."""
    hasher = hashlib.sha256()
    while data := os.read(descriptor, _CHUNK_BYTES):
        hasher.update(data)
    return hasher.hexdigest()


class Digests:
    """The content of files by their real path: hashed once, and compared with what is copied later."""

    def __init__(self, source: SourceTree) -> None:
        self.source = source
        self._known: dict[Parts, str] = {}

    def of(self, item: Item) -> str:
        known = self._known.get(item.parts)
        if known is None:
            descriptor = self.source.open(item)
            try:
                known = digest_file(descriptor)
            finally:
                os.close(descriptor)
            self._known[item.parts] = known
        return known

    def describe(self, items: Iterator[Item] | Sequence[Item]) -> list[list[object]]:
        """What is copied, in words that equal what is equal: no time, and no inode but for hard links."""
        found: list[list[object]] = []
        links: dict[tuple[int, int], str] = {}
        for item in items:
            content: object = item.link
            if item.kind == "file":
                content = self.of(item)
                if item.status.st_nlink > 1:
                    identity = (item.status.st_dev, item.status.st_ino)
                    content = [content, links.setdefault(identity, "/".join(item.inner))]
            elif item.kind == "device":
                content = item.status.st_rdev
            found.append([
                "/".join(item.inner), item.kind, item.mode, owner_of(self.source, item), content,
                [[name, value.hex()] for name, value in item.xattrs],
            ])  # fmt: skip
        return found

    def digest(self, items: Iterator[Item] | Sequence[Item]) -> str:
        text = json.dumps(self.describe(items), separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
