"""A plain directory to a mapping of files, every name in it hostile. Used by `directory`, and by
`read_directory` for one look.

Only regular files are opened, by descriptor, from the watched directory's own descriptor: a link is
followed only to what lies beneath it, a FIFO or device is never opened, a directory behind a link is
never entered. A file that somebody has open for writing is told apart by a read lease (fcntl(2),
F_SETLEASE), so that a slow writer's half is never taken for the whole.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from agent.manifest.objects import Revision
from agent.source.leases import has_writer
from agent.source.prints import Prints, take_print
from agent.source.source import (
    MAX_DEPTH,
    MAX_ENTRIES,
    MAX_FILE_BYTES,
    MAX_FILES,
    MAX_TOTAL_BYTES,
    Unreadable,
    is_wanted,
)
from runtime.syscalls import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2

Signature = tuple[int, int, int, int, int]
READ_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
SCAN_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class Tree:
    """What was read of a directory. busy: files that somebody is writing; links: files reached by one,
    whose change no event tells."""

    files: dict[str, bytes] = field(default_factory=dict)
    lines: dict[str, str] = field(default_factory=dict)  # digest and name, what an id is made of
    signatures: dict[str, Signature] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)
    links: set[str] = field(default_factory=set)
    warnings: dict[str, str] = field(default_factory=dict)


def open_root(path: Path) -> int:
    """A descriptor of the watched directory. Raises Unreadable."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Unreadable(f"cannot open {path}: {error.strerror}") from None


def list_wanted(root: int) -> dict[str, bool]:
    """path -> whether it is a link, of every wanted file below root. Raises Unreadable when there is
    more than a directory of manifests can hold."""
    found: dict[str, bool] = {}
    seen = 0
    stack = [("", 0)]
    while stack:
        directory, depth = stack.pop()
        for name, is_directory, is_link in _entries(root, directory):
            seen += 1
            path = f"{directory}/{name}" if directory else name
            if is_directory:
                if not name.startswith(".") and depth < MAX_DEPTH:
                    stack.append((path, depth + 1))
            elif is_wanted(path):
                found[path] = is_link
        if seen > MAX_ENTRIES or len(found) > MAX_FILES:
            raise Unreadable(f"too many files (over {MAX_FILES} manifests or {MAX_ENTRIES} entries)")
    return found


def _entries(root: int, directory: str) -> list[tuple[str, bool, bool]]:
    """(name, is a directory, is a link) of the directories, regular files and links in a directory."""
    try:
        descriptor = openat2(
            root, directory or ".", SCAN_FLAGS, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
        )
    except OSError:
        return []
    try:
        with os.scandir(descriptor) as entries:
            return [
                (entry.name, entry.is_dir(follow_symlinks=False), entry.is_symlink())
                for entry in entries
                if entry.is_symlink()
                or entry.is_dir(follow_symlinks=False)
                or entry.is_file(follow_symlinks=False)
            ]
    except OSError:
        return []
    finally:
        os.close(descriptor)


def update(
    tree: Tree, root: int, paths: Iterable[str], links: Iterable[str] = (), *, patient: bool = True
) -> bool:
    """Look at paths again, and tell whether a file changed, came or went. A file that did not change
    since (inode, size, times) is not read. patient: leave what is being written for later."""
    linked = set(links)
    changed = False
    for path in paths:
        before = tree.files.get(path)
        _look(tree, root, path, path in linked, patient)
        changed |= tree.files.get(path) is not before and tree.files.get(path) != before
    if sum(map(len, tree.files.values())) > MAX_TOTAL_BYTES:
        raise Unreadable(f"manifests are too large (over {MAX_TOTAL_BYTES} bytes in all)")
    return changed


def forget(tree: Tree, path: str) -> bool:
    """Drop a file that is gone; whether it was there."""
    tree.signatures.pop(path, None)
    tree.lines.pop(path, None)
    tree.busy.discard(path)
    tree.links.discard(path)
    tree.warnings.pop(path, None)
    return tree.files.pop(path, None) is not None


