"""Layers as other programs write them: random trees, packed by GNU tar and bsdtar in each of their formats.

    write_layer(seed, folder) ─> a plain tar           the same seed gives the same tree

Every tree has its root and all parents in it, so that what two engines make of it can be compared whole.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import stat
import subprocess
from pathlib import Path

_XATTRS = ["--xattrs", "--xattrs-include=*"]
_GNU = ["tar", "--numeric-owner"]
_BSD = ["bsdtar", "--numeric-owner"]
TOOLS: tuple[tuple[str, ...], ...] = (
    (*_GNU, "--format=gnu"), (*_GNU, "--format=pax", *_XATTRS), (*_GNU, "--format=pax", "--sort=name"),
    (*_GNU, "--format=pax", "--sparse", "--sparse-version=0.0"),
    (*_GNU, "--format=pax", "--sparse", "--sparse-version=0.1"),
    (*_GNU, "--format=pax", "--sparse", "--sparse-version=1.0", *_XATTRS),
    (*_BSD, "--format=pax"), (*_BSD, "--format=pax", "--no-read-sparse"),
    (*_BSD, "--format=gnutar", "--no-read-sparse"),
)  # fmt: skip
OLD_SPARSE = (*_GNU, "--format=gnu", "--sparse")  # podman refuses its headers
_NAMES = (
    b"plain", b"sp ace", b"new\nline", "ünïcödé".encode(), b"bytes\xff\xfe\x80", b"-dash", b"quote'\"",
    b"tab\t", b"back\\slash", b"long-" + b"n" * 200, b"e" * 255, b"*", b"~", b"#", b"=1", b"\x01\x7f",
)  # fmt: skip
_MODES = (0o644, 0o755, 0o600, 0o4755, 0o2711, 0o1644, 0o000, 0o777)
_IDS = (0, 0, 0, 1, 1000, 65_534, 2_097_152, 100_000_000)
_MOST_FILES = 24


def tool_for(seed: int) -> tuple[str, ...]:
    return TOOLS[seed % len(TOOLS)]


def write_layer(seed: int, folder: Path, tool: tuple[str, ...] = ()) -> Path:
    """folder: new. Returns the tar's path; the tree is gone. tool: () is the seed's."""
    tree = folder / "tree"
    tree.mkdir(parents=True)
    _Writer(seed, tree).write()
    path = folder / "layer.tar"
    with path.open("wb") as file:
        # A name that a format cannot hold is told on stderr, and left out: both engines read the same.
        subprocess.run(
            [*(tool or tool_for(seed)), "-C", tree, "-cf", "-", "."],
            stdout=file,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    shutil.rmtree(tree)
    return path


class _Writer:
    def __init__(self, seed: int, root: Path) -> None:
        self._pick = random.Random(seed)
        self._root = os.fsencode(root)
        self._files: list[bytes] = []
        self._directories = [self._root]

    def write(self) -> None:
        for _ in range(self._pick.randint(1, 8)):
            self._make_directory()
        for _ in range(self._pick.randint(1, _MOST_FILES)):
            self._pick.choice((self._file, self._file, self._file, self._link, self._symlink, self._node,
                               self._hole, self._whiteout))()  # fmt: skip
        for directory in sorted(
            self._directories, reverse=True
        ):  # last: what is made in them changes their times
            self._dress(directory, self._pick.choice((0o755, 0o700, 0o1777, 0o2775, 0o711)))

    def _new(self) -> bytes:
        name = self._pick.choice(_NAMES)[:240] + b"%d" % self._pick.randrange(1000)
        directory = self._pick.choice(self._directories)
        return (
            directory + b"/" + (name if self._pick.random() < 0.5 else b"f%d" % self._pick.randrange(10_000))
        )

    def _make_directory(self) -> None:
        path = self._new()
        if len(path) - len(self._root) > 3000 or os.path.lexists(path):
            return
        os.mkdir(path)
        self._directories.append(path)
        if self._pick.random() < 0.15:
            self._touch(path + b"/.wh..wh..opq")

    def _file(self) -> None:
        path = self._new()
        if os.path.lexists(path):
            return
        size = self._pick.choice((0, 1, 511, 512, 513, 4096, 70_000))
        self._touch(path, self._pick.randbytes(size))
        self._dress(path, self._pick.choice(_MODES))
        if self._pick.random() < 0.2:
            os.setxattr(path, "user.note", self._pick.randbytes(self._pick.randint(1, 200)))
        if self._pick.random() < 0.1:  # cap_net_raw=ep, as ping has it
            os.setxattr(
                path, "security.capability", bytes.fromhex("0100000200200000000000000000000000000000")
            )
        self._files.append(path)

    def _hole(self) -> None:
        """Data, a hole, data, a hole: in a size of its own each."""
        path = self._new()
        if os.path.lexists(path):
            return
        self._touch(path)
        with open(path, "r+b") as file:
            for _ in range(self._pick.randint(0, 6)):
                file.seek(self._pick.randrange(1, 60) * 4096, os.SEEK_CUR)
                file.write(self._pick.randbytes(self._pick.choice((1, 4096, 9000))))
            file.truncate(file.tell() + self._pick.choice((0, 1, 100_000)))
        self._dress(path, 0o644)

    def _link(self) -> None:
        path = self._new()
        if self._files and not os.path.lexists(path):
            os.link(self._pick.choice(self._files), path)

    def _symlink(self) -> None:
        path = self._new()
        target = self._pick.choice(
            (b"/etc/passwd", b"../..", b"gone", b"t" * 150, b"u\xff", b"/" + b"d/" * 400)
        )
        if not os.path.lexists(path):
            os.symlink(target, path)
            os.utime(path, ns=(0, self._time()), follow_symlinks=False)

    def _node(self) -> None:
        path = self._new()
        if os.path.lexists(path):
            return
        kind = self._pick.choice((stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK))
        device = (
            0 if kind == stat.S_IFIFO else os.makedev(self._pick.randint(1, 255), self._pick.randrange(256))
        )
        os.mknod(path, kind | 0o600, device)
        self._dress(path, 0o640)

    def _whiteout(self) -> None:
        directory = self._pick.choice(self._directories)
        self._touch(directory + b"/.wh.hidden%d" % self._pick.randrange(50))

    def _touch(self, path: bytes, data: bytes = b"") -> None:
        with open(path, "wb") as file:
            file.write(data)

    def _dress(self, path: bytes, mode: int) -> None:
        os.chown(path, self._pick.choice(_IDS), self._pick.choice(_IDS))
        os.chmod(path, mode)
        with contextlib.suppress(OSError):
            os.utime(path, ns=(0, self._time()))

    def _time(self) -> int:
        """Whole seconds: engines keep more or less of what is below."""
        return self._pick.randrange(1_000_000_000, 1_700_000_000) * 10**9
