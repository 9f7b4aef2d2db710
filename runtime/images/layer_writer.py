"""The upper directory of an overlay as an OCI layer: for `commit`, and for build steps that change files.

    write_layer(upper, part, packing="gzip") ─> NewLayer(diff_id, digest, size_bytes, path)
    compose.compose(root, base, [NewLayer, ...], config, names) ─> an image in the store

`upper` is what overlayfs fills, or any directory that is to be a layer (a COPY's). `part` is a new file on
the store's file system, taken from `Stage.new_path("blob")` or made in a `staging_directory(root)`, so that
nothing is left of it when the process is killed. It is not synced: `compose` syncs before an image has it.
Blocks: call it in a worker or a thread.

The same tree makes the same bytes: names sorted, times in whole seconds as Docker writes them, owners as
numbers; with an `epoch` they are the same on every machine (see `packed_file`). Whiteouts and opaque
directories become `.wh.` files, further names of a file hard links; sparse files are written out, sockets
left out. Refused (`Unsupported`): names that begin with `.wh.`, which a layer cannot hold, and trees of an
overlay that moves directories by `redirect_dir` or shares data by `metacopy`: there it lies elsewhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from runtime.errors import Invalid, Unsupported
from runtime.images.limits import DEFAULT_LIMITS, Limits
from runtime.images.names import OPAQUE_MARK, WHITEOUT_PREFIX
from runtime.images.packed_file import NewLayer, PackedFile
from runtime.images.tarheaders import Entry, Kind
from runtime.images.tarwriter import END, Send, Write, send_nothing, write_entry
from runtime.images.walk import Found, walk
from runtime.images.xattrs import allowed_xattrs

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ELSEWHERE = ("trusted.overlay.redirect", "trusted.overlay.metacopy")
_NO_XATTRS: Mapping[bytes, bytes] = {}
_KINDS: Mapping[int, Kind] = {
    stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "char", stat.S_IFBLK: "block", stat.S_IFIFO: "fifo",
}  # fmt: skip


def write_layer(
    upper: Path,
    part: Path,
    *,
    packing: Literal["", "gzip"] = "gzip",
    subject: str = "",
    epoch: int | None = None,
    leaves_out: Callable[[bytes], bool] = lambda path: False,
    advance: Callable[[int], None] = lambda size: None,
    limits: Limits = DEFAULT_LIMITS,
) -> NewLayer:
    """Write the tree below `upper` into the new file `part`, which is gone again when this fails.

    packing "" writes a plain tar. subject: what errors name. epoch: Unix seconds that no time is later than
    (SOURCE_DATE_EPOCH). leaves_out: whether a path (b"etc/hosts") is no part of the layer; what is below it
    is asked about, too. advance is told the plain bytes as they are written. OSError of the disk.
    """
    root = os.open(upper, _DIRECTORY)
    try:
        packed = PackedFile(part, packing, advance, limits, is_portable=epoch is not None)
        try:
            write_tree(root, packed.write, subject, epoch=epoch, leaves_out=leaves_out, limits=limits)
            return packed.finish()
        except BaseException:
            packed.discard()
            raise
    finally:
        os.close(root)


def write_tree(
    root: int,
    write: Callable[[bytes], object],
    subject: str,
    *,
    epoch: int | None = None,
    leaves_out: Callable[[bytes], bool] = lambda path: False,
    limits: Limits = DEFAULT_LIMITS,
) -> None:
    """The layer's plain tar, piece by piece. root: a descriptor of the upper directory."""
    entries = TreeEntries(subject, write, epoch=epoch, limits=limits, is_of_overlay=True)
    for found in walk([root], subject, limits):
        if not leaves_out(found.path):
            _add_of_layer(found, entries, write, subject)
    write(END)


def _add_of_layer(found: Found, entries: TreeEntries, write: Write, subject: str) -> None:
    directory, _, base = found.path.rpartition(b"/")
    if base.startswith(WHITEOUT_PREFIX):
        raise Unsupported(
            "write layer", subject, f"{_shown(found.path)!r}: layers hold no names that begin with .wh.",
            "delete or rename it",
        )  # fmt: skip
    if found.is_whiteout:
        name = WHITEOUT_PREFIX + base
        write_entry(write, _mark(b"/".join(filter(None, (directory, name)))))
        return
    entries.add(found, found.path)
    if found.is_opaque:
        write_entry(write, _mark(found.path + b"/" + OPAQUE_MARK))


