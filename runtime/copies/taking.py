"""The entries of a tar into a directory of a container, which may run and change names meanwhile: `docker cp`
into it.

    dest ─ openat2(BENEATH, NO_SYMLINKS) ─> a directory of the archive's path
         └ through a link of the container's: openat2(IN_ROOT) from its root

Every file is made with O_EXCL and O_NOFOLLOW in a directory that is held open; owners, modes and times are
given by descriptor. What is there is replaced, directories are merged; what is mounted is never removed. A
link that the archive itself made is not gone through. Called by the worker.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from runtime import syscalls
from runtime.copies.places import is_kernels
from runtime.errors import Invalid
from runtime.images.directories import O_DIRECTORY
from runtime.images.limits import Limits
from runtime.images.names import clean_path
from runtime.images.tarheaders import Entry, Kind
from runtime.images.tree import Tree
from runtime.images.xattrs import set_xattrs
from runtime.mounts import TMPFS_MAGIC

_BELOW = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS
_IN_ROOT = syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NODE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_SPACE_CHECK_BYTES = 16 * 1024 * 1024
_MAX_DEPTH = 256
_FORMATS: dict[Kind, int] = {
    "symlink": stat.S_IFLNK, "fifo": stat.S_IFIFO, "char": stat.S_IFCHR, "block": stat.S_IFBLK,
}  # fmt: skip
Identity = tuple[int, int]


class Taking(Tree):
    """root: of the container. dest, path: the directory that is filled, and its real path in the container.
    owner: of all that is made, None keeps the archive's. ids: how many the container has. keeps_kinds: a
    directory and what is none do not replace each other."""

    _OP = "copy"
    _HARM = "look what is in the archive, and where it goes"
    _owns_all = True

    def __init__(
        self,
        root: int,
        dest: int,
        path: bytes,
        subject: str,
        limits: Limits,
        *,
        owner: tuple[int, int] | None = None,
        ids: int = 1 << 32,
        keeps_kinds: bool = False,
    ) -> None:
        self._container = root
        self._root = dest
        self._path = path
        self._subject = subject
        self._limits = limits
        self._owner = owner
        self._ids = ids
        self._keeps_kinds = keeps_kinds
        self._umask = 0
        self._open: dict[bytes, int] = {}
        self._directories = {}
        self._implicit: dict[bytes, None] = {}
        self._warnings: dict[str, None] = {}
        self._links: set[bytes] = set()
        self._times: dict[bytes, tuple[Identity, int]] = {}
        self._entries = 0
        self._size_bytes = 0
        self._space = dest
        self._unchecked_bytes = _SPACE_CHECK_BYTES

    def add(self, entry: Entry, data: Iterator[memoryview]) -> None:
        """One entry. `Invalid` for one that is not to be, `Temporary` for a full disk, OSError."""
        path = clean_path(entry.name, self._subject, self._limits)
        if not path:
            return  # the directory itself stays as it is
        self._refuse_own_links(path)
        if entry.kind == "hardlink":
            self._refuse_own_links(clean_path(entry.link, self._subject, self._limits))
        if self._owner is not None:
            entry = entry._replace(uid=self._owner[0], gid=self._owner[1])
        if max(entry.uid, entry.gid) >= self._ids:
            raise self._invalid(path, f"belongs to {entry.uid}:{entry.gid}, and there are {self._ids} ids")
        try:
            self._write(path, entry, data)
        except OSError as error:
            self._explain(error, path)
            raise
        if entry.kind == "symlink":
            self._links.add(path)
        else:
            self._links.discard(path)
        self._entries += 1

    def end(self) -> None:
        """The directories' times, last: what is made in one changes them."""
        for path, (identity, mtime_ns) in self._times.items():
            with contextlib.suppress(OSError):  # gone, or a link by now
                descriptor = syscalls.openat2(self._root, path, _OPEN, resolve=_BELOW)
                try:
                    if _identity(os.fstat(descriptor)) == identity:
                        os.utime(descriptor, ns=(mtime_ns, mtime_ns))
                finally:
                    os.close(descriptor)

    def _refuse_own_links(self, path: bytes) -> None:
        parts = path.split(b"/")
        for count in range(1, len(parts)) if self._links else ():
            if b"/".join(parts[:count]) in self._links:
                raise self._invalid(path, "leads through a link that the archive itself has made")

    # --- what is there already

    def _write(self, path: bytes, entry: Entry, data: Iterator[memoryview]) -> None:
        directory, _, base = path.rpartition(b"/")
        self._space = parent = self._directory(directory)
        if self._keeps_kinds:
            self._refuse_other_kind(parent, path, base, entry)
        if entry.kind == "directory":
            self._merge(parent, path, base, entry)
            return
        super()._write(path, entry, data)

    def _refuse_other_kind(self, parent: int, path: bytes, base: bytes, entry: Entry) -> None:
        try:
            found = os.stat(base, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return
        was_directory, shown = stat.S_ISDIR(found.st_mode), self._shown(path)
        if was_directory and entry.kind != "directory":
            raise Invalid(
                "", "", f'cannot overwrite directory "{shown}" with non-directory "{self._shown(b"")}"'
            )
        if not was_directory and entry.kind == "directory":
            raise Invalid(
                "", "", f'cannot overwrite non-directory "{shown}" with directory "{self._shown(b"")}"'
            )

    def _shown(self, path: bytes) -> str:
        return os.fsdecode(b"/" + b"/".join(filter(None, (self._path, path))))[:400]

    def _merge(self, parent: int, path: bytes, base: bytes, entry: Entry) -> None:
        """Owner and mode at once and by descriptor: by its name, it may be another directory later."""
        try:
            os.mkdir(base, 0o700, dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(base, dir_fd=parent, follow_symlinks=False).st_mode):
                self._remove(parent, path, base)
                os.mkdir(base, 0o700, dir_fd=parent)
        descriptor = os.open(base, _OPEN, dir_fd=parent)
        try:
            self._refuse_kernels(descriptor, path)
            os.fchown(descriptor, entry.uid, entry.gid)
            os.fchmod(descriptor, entry.mode)
            if entry.xattrs:
                self._warn(set_xattrs(descriptor, self._xattrs(entry)))
            self._times[path] = _identity(os.fstat(descriptor)), entry.mtime_ns
        finally:
            os.close(descriptor)

    def _remove(self, parent: int, path: bytes, base: bytes) -> None:
        """Take away what is in the place of an entry, with all below it."""
        self._forget_descriptors(keep=parent)  # any of them may have led through it
        try:
            remove(parent, base)
        except OSError as error:
            if error.errno in (errno.EXDEV, errno.EBUSY):
                raise self._invalid(path, "cannot be replaced: something is mounted there") from error
            raise

    # --- directories

    def _open_directory(self, path: bytes) -> int:
        try:
            descriptor = syscalls.openat2(self._root, path, O_DIRECTORY, resolve=_BELOW)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            whole = b"/".join(filter(None, (self._path, path)))
            descriptor = syscalls.openat2(self._container, whole, O_DIRECTORY, resolve=_IN_ROOT)
        self._refuse_kernels(descriptor, path)
        return descriptor

    def _refuse_kernels(self, descriptor: int, path: bytes) -> None:
        if is_kernels(descriptor):
            os.close(descriptor)
            raise self._invalid(path, "is the kernel's, and takes no files")

    # --- attributes

    def _set_attributes(self, parent: int, base: bytes, entry: Entry) -> None:
        """By descriptor: the container may have put something else where the node was made."""
        descriptor = os.open(base, _NODE, dir_fd=parent)
        try:
            if stat.S_IFMT(os.fstat(descriptor).st_mode) != _FORMATS[entry.kind]:
                raise self._invalid(entry.name, "was exchanged while it was made")
            syscalls.chown_descriptor(descriptor, entry.uid, entry.gid)
            if entry.kind != "symlink":
                os.chmod(f"/proc/self/fd/{descriptor}", entry.mode)  # noqa: PTH101
            os.utime(base, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(descriptor)

    def _check_space(self, size: int) -> None:
        """Of where it goes: a volume has a disk of its own. A tmpfs is as large as it may be."""
        self._unchecked_bytes += size
        if self._unchecked_bytes < _SPACE_CHECK_BYTES:
            return
        self._unchecked_bytes = 0
        disk = os.fstatvfs(self._space)
        if disk.f_bavail * disk.f_frsize >= self._limits.free_bytes:
            return
        if syscalls.file_system(self._space) != TMPFS_MAGIC:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def remove(parent: int, name: bytes, depth: int = 0) -> None:
    """A name of a directory, with all below it. OSError (EBUSY) where something is mounted: in a mount
    namespace of the container's, which we are not in, its place could be removed, and it with it."""
    found = os.open(name, _NODE, dir_fd=parent)
    try:
        if syscalls.mount_id(found) != syscalls.mount_id(parent):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), os.fsdecode(name))
        if not stat.S_ISDIR(os.fstat(found).st_mode):
            os.unlink(name, dir_fd=parent)
            return
        if depth > _MAX_DEPTH:
            raise OSError(errno.ELOOP, f"deeper than {_MAX_DEPTH} directories")
        directory = os.open(".", _OPEN, dir_fd=found)
    finally:
        os.close(found)
    try:
        for child in os.listdir(directory):  # noqa: PTH208
            remove(directory, os.fsencode(child), depth + 1)
    finally:
        os.close(directory)
    os.rmdir(name, dir_fd=parent)


def _identity(found: os.stat_result) -> Identity:
    return found.st_dev, found.st_ino
