"""What is under way, on stderr, and what of it failed: a row that cannot be measured costs no other."""

from __future__ import annotations

import http.client
import subprocess
import sys
import time
from collections.abc import Callable

Numbers = dict[str, float]
FAILURES = (RuntimeError, OSError, ValueError, http.client.HTTPException, subprocess.SubprocessError)


class Progress:
    """minutes: after which nothing more is begun. failed: what was left out, for the exit code."""

    def __init__(self, minutes: float) -> None:
        self._began = time.monotonic()
        self._seconds = minutes * 60
        self.failed: list[str] = []

    def __call__(self, text: str) -> None:
        seconds = int(time.monotonic() - self._began)
        print(f"{seconds // 60:3d}:{seconds % 60:02d}  {text}", file=sys.stderr, flush=True)

    def attempt(self, what: str, measure: Callable[[], Numbers]) -> Numbers:
        """What it measures; nothing, and a line, when it fails or comes too late."""
        if time.monotonic() - self._began > self._seconds:
            self.failed.append(what)
            self(f"{what}: left out, the time is over (--minutes)")
            return {}
        self(f"{what} …")
        try:
            return measure()
        except FAILURES as error:
            self.failed.append(what)
            self(f"{what}: left out: {str(error) or type(error).__name__}")
            return {}