def _look(tree: Tree, root: int, path: str, is_link: bool, patient: bool) -> None:
    try:
        status = os.stat(path, dir_fd=root, follow_symlinks=False)
        is_link = stat.S_ISLNK(status.st_mode)
        if not is_link and not stat.S_ISREG(status.st_mode):
            _leave_out(tree, path, "is not a regular file")
            return
        resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | (0 if is_link else RESOLVE_NO_SYMLINKS)
        if is_link and not _is_regular(root, path, resolve):
            _leave_out(tree, path, "is a link to what is no regular file")
            return
        descriptor = openat2(root, path, READ_FLAGS, resolve=resolve)
    except OSError as error:
        _leave_out(tree, path, _reason(error, is_link))
        return
    try:
        _read(tree, path, descriptor, is_link, patient)
    except OSError as error:
        _leave_out(tree, path, _reason(error, is_link))
    finally:
        os.close(descriptor)


def _is_regular(root: int, path: str, resolve: int) -> bool:
    """What a link leads to, found out without opening it: a FIFO's or device's open may have effects."""
    descriptor = openat2(root, path, os.O_PATH | os.O_CLOEXEC, resolve=resolve)
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)


def _read(tree: Tree, path: str, descriptor: int, is_link: bool, patient: bool) -> None:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        _leave_out(tree, path, "is not a regular file")
        return
    (tree.links.add if is_link else tree.links.discard)(path)
    signature = (status.st_ino, status.st_dev, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if tree.signatures.get(path) == signature and path not in tree.busy:
        return
    if patient and has_writer(descriptor):
        tree.busy.add(path)
        return
    tree.busy.discard(path)
    tree.warnings.pop(path, None)
    data = _content(descriptor, status.st_size)
    after = os.fstat(descriptor)
    if patient and (after.st_size, after.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
        tree.busy.add(path)
        return
    tree.signatures[path] = signature
    if tree.files.get(path) != data:
        tree.files[path] = data
        tree.lines[path] = f"{hashlib.sha256(data).hexdigest()} {path}"


def _content(descriptor: int, size: int) -> bytes:
    parts = []
    left = MAX_FILE_BYTES
    while left and (part := os.read(descriptor, min(left, max(size, 1) + 1))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _reason(error: OSError, is_link: bool) -> str:
    if error.errno == errno.ENOENT and not is_link:
        return ""
    if is_link and error.errno in (errno.EXDEV, errno.ELOOP, errno.ENOENT):
        return "is a link that leads out of the watched directory, or nowhere"
    return f"cannot be read: {error.strerror}"


def _leave_out(tree: Tree, path: str, reason: str) -> None:
    """A file that is gone, or that is not to be read; the latter is said."""
    forget(tree, path)
    if reason:
        tree.warnings[path] = f"{path} {reason}"


def to_revision(path: Path, tree: Tree, prints: Prints | None = None) -> Revision:
    """The files as a revision; its id is "dir-" and 16 hex digits over names and contents. prints: remembers
    what is built of."""
    seen = prints.begin() if prints is not None else ()
    lines = "\0".join([*sorted(tree.lines.values()), *seen])
    digest = hashlib.sha256(lines.encode("utf-8", "surrogateescape"))
    return Revision(
        f"dir-{digest.hexdigest()[:16]}", str(path), dict(tree.files), base=str(path),
        tree_of=prints.tree_of if prints is not None else lambda name: take_print(path, name).word,
    )  # fmt: skip


def read_directory(path: Path) -> Revision:
    """One look at a directory, for `validate` and `plan`: what is saved, committed or not. Needs neither
    root nor an agent. Raises Unreadable."""
    path = path.absolute()
    root = open_root(path)
    try:
        wanted = list_wanted(root)
        tree = Tree()
        update(tree, root, wanted, (name for name, is_link in wanted.items() if is_link), patient=False)
        return to_revision(path, tree)
    finally:
        os.close(root)
