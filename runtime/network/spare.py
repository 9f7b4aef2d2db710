"""A network namespace that is made before a sandbox asks for one: unshare(2) takes half a millisecond.

Made while the event loop waits for the disk (`Networks.expect`), and taken by the next sandbox. It has no
name, so that no end of the agent leaves it, and is soon too old: what a namespace has of the host's sysctls
is from when it was made.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping

from runtime.network.namespaces import Home, Made

MAX_SECONDS = 2.0


class Spare:
    """One at a time. sysctls: those of every sandbox."""

    def __init__(self, home: Home, sysctls: Mapping[str, str]) -> None:
        self._home = home
        self._sysctls = sysctls
        self._made: Made | None = None
        self._made_at = 0.0
        self._is_open = True

    def make(self) -> None:
        """Have one. A host that has no room for it says so when a sandbox is made."""
        if not self._is_open or self._fresh() is not None:
            return
        self._drop()
        with contextlib.suppress(OSError):
            self._made = self._home.make(self._sysctls)
            self._made_at = time.monotonic()

    def take(self) -> Made | None:
        """It is the caller's from now on."""
        made = self._fresh()
        if made is not None:
            self._made = None
        return made

    def _fresh(self) -> Made | None:
        return self._made if time.monotonic() - self._made_at < MAX_SECONDS else None

    def close(self) -> None:
        """For good: who was to make one comes too late."""
        self._is_open = False
        self._drop()

    def _drop(self) -> None:
        if self._made is not None:
            self._made.close()
            self._made = None
