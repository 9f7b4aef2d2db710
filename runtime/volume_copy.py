"""Copying a directory of an image into a new volume. Used by `volumes`.

The image's layers are seen as one tree, as the kernel's overlayfs shows them (whiteouts and all), in a
mount that is detached at once. Everything is opened relative to a descriptor and without following
links, but for `target` itself, whose links are resolved inside the image. Devices and sockets are
left out: a volume is data. Of a directory of the host it is told which devices those were.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from runtime import mounts, syscalls
from runtime.errors import Invalid
from runtime.removal import remove_tree

MAX_DEPTH = 200
MAX_TOLD = 100
FILLING, FILLED = ".setpoint-filling", ".setpoint-filled"  # in a directory that is mounted
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_COPY_BYTES = 1 << 24
_PIECE_BYTES = 1 << 20


def copy_from_image(lower: tuple[str, ...], target: str, destination: Path) -> bool:
    """Make `destination` a copy of the image's directory `target`. False: it has none. OSError."""
    if not lower:  # an image without layers, of which there is no overlay
        return False
    root = _open_image(lower, destination)
    try:
        source = mounts.open_in_root(root, target, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return False
        raise
    finally:
        os.close(root)
    try:
        destination.mkdir(mode=0o700)
        copy = os.open(destination, _DIRECTORY)
        try:
            _Copy(copy).directory(source, copy, "", 0)
        finally:
            os.close(copy)
    finally:
        os.close(source)
    return True


def copy_into(lower: tuple[str, ...], target: str, directory: Path) -> None:
    """Fill an empty directory that is mounted, and so cannot be replaced, with a copy of the image's
    `target`, which is made in it first and whole. What a crash left half moved is moved on. OSError."""
    filling, filled = directory / FILLING, directory / FILLED
    if not is_half_filled(directory):
        remove_tree(filling)
        if not copy_from_image(lower, target, filling):
            return
        filling.rename(filled)
    source, copy = os.open(filled, _DIRECTORY), -1
    try:
        copy = os.open(directory, _DIRECTORY)
        for name in os.listdir(source):  # noqa: PTH208
            os.rename(name, name, src_dir_fd=source, dst_dir_fd=copy)
        _copy_metadata(os.fstat(source), copy)
        _copy_attributes(source, copy)
        os.rmdir(FILLED, dir_fd=copy)
    finally:
        os.close(source)
        if copy >= 0:
            os.close(copy)


def is_half_filled(directory: Path) -> bool:
    """Whether a crash left a whole copy that is not all moved up."""
    with contextlib.suppress(OSError):
        return stat.S_ISDIR((directory / FILLED).lstat().st_mode)
    return False


def copy_from_directory(path: str, destination: Path) -> tuple[str, ...]:
    """Make `destination` a copy of a directory of the host, in which others may be at work: what goes away
    meanwhile is left out. The devices that are not copied, the first of them. OSError."""
    source = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        destination.mkdir(mode=0o700)
        copy = os.open(destination, _DIRECTORY)
        try:
            work = _Copy(copy, is_alive=True)
            work.directory(source, copy, "", 0)
            return tuple(work.devices)
        finally:
            os.close(copy)
    finally:
        os.close(source)


def _open_image(lower: tuple[str, ...], destination: Path) -> int:
    """The root of the layers seen as one. One layer needs no overlay (nor does the kernel mount one)."""
    if len(lower) == 1:
        return os.open(lower[0], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    point = destination.with_name(f"{destination.name}.image")
    with contextlib.suppress(OSError):
        syscalls.umount2(str(point), syscalls.MNT_DETACH)  # of a killed copy
    point.mkdir(mode=0o700, exist_ok=True)
    target = os.open(point, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        tree = mounts.mount_overlay(mounts.Overlay(lower), target)
        syscalls.umount2(str(point), syscalls.MNT_DETACH)
    finally:
        os.close(target)
        point.rmdir()
    return tree


class _Copy:
    """One copy; remembers the files with several links, and the devices that it left out. is_alive: the
    source may change meanwhile."""

    def __init__(self, root: int, *, is_alive: bool = False) -> None:
        self._root = root
        self._is_alive = is_alive
        self._links: dict[tuple[int, int], str] = {}
        self.devices: list[str] = []

    def directory(self, source: int, copy: int, path: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise Invalid("fill volume", path[:80], f"deeper than {MAX_DEPTH} directories")
        with os.scandir(source) as entries:
            names = [entry.name for entry in entries]
        for name in names:
            try:
                self._entry(source, copy, name, f"{path}{name}", depth)
            except FileNotFoundError:
                if not self._is_alive:
                    raise
        _copy_metadata(os.fstat(source), copy)
        _copy_attributes(source, copy)

    def _entry(self, source: int, copy: int, name: str, path: str, depth: int) -> None:
        found = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            self._subdirectory(source, copy, name, path, depth)
        elif stat.S_ISLNK(found.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=copy)
            os.chown(name, found.st_uid, found.st_gid, dir_fd=copy, follow_symlinks=False)
            os.utime(name, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=copy, follow_symlinks=False)
        elif stat.S_ISREG(found.st_mode):
            self._file(source, copy, name, path, found)
        elif stat.S_ISFIFO(found.st_mode):
            os.mkfifo(name, 0o600, dir_fd=copy)
            os.chown(name, found.st_uid, found.st_gid, dir_fd=copy, follow_symlinks=False)
            os.chmod(name, stat.S_IMODE(found.st_mode), dir_fd=copy)
            os.utime(name, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=copy, follow_symlinks=False)
        elif stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
            self.devices += [path] if len(self.devices) < MAX_TOLD else []

    def _subdirectory(self, source: int, copy: int, name: str, path: str, depth: int) -> None:
        os.mkdir(name, 0o700, dir_fd=copy)
        inner_source = os.open(name, _DIRECTORY, dir_fd=source)
        try:
            inner_copy = os.open(name, _DIRECTORY, dir_fd=copy)
            try:
                self.directory(inner_source, inner_copy, f"{path}/", depth + 1)
            finally:
                os.close(inner_copy)
        finally:
            os.close(inner_source)

    def _file(self, source: int, copy: int, name: str, path: str, found: os.stat_result) -> None:
        identity = (found.st_dev, found.st_ino)
        if found.st_nlink > 1 and identity in self._links:
            first = self._links[identity]
            os.link(first, name, src_dir_fd=self._root, dst_dir_fd=copy, follow_symlinks=False)
            return
        reader = os.open(name, _FILE, dir_fd=source)
        try:
            writer = os.open(name, _NEW_FILE, 0o600, dir_fd=copy)
            try:
                if found.st_blocks * 512 < found.st_size:
                    _copy_data(reader, writer, found.st_size)
                else:
                    _copy_bytes(reader, writer)
                _copy_metadata(found, writer)
                _copy_attributes(reader, writer)  # last: chown clears security.capability
                os.utime(writer, ns=(found.st_atime_ns, found.st_mtime_ns))
            finally:
                os.close(writer)
        finally:
            os.close(reader)
        if found.st_nlink > 1:
            self._links[identity] = path


def _copy_data(reader: int, writer: int, size: int) -> None:
    """A file with holes: they stay holes (lseek(2), SEEK_DATA)."""
    os.ftruncate(writer, size)
    end = 0
    while end < size:
        try:
            start = os.lseek(reader, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                return
            raise
        end = min(os.lseek(reader, start, os.SEEK_HOLE), size)
        while start < end and (data := os.pread(reader, min(end - start, _PIECE_BYTES), start)):
            start += os.pwrite(writer, data, start)
        if start < end:  # it was cut off meanwhile
            return


def _copy_bytes(reader: int, writer: int) -> None:
    try:
        while os.copy_file_range(reader, writer, _COPY_BYTES):
            pass
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        while os.sendfile(writer, reader, None, _COPY_BYTES):
            pass


def _copy_metadata(found: os.stat_result, copy: int) -> None:
    os.fchown(copy, found.st_uid, found.st_gid)
    os.fchmod(copy, stat.S_IMODE(found.st_mode))
    os.utime(copy, ns=(found.st_atime_ns, found.st_mtime_ns))


def _copy_attributes(source: int, copy: int) -> None:
    """All but overlayfs' own. What the file system of the volume does not know is left out."""
    for name in os.listxattr(source):
        if name.startswith("trusted.overlay."):
            continue
        with contextlib.suppress(OSError):
            os.setxattr(copy, name, os.getxattr(source, name))
