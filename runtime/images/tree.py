"""Writes the entries of one layer below one directory, and never anywhere else.

Every path is opened from the root's descriptor with openat2(RESOLVE_IN_ROOT), and every file is made
with O_EXCL and O_NOFOLLOW in a directory that is held open, so that no link of the archive leads out
however entries are ordered. Whiteouts become overlayfs' own (a 0/0 character device, an opaque
directory). Called by `layers`, as root. Does not parse archives and does not commit.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import Invalid, Temporary
from runtime.images.content import write_all
from runtime.images.directories import O_DIRECTORY, RESOLVE, Attributes, apply
from runtime.images.limits import Limits
from runtime.images.names import Whiteout, clean_path, read_whiteout
from runtime.images.removal import remove_entry
from runtime.images.sparse import SparseMap
from runtime.images.tarheaders import Entry
from runtime.images.xattrs import allowed_xattrs, set_xattrs
from runtime.syscalls import openat2

OPAQUE_XATTR = "trusted.overlay.opaque"
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_DIRECTORIES = 64
_SPACE_CHECK_BYTES = 64 * 1024 * 1024
_MAX_MAJOR = (1 << 12) - 1  # linux/kdev_t.h: MINORBITS 20 of 32
_MAX_MINOR = (1 << 20) - 1
_IMPLICIT_MODE = 0o755
# What a path that leads nowhere good ends in; anything else is not the image's fault.
_REFUSED = frozenset(
    {errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EXDEV, errno.EMLINK, errno.EINVAL}
)


@dataclass(frozen=True, slots=True)
class TreeSummary:
    """What was written. implicit: directories that no entry described. root: None when none did."""

    entries: int
    size_bytes: int
    implicit: tuple[bytes, ...]
    root: Attributes | None
    warnings: tuple[str, ...]


class Tree:
    """One layer's directory while it is filled. `add` every entry, then `finish`."""

    _OP = "unpack layer"
    _HARM = "the image was made to harm, or is damaged"
    _owns_all = False  # whether what is made may belong to others than 0:0, as below a set-group-id directory

    def __init__(self, root: int, subject: str, limits: Limits) -> None:
        os.fchown(root, 0, 0)  # below a set-group-id directory it would give its group to all in it
        os.fchmod(root, 0o700)
        self._root = root
        self._subject = subject
        self._limits = limits
        self._umask = _read_umask()
        self._open: dict[bytes, int] = {}
        self._directories: dict[bytes, Attributes] = {}
        self._implicit: dict[bytes, None] = {}
        self._warnings: dict[str, None] = {}
        self._entries = 0
        self._size_bytes = 0
        self._unchecked_bytes = _SPACE_CHECK_BYTES

    def close(self) -> None:
        self._forget_descriptors(keep=-1)

    def add(self, entry: Entry, data: Iterator[memoryview]) -> None:
        path = clean_path(entry.name, self._subject, self._limits)
        whiteout = read_whiteout(path, self._subject)
        try:
            if whiteout is not None:
                self._hide(whiteout)
            elif not path:
                self._set_root(entry)
            else:
                self._write(path, entry, data)
        except OSError as error:
            self._explain(error, path)
            raise
        self._entries += 1

    def finish(self) -> TreeSummary:
        """Give the directories their modes, owners and times."""
        implicit = tuple(path for path in self._implicit if path not in self._directories)
        for path in implicit:
            self._directories[path] = Attributes(_IMPLICIT_MODE, 0, 0, 0)
        root = self._directories.get(b"")
        self._directories.setdefault(b"", Attributes(_IMPLICIT_MODE, 0, 0, 0))
        for path, attributes in self._directories.items():
            self._warn(apply(self._root, path, attributes))
        return TreeSummary(self._entries, self._size_bytes, implicit, root, tuple(self._warnings))

    # --- entries ------------------------------------------------------------------------------

    def _write(self, path: bytes, entry: Entry, data: Iterator[memoryview]) -> None:
        directory, _, base = path.rpartition(b"/")
        parent = self._directory(directory)
        if entry.kind == "directory":
            self._make_directory(parent, path, base, entry)
            return
        try:
            self._make(parent, base, entry, data)
        except FileExistsError:
            self._remove(parent, path, base)
            self._make(parent, base, entry, data)

    def _make(self, parent: int, base: bytes, entry: Entry, data: Iterator[memoryview]) -> None:
        """Raises FileExistsError before any of `data` is taken."""
        match entry.kind:
            case "file":
                self._make_file(parent, base, entry, data)
            case "hardlink":
                self._make_hardlink(parent, base, entry)
            case "symlink":
                if not entry.link or len(entry.link) > self._limits.name_bytes:
                    raise self._invalid(entry.name, "is a symbolic link to no name, or to one too long")
                os.symlink(entry.link, base, dir_fd=parent)
                self._set_attributes(parent, base, entry)
            case _:
                self._make_node(parent, base, entry)

    def _make_file(self, parent: int, base: bytes, entry: Entry, data: Iterator[memoryview]) -> None:
        permissions = entry.mode & 0o777
        descriptor = os.open(base, _NEW_FILE, permissions, dir_fd=parent)
        try:
            written = 0
            for piece in data if entry.holes is None else _placed(descriptor, data, entry.holes):
                self._check_space(len(piece))
                write_all(descriptor, piece)
                written += len(piece)
            if written != entry.size:
                raise self._invalid(entry.name, "is cut off")
            self._size_bytes += written
            if entry.uid or entry.gid or self._owns_all:
                os.fchown(descriptor, entry.uid, entry.gid)
            if entry.mode != permissions or permissions & self._umask:
                os.fchmod(descriptor, entry.mode)  # after chown, which clears set-user-id
            if entry.xattrs:
                self._warn(set_xattrs(descriptor, self._xattrs(entry)))
            os.utime(descriptor, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(descriptor)

    def _make_hardlink(self, parent: int, base: bytes, entry: Entry) -> None:
        target = clean_path(entry.link, self._subject, self._limits)
        directory, _, name = target.rpartition(b"/")
        source = self._find(directory)
        if source is None or not name:
            raise self._invalid(
                entry.name, f"is a hard link to {entry.link[:200]!r}, which is not in this layer"
            )
        try:
            found = os.stat(name, dir_fd=source, follow_symlinks=False)
        except FileNotFoundError:
            raise self._invalid(
                entry.name, f"is a hard link to {entry.link[:200]!r}, which is not in this layer"
            ) from None
        if stat.S_ISDIR(found.st_mode) or _is_whiteout(found):
            raise self._invalid(entry.name, f"is a hard link to {entry.link[:200]!r}, which is not a file")
        if target == clean_path(entry.name, self._subject, self._limits):
            return  # a link to itself: removing the old one first would lose the file
        # 0 for flags: linkat(2) takes a symbolic link as it is
        os.link(name, base, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)

    def _make_node(self, parent: int, base: bytes, entry: Entry) -> None:
        if entry.kind == "fifo":
            kind, device = stat.S_IFIFO, 0
        else:
            kind = stat.S_IFCHR if entry.kind == "char" else stat.S_IFBLK
            device = self._device(entry)
        os.mknod(base, kind | 0o600, device, dir_fd=parent)
        self._set_attributes(parent, base, entry)

    def _device(self, entry: Entry) -> int:
        if entry.major > _MAX_MAJOR or entry.minor > _MAX_MINOR:
            raise self._invalid(entry.name, f"is a device {entry.major}/{entry.minor}, out of range")
        if entry.major == 0 and entry.minor == 0:
            raise self._invalid(entry.name, "is a device 0/0, which overlayfs takes for a whiteout")
        return os.makedev(entry.major, entry.minor)

    def _set_attributes(self, parent: int, base: bytes, entry: Entry) -> None:
        """Of what cannot be opened safely: links, devices, FIFOs. By name, in a directory held open."""
        if entry.uid or entry.gid:
            os.chown(base, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        if entry.kind != "symlink":
            # fchmodat(2) cannot say "do not follow" before Linux 6.6, but this node is no link: we made it.
            os.chmod(base, entry.mode, dir_fd=parent)
        os.utime(base, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)
        if entry.xattrs:
            self._warn((f"{entry.kind} with extended attributes: dropped",))

    def _set_root(self, entry: Entry) -> None:
        if entry.kind != "directory":
            raise self._invalid(entry.name, "is the root, and not a directory")
        self._directories[b""] = self._attributes(entry)

    def _make_directory(self, parent: int, path: bytes, base: bytes, entry: Entry) -> None:
        try:
            os.mkdir(base, 0o700, dir_fd=parent)
        except FileExistsError:
            found = os.stat(base, dir_fd=parent, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                self._remove(parent, path, base)
                os.mkdir(base, 0o700, dir_fd=parent)
                if _is_whiteout(found):  # deleted below and made anew here: what is below stays hidden
                    self._make_opaque(self._directory(path))
        self._directories.pop(path, None)  # the last one wins, also in order
        self._directories[path] = self._attributes(entry)

    # --- whiteouts ----------------------------------------------------------------------------

    def _hide(self, whiteout: Whiteout) -> None:
        if whiteout.kind == "ignore":
            return
        parent = self._directory(whiteout.directory)
        if whiteout.kind == "opaque":
            self._make_opaque(parent)
            return
        path = b"/".join(filter(None, (whiteout.directory, whiteout.name)))
        try:
            os.mknod(whiteout.name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=parent)
        except FileExistsError:  # a whiteout is about the layers below: what this layer holds stays
            found = os.stat(whiteout.name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                self._make_opaque(self._directory(path))

    def _make_opaque(self, directory: int) -> None:
        with self._readable(directory) as descriptor:
            os.setxattr(descriptor, OPAQUE_XATTR, b"y")

    # --- directories --------------------------------------------------------------------------

    def _directory(self, path: bytes) -> int:
        """A descriptor of a directory, made with its parents where it is missing."""
        found = self._find(path)
        if found is not None:
            return found
        above, _, base = path.rpartition(b"/")
        parent = self._directory(above)
        try:
            os.mkdir(base, _IMPLICIT_MODE, dir_fd=parent)
        except FileExistsError:
            if not _is_whiteout(os.stat(base, dir_fd=parent, follow_symlinks=False)):
                raise self._invalid(path, "is not a directory, and has entries below it") from None
            self._remove(parent, path, base)
            os.mkdir(base, _IMPLICIT_MODE, dir_fd=parent)
            with self._readable(parent, base) as descriptor:
                os.setxattr(descriptor, OPAQUE_XATTR, b"y")
        self._implicit[path] = None
        made = self._find(path)
        if made is None:
            raise self._invalid(path, "cannot be opened")
        return made

    def _find(self, path: bytes) -> int | None:
        """A descriptor of a directory that is there, links resolved inside the root; else None."""
        if not path:
            return self._root
        held = self._open.pop(path, None)
        if held is not None:
            self._open[path] = held  # to the end: the one used last goes last
            return held
        try:
            descriptor = self._open_directory(path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return None
            raise
        if len(self._open) >= _OPEN_DIRECTORIES:  # the oldest, so that a caller's parent stays open
            os.close(self._open.pop(next(iter(self._open))))
        self._open[path] = descriptor
        return descriptor

    def _open_directory(self, path: bytes) -> int:
        return openat2(self._root, path, O_DIRECTORY, resolve=RESOLVE)

    def _forget_descriptors(self, keep: int) -> None:
        for path in [path for path, descriptor in self._open.items() if descriptor != keep]:
            os.close(self._open.pop(path))

    def _remove(self, parent: int, path: bytes, base: bytes) -> None:
        """Take away what an earlier entry of this archive made, with all below it."""
        found = os.stat(base, dir_fd=parent, follow_symlinks=False)
        remove_entry(parent, base)
        if not stat.S_ISDIR(found.st_mode) and not stat.S_ISLNK(found.st_mode):
            return
        self._forget_descriptors(keep=parent)  # any of them may have led through it
        below = path + b"/"
        for gone in [known for known in self._directories if known == path or known.startswith(below)]:
            del self._directories[gone]

    @contextlib.contextmanager
    def _readable(self, directory: int, path: bytes = b".") -> Iterator[int]:
        """A descriptor that takes attributes, of a directory held with O_PATH or of one in it."""
        descriptor = os.open(
            path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory
        )
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _attributes(self, entry: Entry) -> Attributes:
        xattrs = self._xattrs(entry) if entry.xattrs else ()
        return Attributes(entry.mode, entry.uid, entry.gid, entry.mtime_ns, xattrs)

    # --- small things -------------------------------------------------------------------------

    def _xattrs(self, entry: Entry) -> tuple[tuple[str, bytes], ...]:
        allowed, dropped = allowed_xattrs(entry.xattrs, self._limits)
        self._warn(dropped)
        return allowed

    def _warn(self, messages: Sequence[str]) -> None:
        for message in messages:
            if len(self._warnings) < 100:
                self._warnings[message] = None

    def _check_space(self, size: int) -> None:
        self._unchecked_bytes += size
        if self._unchecked_bytes < _SPACE_CHECK_BYTES:
            return
        self._unchecked_bytes = 0
        disk = os.fstatvfs(self._root)
        if disk.f_bavail * disk.f_frsize < self._limits.free_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _explain(self, error: OSError, path: bytes) -> None:
        """Raise what a person can act on; return when it is neither the disk's nor the image's fault."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Temporary(
                self._OP, self._subject, f"no room for {path[:200]!r}: {error.strerror}",
                "free some disk space, then do it again", retry_after_seconds=60,
            ) from error  # fmt: skip
        if error.errno in _REFUSED:
            raise self._invalid(path, f"cannot be made: {error.strerror}") from error

    def _invalid(self, path: bytes, reason: str) -> Invalid:
        return Invalid(self._OP, self._subject, f"{path[:200]!r} {reason}", self._HARM)


def _placed(descriptor: int, data: Iterator[memoryview], holes: SparseMap) -> Iterator[memoryview]:
    """What is stored of a sparse file, cut so that each part is written where the descriptor is then."""
    os.ftruncate(descriptor, holes.size)
    view = memoryview(b"")
    for offset, length in holes.pieces:
        os.lseek(descriptor, offset, os.SEEK_SET)
        while length:
            view = view or next(data, view)
            if not view:
                return
            yield view[:length]
            length, view = max(0, length - len(view)), view[length:]


def _read_umask() -> int:
    """Of this process, without changing it for its other threads (proc(5): Umask, since Linux 4.7)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return 0o777


def _is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0
