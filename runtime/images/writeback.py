"""Brings what is staged to the disk while more is staged, so that the sync before the commit has little left.

Called by `stage`: a thread for each large amount. The kernel
itself begins when a tenth of memory is dirty, which is more than most images are.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from runtime.syscalls import syncfs

EVERY_BYTES = 32 << 20  # of packed bytes, fetched or taken to be unpacked


class Writeback:
    """directory: on the file system. Any thread may `add`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._left = EVERY_BYTES
        self._is_asked = False
        self._error: OSError | None = None

    def add(self, size: int) -> None:
        with self._lock:
            self._left -= size
            if self._left > 0:
                return
            self._left, self._is_asked = EVERY_BYTES, True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="writeback", daemon=True)
                self._thread.start()

    def finish(self) -> None:
        """Everything is on the disk when this returns; nobody may `add` meanwhile. OSError, also for what
        failed before: the kernel tells of a failed write once (fsync(2))."""
        with self._lock:
            thread, self._is_asked = self._thread, False
        if thread is not None:
            thread.join()
        error, self._error = self._error, None
        if error is not None:
            raise error
        self._sync()

    def _run(self) -> None:
        """As long as there is more: a thread that waited would outlive what is given up."""
        while self._take():
            try:
                self._sync()
            except OSError as error:
                self._error = self._error or error

    def _take(self) -> bool:
        with self._lock:
            if not self._is_asked:
                self._thread = None
            is_asked, self._is_asked = self._is_asked, False
            return is_asked

    def _sync(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            syncfs(descriptor)
        finally:
            os.close(descriptor)
