"""COPY and ADD: files of a source into the root that is built, by the rules of BuildKit.

    found sources ─> Copier.copy(source, parts, name) ─> the root's upper directory

A directory's content is copied, a file goes into a destination that is a directory; a directory that is
already there keeps its own mode, those below it take the source's. Every place in the root is found with its
links followed inside of it, and is then opened by its real path (`paths`).
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from runtime.errors import Invalid, Temporary
from runtime.images.build import paths
from runtime.images.build.modes import Change
from runtime.images.build.paths import Parts, shown
from runtime.images.build.sources import Digests, Item, SourceTree, owner_of
from runtime.images.content import write_all
from runtime.images.xattrs import set_xattrs

_CHUNK_BYTES = 1 << 20
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY_MODE = 0o755
Owner = tuple[int, int]
Excludes = Callable[[str], bool]


def _nothing(path: str) -> bool:
    return False


class Copier:
    """root: a descriptor of the root that is built. owner: of all that is made, None keeps the source's.
    change: of modes, None keeps them. now_ns: the time of what has none of its own."""

    def __init__(self, root: int, owner: Owner | None, change: Change | None, now_ns: int) -> None:
        self._root = root
        self._owner = owner
        self._change = change
        self._now_ns = now_ns
        self._links: dict[tuple[int, int], tuple[Parts, str]] = {}

    def keeping(self) -> Copier:
        """One that keeps the owners and modes of its source."""
        return Copier(self._root, None, None, self._now_ns)

    # --- where it goes

    def target_of(self, destination: str, *, is_directory: bool, name: str, is_tree: bool) -> Parts:
        """The real path for a source. name: the source's, for a destination that is a directory. is_tree: the
        source is a directory, whose content goes to the destination itself."""
        parts = paths.real_path(self._root, destination)
        found = paths.status(self._root, parts)
        is_there = found is not None and stat.S_ISDIR(found.st_mode)
        if is_tree:
            if found is not None and not is_there:
                raise Invalid("copy files", shown(parts), "a directory cannot replace a file")
            return parts
        return (*parts, name) if is_directory or is_there else parts

    def make_parents(self, parts: Parts, mode: int = _DIRECTORY_MODE) -> None:
        """Directories on the way that are missing belong to the owner, or to root."""
        try:
            os.close(paths.make_directories(self._root, parts, mode, self._own))
        except NotADirectoryError as error:
            raise Invalid("copy files", str(error.filename2 or error.filename or shown(parts)),
                          "a file is where a directory has to be") from error  # fmt: skip

    def _own(self, descriptor: int) -> None:
        if self._owner is not None:
            os.fchown(descriptor, *self._owner)
        os.utime(descriptor, ns=(self._now_ns, self._now_ns))

    # --- copying

    def copy(self, digests: Digests, parts: Parts, target: Parts, excludes: Excludes = _nothing) -> None:
        """A file to `target`, or the content of a directory into it."""
        source = digests.source
        made: list[tuple[Parts, Item]] = []
        for item in source.items(parts, excludes):
            place = (*target, *item.inner)
            if item.kind == "directory":
                if self._directory(item, place):
                    made.append((place, item))
                continue
            self.make_parents(place[:-1])
            self._entry(digests, item, place)
        for place, item in reversed(made):  # last: what is made in a directory changes its time
            self._dress_directory(source, item, place)

    def copy_parent(self, source: SourceTree, parts: Parts, target: Parts) -> None:
        """With --parents: one directory on the way, with the source's mode where it is made."""
        if paths.status(self._root, target) is not None:
            self.make_parents(target)
            return
        item = next(source.items(parts, lambda path: True), None)
        self.make_parents(target)
        if item is not None and item.kind == "directory":
            self._dress_directory(source, item, target)

    def write_file(self, target: Parts, content: bytes, mode: int, mtime_ns: int | None = None) -> None:
        """A file that is not the source's: a here-document, or what was downloaded."""
        self.make_parents(target[:-1])
        descriptor = self._new_file(target)
        try:
            write_all(descriptor, content) if content else None
            self._dress_file(descriptor, (0, 0), mode, self._now_ns if mtime_ns is None else mtime_ns)
        finally:
            os.close(descriptor)

    def write_from(self, target: Parts, path: Path, mode: int, mtime_ns: int | None) -> None:
        """The same, of a file of the build's own."""
        self.make_parents(target[:-1])
        descriptor = self._new_file(target)
        try:
            with path.open("rb", buffering=0) as file:
                _copy_content(file.fileno(), descriptor)
            self._dress_file(descriptor, (0, 0), mode, self._now_ns if mtime_ns is None else mtime_ns)
        finally:
            os.close(descriptor)

    def _directory(self, item: Item, place: Parts) -> bool:
        """Whether it is to take the source's attributes: it is new, or not the top one."""
        found = paths.status(self._root, place)
        if found is not None and not stat.S_ISDIR(found.st_mode):
            raise Invalid("copy files", shown(place), "a directory cannot replace a file")
        if not item.inner:
            self.make_parents(place)
            return False
        self.make_parents(place)
        return True

    def _dress_directory(self, source: SourceTree, item: Item, place: Parts) -> None:
        descriptor = paths.open_directory(self._root, place)
        try:
            os.fchown(descriptor, *(self._owner or owner_of(source, item)))
            os.fchmod(descriptor, self._mode(item.mode, is_directory=True))
            set_xattrs(descriptor, item.xattrs)
            os.utime(descriptor, ns=(item.status.st_mtime_ns, item.status.st_mtime_ns))
        finally:
            os.close(descriptor)

    def _entry(self, digests: Digests, item: Item, place: Parts) -> None:
        match item.kind:
            case "file":
                self._file(digests, item, place)
            case "link":
                with self._parent(place) as parent:
                    os.symlink(item.link, place[-1], dir_fd=parent)
                    self._dress_node(parent, place[-1], digests.source, item)
            case _:
                with self._parent(place) as parent:
                    os.mknod(place[-1], item.status.st_mode, item.status.st_rdev, dir_fd=parent)
                    self._dress_node(parent, place[-1], digests.source, item)

    def _file(self, digests: Digests, item: Item, place: Parts) -> None:
        identity = (item.status.st_dev, item.status.st_ino)
        digest = digests.of(item)
        if item.status.st_nlink > 1 and identity in self._links:
            first, known = self._links[identity]
            if known == digest and self._link(first, place):
                return
        opened = digests.source.open(item)
        try:
            descriptor = self._new_file(place)
            try:
                if _copy_content(opened, descriptor) != digest:
                    raise Temporary(
                        "copy files", shown(item.parts), "it changed while it was copied", "build again"
                    )
                self._dress_file(
                    descriptor, owner_of(digests.source, item), item.mode, item.status.st_mtime_ns
                )
                set_xattrs(descriptor, item.xattrs)
            finally:
                os.close(descriptor)
        finally:
            os.close(opened)
        self._links.setdefault(identity, (place, digest))

    def _link(self, first: Parts, place: Parts) -> bool:
        """False when the first one was replaced meanwhile."""
        with self._parent(place) as parent:
            source = paths.open_directory(self._root, first[:-1])
            try:
                os.link(first[-1], place[-1], src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
            except FileNotFoundError:
                return False
            finally:
                os.close(source)
        return True

    def _new_file(self, place: Parts) -> int:
        with self._parent(place) as parent:
            return os.open(place[-1], _NEW_FILE, 0o600, dir_fd=parent)

    def _parent(self, place: Parts) -> _Opened:
        """The directory of a place, with what was there before taken away. `Invalid` for a directory."""
        if not place:
            raise Invalid("copy files", "/", "a file cannot replace the root")
        opened = _Opened(paths.open_directory(self._root, place[:-1]))
        try:
            os.unlink(place[-1], dir_fd=opened.descriptor)
        except FileNotFoundError:
            pass
        except OSError as error:
            opened.close()
            if error.errno in (errno.EISDIR, errno.EPERM):
                raise Invalid("copy files", shown(place), "a file cannot replace a directory") from error
            raise
        return opened

    # --- what it looks like

    def _mode(self, mode: int, *, is_directory: bool) -> int:
        return self._change(mode, is_directory) if self._change is not None else mode

    def _dress_file(self, descriptor: int, owner: Owner, mode: int, mtime_ns: int) -> None:
        os.fchown(descriptor, *(self._owner or owner))
        os.fchmod(descriptor, self._mode(mode, is_directory=False))  # after chown: it clears set-user-id
        os.utime(descriptor, ns=(mtime_ns, mtime_ns))

    def _dress_node(self, parent: int, name: str, source: SourceTree, item: Item) -> None:
        uid, gid = self._owner or owner_of(source, item)
        os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)
        if item.kind != "link":
            os.chmod(name, self._mode(item.mode, is_directory=False), dir_fd=parent)
        times = (item.status.st_mtime_ns, item.status.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=parent, follow_symlinks=False)


class _Opened:
    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def close(self) -> None:
        os.close(self.descriptor)

    def __enter__(self) -> int:
        return self.descriptor

    def __exit__(self, *_: object) -> None:
        self.close()


def _copy_content(source: int, target: int) -> str:
    """The digest of what was copied."""
    hasher = hashlib.sha256()
    while data := os.read(source, _CHUNK_BYTES):
        hasher.update(data)
        write_all(target, data)
    return hasher.hexdigest()
