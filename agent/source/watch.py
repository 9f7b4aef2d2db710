"""Change events of directories, from watchdog's threads to the loop. An event only says where to look.

Events are never trusted to be complete: inotify loses them when its queue overflows, and watches none
where the limit is reached. So a burst of many events means "look at everything", and whoever uses
this looks at everything now and then without any event.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

KINDS = [
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
]
MANY = 2_000
"""Events in one burst after which single paths no longer count; an overflow takes 16,384 of them
(inotify(7), max_queued_events)."""


@dataclass(slots=True)
class Burst:
    """What came since the last look: paths of files, or everything."""

    paths: set[str] = field(default_factory=set)
    everything: bool = False
    count: int = 0

    def __bool__(self) -> bool:
        return bool(self.paths) or self.everything


class Watch(FileSystemEventHandler):
    """Watches directories from start() to stop(); calls wake on the loop when there is something.

    is_relevant: takes a file's absolute path; the events of others are dropped where they come in.
    """

    def __init__(self, wake: Callable[[], None], is_relevant: Callable[[str], bool]) -> None:
        self._wake = wake
        self._is_relevant = is_relevant
        self._lock = threading.Lock()
        self._burst = Burst()
        self._observer: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, loop: asyncio.AbstractEventLoop, directories: Iterable[tuple[Path, bool]]) -> str:
        """Watch each (directory, with all below it?). Returns why it could not, or "". Walks the whole
        directory, so call it in a thread."""
        _be_quiet()
        self._loop = loop
        self._observer = Observer()
        try:
            for directory, is_recursive in directories:
                self._observer.schedule(self, str(directory), recursive=is_recursive, event_filter=KINDS)
            self._observer.start()
        except OSError as error:
            self.stop()
            return f"cannot watch for changes: {error.strerror or error}"
        return ""

    def stop(self) -> None:
        """May be called twice. Joins the threads, which takes milliseconds."""
        observer, self._observer = self._observer, None
        if observer is not None:
            with contextlib.suppress(RuntimeError):  # a thread that was never started
                observer.stop()
                observer.join(5)

    def take(self) -> Burst:
        """What came since the last call."""
        with self._lock:
            burst, self._burst = self._burst, Burst()
        return burst

    def on_any_event(self, event: FileSystemEvent) -> None:
        paths = [os.fsdecode(path) for path in (event.src_path, event.dest_path) if path]
        relevant = [] if event.is_directory else [path for path in paths if self._is_relevant(path)]
        with self._lock:
            was_quiet = not self._burst
            self._burst.count += 1
            self._burst.paths.update(relevant)
            if event.is_directory or self._burst.count > MANY:
                self._burst.everything = True
            must_wake = bool(self._burst) and was_quiet
        if must_wake and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: we are late
                self._loop.call_soon_threadsafe(self._wake)


def _be_quiet() -> None:
    """A directory that is made while its new parent is being walked is met twice: by the walk, and by its own
    event. It is watched all the same, but watchdog warns, in a line with the names of all that it watches;
    Python keeps each such line, and where warnings are errors that ends watchdog's thread."""
    warnings.filterwarnings("ignore", "Callback with id '[0-9]+' already exists", RuntimeWarning)
