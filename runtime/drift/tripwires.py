"""Tells of writes and removals where nobody but us has business: one inotify descriptor for all files.

Files of control groups, sysctls and /run raise these events for every write(2) by whatever process
(inotify(7); for cgroup and proc files the kernel's own changes raise none). A subject that was touched
is told, and nothing more: whether anything is wrong, a look has to find. Called by `drifts` and by the
API for its socket. Costs nothing while nobody writes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
from collections.abc import Callable, Iterable

from runtime import syscalls

WRITTEN = syscalls.IN_MODIFY
REMOVED = syscalls.IN_DELETE | syscalls.IN_MOVED_FROM
GONE = syscalls.IN_DELETE_SELF
PAUSE_SECONDS = 0.05
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows
_READ_BYTES = 65536
EVERYTHING = None

SubjectsOf = Callable[[str], Iterable[str]]


class Tripwires:
    """on_touched gets the subjects of one reading; None stands for all, when events were lost."""

    def __init__(self, on_touched: Callable[[frozenset[str] | None], None]) -> None:
        self._on_touched = on_touched
        self._fd = -1
        self._paused: asyncio.TimerHandle | None = None
        self._subjects: dict[int, str] = {}
        self._directories: dict[int, SubjectsOf] = {}
        self._watches: dict[str, list[int]] = {}

    def open(self) -> None:
        self._fd = syscalls.inotify_init()
        self._listen()

    def _listen(self) -> None:
        self._paused = None
        asyncio.get_running_loop().add_reader(self._fd, self._on_readable)

    def _pause(self) -> None:
        """Somebody who keeps writing must not keep us busy: equal events merge while they wait."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._fd)
        self._paused = loop.call_later(PAUSE_SECONDS, self._listen)

    def close(self) -> None:
        if self._paused is not None:
            self._paused.cancel()
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def watch(self, subject: str, path: str, mask: int = WRITTEN) -> None:
        """Have a file's changes told as its subject's. Nothing where there is no such file, or no room for
        another watch (fs.inotify.max_user_watches): the slow pass looks all the same."""
        with contextlib.suppress(OSError):
            watch = syscalls.inotify_add_watch(self._fd, path, mask)
            self._subjects[watch] = subject
            self._watches.setdefault(subject, []).append(watch)

    def watch_directory(self, path: str, subjects_of: SubjectsOf, mask: int = REMOVED) -> None:
        """Have changes of the files in a directory told. subjects_of: whose a file is."""
        with contextlib.suppress(OSError):
            self._directories[syscalls.inotify_add_watch(self._fd, path, mask | GONE)] = subjects_of

    def forget(self, subject: str) -> None:
        """Its files are watched no longer; a watch would keep the inode of a removed one in memory."""
        for watch in self._watches.pop(subject, ()):
            self._subjects.pop(watch, None)
            with contextlib.suppress(OSError):
                syscalls.inotify_rm_watch(self._fd, watch)

    def _on_readable(self) -> None:
        self._pause()
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        touched: set[str] = set()
        start = 0
        while start + _EVENT.size <= len(data):
            watch, mask, _cookie, length = _EVENT.unpack_from(data, start)
            name = data[start + _EVENT.size : start + _EVENT.size + length].rstrip(b"\0")
            start += _EVENT.size + length
            if mask & syscalls.IN_Q_OVERFLOW:
                self._on_touched(EVERYTHING)
                return
            touched.update(self._touched(watch, mask, os.fsdecode(name)))
        if touched:
            self._on_touched(frozenset(touched))

    def _touched(self, watch: int, mask: int, name: str) -> Iterable[str]:
        if mask & syscalls.IN_IGNORED:
            self._directories.pop(watch, None)
            return ()
        subjects_of = self._directories.get(watch)
        if subjects_of is not None:
            return subjects_of(name)
        subject = self._subjects.get(watch)
        return () if subject is None else (subject,)
