"""The applier of `names`: hosts files of sandboxes, rewritten in place.

In place, because containers have them by bind mount, which is of the inode. What changed is marked, and
written when `networks` says so, once however many changes there were. A container is root over its own:
it may make it endless, or hold a lease on it (fcntl(2)), and must not hold us up by either.
"""

from __future__ import annotations

import contextlib
import os

from runtime.network.book import Book
from runtime.network.records import SandboxRecord

# O_NONBLOCK: else a lease makes open(2) wait, 45 s by default (proc(5), lease-break-time).
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC

MAX_BYTES = 1024 * 1024  # that a container may add of its own


class HostsFiles:
    """The hosts files of an instance, in one directory, named by sandbox."""

    def __init__(self, directory: str, book: Book) -> None:
        self.directory = directory
        self._book = book
        self._networks: set[str] = set()
        self._sandboxes: set[str] = set()

    def path(self, id: str) -> str:
        return f"{self.directory}/{id}"

    def mark_network(self, name: str) -> None:
        """Somebody came to this network, went, or has other names: the files of all on it are due."""
        self._networks.add(name)

    def mark(self, id: str) -> None:
        """The file of one sandbox is due."""
        self._sandboxes.add(id)

    def make(self, record: SandboxRecord) -> None:
        """The file, to be bind-mounted before it is written."""
        os.close(_open(self.path(record.id), record.ids))

    def write_marked(self) -> None:
        """Write the files of the sandboxes that are marked, and no others."""
        due = self._sandboxes & self._book.sandboxes.keys()
        self._sandboxes.clear()
        self._write([self._book.sandboxes[id] for id in due])

    def has_due_networks(self) -> bool:
        return bool(self._networks)

    def write_networks(self) -> None:
        """Write the files of all that are on the networks that are marked."""
        touched: dict[str, SandboxRecord] = {}
        for name in self._networks & self._book.networks.keys():
            touched.update((record.id, record) for record in self._book.sandboxes_on(name))
        self._networks.clear()
        self._write(list(touched.values()))

    def _write(self, touched: list[SandboxRecord]) -> None:
        blocks: dict[str, str] = {}
        for record in touched:
            try:
                write_in_place(self.path(record.id), self._text(record, blocks), record.ids)
            except (BlockingIOError, PermissionError):  # its own container keeps it from us: its own loss
                self._sandboxes.add(record.id)

    def is_altered(self, record: SandboxRecord, blocks: dict[str, str]) -> bool:
        """Whether the file lacks what we wrote. Lines that a container added behind it are its own. blocks:
        as `_text` takes them, for a look at many; they may be out of date by now."""
        return self._lacks(record, blocks) and self._lacks(record, {})

    def _lacks(self, record: SandboxRecord, blocks: dict[str, str]) -> bool:
        if any(each.network in self._networks for each in record.endpoints):
            return False  # it is due
        wanted = self._text(record, blocks).encode()
        try:
            descriptor = os.open(self.path(record.id), _READ)
        except OSError:
            return True
        try:
            if is_too_large(os.fstat(descriptor), len(wanted)):
                return True
            return os.pread(descriptor, len(wanted), 0) != wanted
        finally:
            os.close(descriptor)

    def remove(self, id: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(id))  # noqa: PTH108

    def _text(self, record: SandboxRecord, blocks: dict[str, str]) -> str:
        """blocks: the lines of each network, worked out once for all that are on it."""
        for endpoint in record.endpoints:
            if endpoint.network not in blocks:
                blocks[endpoint.network] = self._book.peer_lines(endpoint.network)
        return self._book.hosts_text(record, blocks)


def is_too_large(status: os.stat_result, wanted_bytes: int = 0) -> bool:
    """Of a file in memory that a container may write to: what it takes up, since a hole takes nothing. It is
    cut back by the next look; until then the container holds that much of the host's /run."""
    return status.st_blocks * 512 > MAX_BYTES + wanted_bytes


def write_in_place(path: str, text: str, owner: int = 0) -> None:
    """Replace a file's content and keep its inode. One write, so that a reader sees little of a change.
    owner: the container's root, where that is not the host's."""
    content = text.encode()
    descriptor = _open(path, owner)
    try:
        os.pwrite(descriptor, content, 0)
        os.ftruncate(descriptor, len(content))
    finally:
        os.close(descriptor)


def _open(path: str, owner: int) -> int:
    """For writing; made if it is not there."""
    descriptor = os.open(path, _WRITE, 0o644)
    try:
        os.fchmod(descriptor, 0o644)  # whatever our umask: users inside read it
        if owner:
            os.fchown(descriptor, owner, owner)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