def _mark(name: bytes) -> Entry:
    """The time of a deletion says nothing, and would change the digest."""
    return Entry(name, "file", 0, 0, 0, 0, 0, b"", 0, 0, {})


class TreeEntries:
    """Writes what is found as entries of one tar: with the names seen so far, so that a second one is a link.

    write, send: as for `tarwriter.write_entry`. epoch: no time is later. is_of_overlay: what is found lies in
    the directories of an overlay; `Unsupported` for what that keeps in another place than it shows it in."""

    def __init__(
        self,
        subject: str,
        write: Write,
        send: Send = send_nothing,
        *,
        epoch: int | None = None,
        limits: Limits = DEFAULT_LIMITS,
        is_of_overlay: bool = False,
    ) -> None:
        self._subject = subject
        self._write = write
        self._send = send
        self._epoch = epoch
        self._limits = limits
        self._is_of_overlay = is_of_overlay
        self._names: dict[tuple[int, int], bytes] = {}
        self._bytes = 0

    def add(self, found: Found, name: bytes) -> None:
        """name: in the archive, b"" is the root. Nothing for a socket."""
        kind = _KINDS.get(stat.S_IFMT(found.status.st_mode))
        if kind is None:
            return
        link = self._first_name(found, name) if kind != "directory" else b""
        if link:
            write_entry(self._write, self._entry(found, name, "hardlink", link=link))
        elif kind == "file":
            self._add_file(found, name)
        elif kind == "directory":
            write_entry(self._write, self._entry(found, name, kind, self._xattrs(found)))
        else:
            target = os.readlink(b"", dir_fd=found.descriptor) if kind == "symlink" else b""
            write_entry(self._write, self._entry(found, name, kind, link=target))

    def _first_name(self, found: Found, name: bytes) -> bytes:
        """The name that this file was found by before, or b""."""
        if found.status.st_nlink < 2:
            return b""
        identity = (found.status.st_dev, found.status.st_ino)
        first = self._names.setdefault(identity, name)
        return first if first != name else b""

    def _add_file(self, found: Found, name: bytes) -> None:
        self._bytes += found.status.st_size
        if self._bytes > self._limits.unpacked_bytes:
            reason = f"over {self._limits.unpacked_bytes} bytes with {_shown(found.path)!r}"
            raise Invalid("write layer", self._subject, reason, "keep large and sparse files in a volume")
        if not found.status.st_size:
            write_entry(self._write, self._entry(found, name, "file", self._xattrs(found)))
            return
        descriptor = found.open()
        try:
            entry = self._entry(found, name, "file", self._xattrs(found, descriptor))
            write_entry(self._write, entry, descriptor, self._send)
        finally:
            os.close(descriptor)

    def _entry(
        self,
        found: Found,
        name: bytes,
        kind: Kind,
        xattrs: Mapping[bytes, bytes] = _NO_XATTRS,
        link: bytes = b"",
    ) -> Entry:
        status = found.status
        seconds = status.st_mtime_ns // 10**9
        if self._epoch is not None:
            seconds = min(seconds, self._epoch)
        device = status.st_rdev if kind in ("char", "block") else 0
        return Entry(
            name or b"./", kind, status.st_mode & 0o7777, status.st_uid, status.st_gid,
            seconds * 10**9, status.st_size if kind == "file" else 0, link,
            os.major(device) if device else 0, os.minor(device) if device else 0, xattrs,
        )  # fmt: skip

    def _xattrs(self, found: Found, opened: int = -1) -> Mapping[bytes, bytes]:
        """As an image may have them; sorted, since the disk has an order of its own."""
        names = found.xattr_names(opened)
        if not names:
            return _NO_XATTRS
        if self._is_of_overlay:
            _refuse_elsewhere(found, names, self._subject)
        values = {
            os.fsencode(name): value for name in sorted(names) if (value := found.xattr(name)) is not None
        }
        allowed, _ = allowed_xattrs(values, self._limits)
        return {os.fsencode(name): value for name, value in allowed}


def _refuse_elsewhere(found: Found, names: Sequence[str], subject: str) -> None:
    for name in names:
        if name in _ELSEWHERE:
            raise Unsupported(
                "write layer", subject, f"{_shown(found.path)!r} has its content in a layer below ({name})",
                "echo N >/sys/module/overlay/parameters/redirect_dir (and metacopy), and start it anew",
            )  # fmt: skip


def _shown(path: bytes) -> str:
    return path[:200].decode(errors="replace")
