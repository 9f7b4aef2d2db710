"""Ends a worker from outside the thread that waits for it."""

from __future__ import annotations

import subprocess
import threading


class Stop:
    """`ask` from anywhere and at any time; a worker that begins later is ended at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self.is_asked = False

    def ask(self) -> None:
        with self._lock:
            self.is_asked = True
            if self._process is not None:
                self._process.kill()

    def hold(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._process = process
            if self.is_asked:
                process.kill()
